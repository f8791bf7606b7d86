"""Where the estimator's models come from: a folder, a config.json, the hub's cache, or the hub."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from fit import FitError, Model
from settings import hub_cache, model_source, tensors, whole


class Found(NamedTuple):
    """A model's config.json, where it was, and the bytes of its weights where these lie beside it."""

    config: dict[str, Any]
    place: str
    weight_bytes: int | None


def find(name: str, revision: str | None, environ: Mapping[str, str], load_format: str = "auto",
         drafting: bool = False) -> Found:
    """`name` is a path or a repository of the hub. Raises FitError that says what to do."""
    path = Path(name).expanduser()
    if path.is_file():
        if path.suffix != ".json":
            raise FitError(f"{name} is neither a folder nor a config.json"
                           + (": a GGUF file tells no configuration here, name that of the model it was made of"
                              if path.suffix == ".gguf" else ""))
        return _read(path, None, load_format, drafting)
    if path.is_dir():
        return _read(path / "config.json", path, load_format, drafting)
    if name.startswith(("/", ".", "~")) or name.count("/") > 1:
        raise FitError(f"{name} is no file or folder of this machine")
    for snapshot in hub_cache.snapshots(name, revision, hub_cache.caches(environ)):
        if snapshot.folder and (snapshot.folder / "config.json").is_file():
            return _read(snapshot.folder / "config.json", snapshot.folder, load_format, drafting)
    return _read(Path(_downloaded(name, revision)), None, load_format, drafting)


def _read(file: Path, folder: Path | None, load_format: str, drafting: bool) -> Found:
    config = whole.read_json(file)
    if config is None:
        raise FitError(f"{file} " + ("is no JSON object" if file.exists() else "does not exist")
                       + ": name a folder with a config.json, that file, or owner/name of a model on the hub")
    weights = None
    if folder is not None:
        model = Model(config)
        weights = tensors.of_folder(folder, model_source.weight_patterns(load_format), len(model.layers), model.tied,
                                    drafting)
    return Found(config, str(file), weights)


def _downloaded(name: str, revision: str | None) -> str:
    remedy = f"download its config.json (huggingface.co/{name}/raw/{revision or 'main'}/config.json) and name that file"
    if os.environ.get("HF_HUB_OFFLINE", "").strip().lower() in ("1", "true", "yes", "on"):
        raise FitError(f"{name} is not on this machine, and HF_HUB_OFFLINE forbids to ask the hub: {remedy}")
    try:
        from huggingface_hub import hf_hub_download
    except ImportError:
        raise FitError(f"{name} is not on this machine, and huggingface_hub is not installed to ask the hub: "
                       f"pip install huggingface_hub, or {remedy}") from None
    try:
        return str(hf_hub_download(name, "config.json", revision=revision))
    except Exception as error:  # its own errors, those of HTTP and those of the network
        first = str(error).strip().splitlines()
        raise FitError(f"the hub did not give the config.json of {name} ({first[0] if first else type(error).__name__})"
                       f": check the name, set HF_TOKEN for a gated model, or {remedy}") from None
