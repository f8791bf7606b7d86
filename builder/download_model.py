"""Downloads a model, and what belongs to it, into the image while it is built.

    python -m builder.download_model [--revision REVISION] [--tokenizer OWNER/NAME] [--tokenizer-revision REVISION]
        [--draft OWNER/NAME] [--draft-revision REVISION] [--adapters LORA_PATHS] [--token-file FILE] OWNER/NAME

Run by the Dockerfile with the base image's Python, which has huggingface_hub (SGLang depends on it). The files
go to Hugging Face's ordinary cache (HF_HOME, normally ~/.cache/huggingface), where the worker finds them by the
model's name. An empty name downloads nothing, so that one Dockerfile serves both kinds of image.

Only what the server loads is fetched: a repository often holds the same weights in several formats. What was
fetched is compared with the hub's own list of sizes, so that an image never ships half a model.

Exit status 0; 1 when the download failed, with one line that says why; 2 for wrong usage.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Callable
from fnmatch import fnmatch
from pathlib import Path

_SAFETENSORS = "*.safetensors"
# Formats that hold the weights once more, for other programs or older versions of the same one.
_DUPLICATES = ("pytorch_model*.bin", "*.pth", "*.ckpt", "*.h5", "*.msgpack", "*.ot", "*.gguf", "*.onnx", "*.onnx_data")
# Other programs' exports and things for the eye, whatever the weights' format is.
_NEVER = ("original/*", "onnx/*", "openvino/*", "coreml/*", "metal/*", "*.png", "*.jpg", "*.jpeg", "*.gif", "*.mp4",
          "*.pdf", ".gitattributes")
_WEIGHTS = (_SAFETENSORS, "*.bin", "*.pt", *_DUPLICATES)


class DownloadError(Exception):
    """The model is not in the image; the text says what to do."""


def wanted(names: list[str]) -> list[str]:
    """The files of a repository that the server may load, in the repository's order.

    With safetensors at hand the other weight formats are left out, and so is Mistral's single-file twin
    (consolidated*.safetensors) when the sharded files are there: SGLang loads the sharded ones by default
    (sglang/srt/model_loader/loader.py).
    """
    kept = [name for name in names if not any(fnmatch(name, pattern) for pattern in _NEVER)]
    weights = [name for name in kept if fnmatch(name, _SAFETENSORS)]
    skip: tuple[str, ...] = _DUPLICATES if weights else ()
    if any(not fnmatch(name, "consolidated*") for name in weights):
        skip += ("consolidated*.safetensors",)
    return [name for name in kept if not any(fnmatch(name, pattern) for pattern in skip)]


def without_weights(names: list[str]) -> list[str]:
    """The files of a repository from which only the tokenizer is wanted."""
    return [name for name in wanted(names) if not any(fnmatch(name, pattern) for pattern in _WEIGHTS)]


def adapters(text: str) -> list[str]:
    """The hub repositories in a value of LORA_PATHS, read as the worker reads it; folders are none.

    Raises DownloadError.
    """
    # The only module of the worker that is in the image by now; it needs the standard library alone.
    from settings.flags.adapters import elements

    try:
        parts = elements(text) if text.strip() else []
    except ValueError as error:
        raise DownloadError(f"LORA_PATHS cannot be read: {error}") from error
    paths = [json.loads(part)["lora_path"] if part.startswith("{") else part.rpartition("=")[2] for part in parts]
    return [path for path in map(str, paths) if re.fullmatch(r"[\w.-]+/[\w.-]+", path) and not path.startswith(".")]


def missing(folder: Path, sizes: dict[str, int | None]) -> list[str]:
    """Which files of `sizes` (name -> bytes, None when the hub does not say) are absent or of another size."""
    return [name for name, size in sizes.items()
            if not (folder / name).is_file() or (size is not None and (folder / name).stat().st_size != size)]


def download(model: str, revision: str | None, token: str | None, choose=wanted) -> Path:
    """The folder of a complete snapshot of the files of `model` that `choose` keeps. Raises DownloadError.

    The commit is resolved once, so that a push during the download cannot mix two versions; the revision's name is
    kept beside it, which is how a server without a network finds the commit again.
    """
    import huggingface_hub
    from huggingface_hub import errors

    try:
        info = huggingface_hub.HfApi(token=token).model_info(model, revision=revision, files_metadata=True)
        sizes = {file.rfilename: file.size for file in info.siblings}
        names = choose(list(sizes))
        folder = Path(huggingface_hub.snapshot_download(model, revision=revision, token=token,
                                                        allow_patterns=[_literal(name) for name in names]))
    except errors.GatedRepoError as error:
        raise DownloadError(f"{model} is gated: accept its licence on the hub and give the build a token that may "
                            "read it (--secret id=HF_TOKEN,env=HF_TOKEN).") from error
    except errors.RevisionNotFoundError as error:
        raise DownloadError(f"{model} has no revision {revision!r}.") from error
    except errors.RepositoryNotFoundError as error:
        raise DownloadError(f"There is no model {model} on the hub, or it is private and the build has no token that "
                            "may read it (--secret id=HF_TOKEN,env=HF_TOKEN).") from error
    except Exception as error:  # the HTTP library underneath, and so its errors, differ between base images
        raise DownloadError(f"{model} could not be downloaded ({type(error).__name__}): {error}") from error
    if folder.name != info.sha:
        raise DownloadError(f"{model} changed during the download ({info.sha} became {folder.name}): build again.")
    broken = missing(folder, {name: sizes[name] for name in names})
    if broken:
        raise DownloadError(f"{model}: incomplete, {len(broken)} of {len(names)} files: {', '.join(broken[:5])}")
    return folder


def _literal(name: str) -> str:
    # snapshot_download takes glob patterns; a bracket in a file's name must stand for itself.
    return name.replace("[", "[[]")


def read_token(path: Path | None) -> str | None:
    """The token in a secret's file; None when the build was given no secret, or an empty one."""
    if path is None or not path.is_file():
        return None
    return path.read_text(encoding="utf-8").strip() or None


