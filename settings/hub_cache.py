"""Hugging Face's cache as it lies on a disk: which snapshot a name and a revision mean, and whether it is whole.

    CACHE/models--OWNER--NAME/refs/BRANCH-OR-TAG       a file that holds a commit
    CACHE/models--OWNER--NAME/snapshots/COMMIT/FILE    a link into blobs/, or the file itself

Reads files and folders only: no network, no library of Hugging Face's.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, NamedTuple

# Where the platform puts a cached model; a network volume is mounted at the same /runpod-volume.
RUNPOD_CACHE = "/runpod-volume/huggingface-cache/hub"

_COMMIT = re.compile(r"[0-9a-f]{7,40}", re.IGNORECASE)
_SHARD = re.compile(r"(.+-)(\d+)(-of-)(\d+)(\..+)")
_INDEX = {"*.safetensors": "model.safetensors.index.json", "*.bin": "pytorch_model.bin.index.json",
          "consolidated*.safetensors": "consolidated.safetensors.index.json"}
# What a training run leaves beside weights, in their format.
_NO_WEIGHTS = ("training_args*", "optimizer*", "scheduler*", "scaler*", "rng_state*")
_TOKENIZERS = ("tokenizer.json", "tekken.json", "vocab.txt", "*.model", "tokenizer.model.*", "*.tiktoken")
_HEADER_LIMIT = 100_000_000  # bytes; the format's own
_READERS = 16  # files at once: on a network volume each takes a round trip


class Snapshot(NamedTuple):
    """One place that has the repository. folder: the snapshot, None where the revision is missing."""

    repository: Path
    folder: Path | None
    problem: str = ""


class Needs(NamedTuple):
    """What a whole snapshot has. weights: the first of these patterns that fits any file is the one that counts."""

    config: str | None = "config.json"
    weights: tuple[str, ...] = ("*.safetensors", "*.bin", "*.pt")
    tokenizer: bool = False


def caches(environ: Mapping[str, str]) -> list[str]:
    """The hub caches of this machine, the one that the server would use first, RunPod's last."""
    user = os.path.join(environ.get("HOME") or os.path.expanduser("~"), ".cache")
    homes = (environ.get("HF_HOME"), *(os.path.join(base, "huggingface")
                                       for base in (environ.get("XDG_CACHE_HOME"), user) if base))
    found = (environ.get("HF_HUB_CACHE"), environ.get("HUGGINGFACE_HUB_CACHE"),
             *(os.path.join(home, "hub") for home in homes if home),
             environ.get("RUNPOD_MODEL_CACHE", "").strip() or RUNPOD_CACHE)
    return list(dict.fromkeys(os.path.expandvars(os.path.expanduser(path)) for path in found if path))


def is_commit(revision: str | None) -> bool:
    """Whether `revision` looks like a commit, whole or abbreviated, rather than a branch or a tag."""
    return bool(revision and _COMMIT.fullmatch(revision))


def snapshots(name: str, revision: str | None, places: Iterable[str]) -> Iterator[Snapshot]:
    """Every place that has the repository `name`, in the order of `places`; its case may differ there."""
    wanted = f"models--{name.replace('/', '--')}"
    for place in places:
        try:
            names = [entry for entry in os.listdir(place) if entry.casefold() == wanted.casefold()]
        except OSError:
            continue
        for entry in sorted(names, key=lambda entry: (entry != wanted, entry)):
            yield _snapshot(Path(place, entry), revision)


def _snapshot(repository: Path, revision: str | None) -> Snapshot:
    ref = revision or "main"
    try:
        commits = sorted(entry.name for entry in (repository / "snapshots").iterdir())
    except OSError:
        commits = []
    try:
        # A name that leads out of refs/ is none.
        outside = ref.startswith("/") or ".." in ref.split("/")
        commit = "" if outside else (repository / "refs" / ref).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        commit = ""
    if commit:
        if commit in commits:
            return Snapshot(repository, repository / "snapshots" / commit)
        return Snapshot(repository, None, f"the commit that {ref!r} stands for ({commit[:12]}) is missing")
    if revision in commits:
        return Snapshot(repository, repository / "snapshots" / revision)
    fitting = commits
    if revision:
        fitting = [name for name in commits if is_commit(revision) and name.startswith(revision.lower())]
    if len(fitting) == 1:
        return Snapshot(repository, repository / "snapshots" / fitting[0])
    if fitting:
        reason = f"{ref!r} may be any of {len(fitting)} commits"
    else:
        reason = f"revision {ref!r} is missing"
    return Snapshot(repository, None, reason)


