"""Downloads one LoRA adapter of the hub for a running worker, which has it done by this program beside itself.

    python builder/download_adapter.py OWNER/NAME [--revision REVISION] [--most-bytes N] [--seconds S]

Run with the base image's Python, which has huggingface_hub. The files go to Hugging Face's ordinary cache; a token is
read from HF_TOKEN. The last line of the output is JSON: {"folder": …}, or {"error": KIND, "message": …} with KIND one
of "missing" (no such repository, revision or adapter), "refused" (gated, private), "large", "disk" and "failed".
"""

from __future__ import annotations

import argparse
import errno
import json
import os
import signal
import sys
from collections.abc import Mapping
from fnmatch import fnmatch
from pathlib import Path

# Only what is looked at and loaded: no code, no pickles, no checkpoints of the training.
WANTED = ("adapter_config.json", "added_tokens.json", "*.safetensors")
_PUSHES = 3  # tries, when somebody pushes between the list of files and their download


def wanted(sizes: Mapping[str, int | None]) -> dict[str, int | None]:
    """Which files of a repository, of {name: bytes}, make the adapter."""
    return {name: size for name, size in sizes.items() if "/" not in name and any(
        fnmatch(name, pattern) for pattern in WANTED)}


def download(repository: str, revision: str | None, most_bytes: int) -> dict[str, str]:
    """What the last line of the output says."""
    import huggingface_hub
    from huggingface_hub import errors

    def failed(kind: str, message: str) -> dict[str, str]:
        return {"error": kind, "message": message}

    try:
        for _ in range(_PUSHES):
            info = huggingface_hub.HfApi().model_info(repository, revision=revision, files_metadata=True)
            files = wanted({file.rfilename: file.size for file in info.siblings or ()})
            if "adapter_config.json" not in files:
                return failed("missing", "it is no LoRA adapter: it has no adapter_config.json")
            total = sum(size or 0 for size in files.values())
            if total > most_bytes:
                return failed("large", f"it has {total / 1e6:.0f} MB, and {most_bytes / 1e6:.0f} MB are allowed "
                                       "(LORA_DOWNLOAD_MAX_MB)")
            # By the revision's name, so that the cache knows from now on which commit that is.
            patterns = [name.replace("[", "[[]") for name in files]
            folder = Path(huggingface_hub.snapshot_download(repository, revision=revision or "main",
                                                            allow_patterns=patterns))
            if folder.name == info.sha:
                break
        else:
            return failed("failed", "it was changed while it was downloaded")
    except errors.GatedRepoError:
        return failed("refused", "it is gated: accept its licence on the hub, and set HF_TOKEN to a token that may "
                                 "read it")
    except errors.RevisionNotFoundError:
        return failed("missing", f"it has no revision {revision!r}")
    except errors.RepositoryNotFoundError:
        return failed("missing", "there is no such repository, or it is private and HF_TOKEN may not read it")
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            return failed("disk", "there is no room for it on this machine's disk")
        return failed("failed", f"it could not be downloaded ({type(error).__name__})")
    except Exception as error:  # the HTTP library underneath, and so its errors, differ between base images
        return failed("failed", f"it could not be downloaded ({type(error).__name__})")
    if short := [name for name, size in files.items() if not (folder / name).is_file()
                 or size is not None and (folder / name).stat().st_size != size]:
        return failed("failed", f"{short[0]} is not whole")
    return {"folder": str(folder)}


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("repository")
    parser.add_argument("--revision")
    parser.add_argument("--most-bytes", type=int, default=2_000_000_000)
    parser.add_argument("--seconds", type=int, default=600, help="after which it ends, whoever still waits for it")
    chosen = parser.parse_args(arguments)
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    signal.alarm(max(1, chosen.seconds))
    said = download(chosen.repository, chosen.revision or None, chosen.most_bytes)
    print(json.dumps(said), flush=True)
    return 0 if "folder" in said else 1


if __name__ == "__main__":
    sys.exit(main())