def parts(chosen: argparse.Namespace) -> list[tuple[str, str, Callable[[list[str]], list[str]]]]:
    """[(repository, its revision, which of its files)] for everything that was asked for. Raises DownloadError."""
    found = [(chosen.model, chosen.revision, wanted)]
    if chosen.tokenizer_revision or chosen.tokenizer not in ("", chosen.model):
        # As the worker looks for it (model_source.py): a commit of the model means nothing in another repository.
        alien = chosen.tokenizer not in ("", chosen.model) and re.fullmatch(r"[0-9a-fA-F]{7,40}", chosen.revision)
        found.append((chosen.tokenizer or chosen.model,
                      chosen.tokenizer_revision or ("" if alien else chosen.revision), without_weights))
    if chosen.draft and (chosen.draft != chosen.model or chosen.draft_revision not in ("", chosen.revision)):
        found.append((chosen.draft, chosen.draft_revision, wanted))
    return found + [(name, "", wanted) for name in adapters(chosen.adapters)]


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m builder.download_model", description=__doc__.split("\n")[0])
    parser.add_argument("model", help="owner/name on the hub; empty downloads nothing")
    parser.add_argument("--revision", default="", help="branch, tag or commit (default: the main branch)")
    parser.add_argument("--tokenizer", default="", help="owner/name of a tokenizer of its own")
    parser.add_argument("--tokenizer-revision", default="", help="default: the model's, unless that is a commit")
    parser.add_argument("--draft", default="", help="owner/name of a draft model for speculative decoding")
    parser.add_argument("--draft-revision", default="")
    parser.add_argument("--adapters", default="", help="LoRA adapters, as LORA_PATHS has them")
    parser.add_argument("--token-file", type=Path, help="file that holds a token, absent for public models")
    chosen = parser.parse_args(arguments)
    if not chosen.model:
        print("no MODEL_NAME: the image holds no weights")
        return 0
    try:
        token = read_token(chosen.token_file)
        for model, revision, choose in parts(chosen):
            folder = download(model, revision or None, token, choose)
            total = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
            print(f"{model}: {total / 1e9:.2f} GB in {folder}")
    except DownloadError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