def problem(folder: Path, needs: Needs) -> str | None:
    """Why the server could not load what it `needs` from `folder` alone, None when it can."""
    try:
        names = sorted(entry.name for entry in folder.iterdir())
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    return ((_config_problem(folder, names, needs.config) if needs.config else None)
            or _weights_problem(folder, names, needs.weights)
            or (_tokenizer_problem(folder, names) if needs.tokenizer else None))


def _config_problem(folder: Path, names: list[str], name: str) -> str | None:
    # Mistral's own format has its settings here; some repositories have no other.
    if name not in names and "params.json" in names and not any(fnmatch(file, "model*.safetensors") for file in names):
        name = "params.json"
    return _file_problem(folder / name) or (f"{name} cannot be read" if read_json(folder / name) is None else None)


def _weights_problem(folder: Path, names: list[str], patterns: tuple[str, ...]) -> str | None:
    if not patterns:
        return None
    kept = [name for name in names if not any(fnmatch(name, other) for other in _NO_WEIGHTS)]
    # A link whose blob is missing counts here: what is half there is not made up for by another format.
    for pattern in patterns:
        files = [name for name in kept if fnmatch(name, pattern)]
        if files:
            index = _INDEX.get(pattern)
            break
    else:
        index = next((_INDEX[pattern] for pattern in patterns if _INDEX.get(pattern) in names), None)
        if index is None:
            return f"it has no weights ({', '.join(patterns)})"
        files = []
    if index in names:
        listed = (read_json(folder / index) or {}).get("weight_map")
        if not isinstance(listed, dict) or not all(isinstance(name, str) for name in listed.values()):
            return f"{index} cannot be read"
        files = sorted(set(listed.values())) or files
    else:
        files = _with_siblings(files)
    return _first_problem(folder, files) if files else f"{index} names no weights"


def _with_siblings(files: list[str]) -> list[str]:
    """`files`, and every other part that a name such as model-00001-of-00004.safetensors promises."""
    every = set(files)
    for match in filter(None, map(_SHARD.fullmatch, files)):
        head, number, of, total, tail = match.groups()
        if int(total) <= 10_000:
            every |= {f"{head}{part:0{len(number)}}{of}{total}{tail}" for part in range(1, int(total) + 1)}
    return sorted(every)


def _tokenizer_problem(folder: Path, names: list[str]) -> str | None:
    found = [name for name in names if any(fnmatch(name, pattern) for pattern in _TOKENIZERS)]
    if not found and {"vocab.json", "merges.txt"} <= set(names):
        found = ["vocab.json", "merges.txt"]
    return _first_problem(folder, found) if found else "it has no tokenizer"


def _first_problem(folder: Path, names: list[str]) -> str | None:
    with ThreadPoolExecutor(_READERS) as pool:
        found = [line for line in pool.map(lambda name: _file_problem(folder / name), names) if line]
    others = f" (and {len(found) - 1} more of {len(names)} files are not whole)" if len(found) > 1 else ""
    return found[0] + others if found else None


def _file_problem(path: Path) -> str | None:
    try:
        size = path.stat().st_size
        if size == 0:
            return f"{path.name} is empty"
        if os.path.realpath(path).endswith(".incomplete"):
            return f"{path.name} is only partly downloaded"
        return _safetensors_problem(path, size) if path.suffix == ".safetensors" else None
    except FileNotFoundError:
        return f"{path.name} is a link to a missing file" if path.is_symlink() else f"{path.name} is missing"
    except OSError as error:
        return f"{path.name} cannot be read: {error.strerror}"


def _safetensors_problem(path: Path, size: int) -> str | None:
    """Compares the file's size with the one that its header promises: 8 bytes, the header, the last tensor's end."""
    with open(path, "rb") as f:
        length = int.from_bytes(f.read(8), "little")
        header = f.read(length) if length <= min(size, _HEADER_LIMIT) else b""
    try:
        tensors = [tensor for name, tensor in json.loads(header).items() if name != "__metadata__"]
        promised = 8 + length + max((tensor["data_offsets"][1] for tensor in tensors), default=0)
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return f"{path.name} is no whole safetensors file"
    return None if size == promised else f"{path.name} has {size} of {promised} bytes"


def read_json(path: Path) -> dict[str, Any] | None:
    """The JSON object in a file; None when there is none."""
    try:
        with open(path, encoding="utf-8") as f:
            value = json.load(f)
    except (OSError, ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None
