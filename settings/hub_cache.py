"""Hugging Face's cache as it lies on a disk: which snapshot a name and a revision mean.

    CACHE/models--OWNER--NAME/refs/BRANCH-OR-TAG       a file that holds a commit
    CACHE/models--OWNER--NAME/snapshots/COMMIT/FILE    a link into blobs/, or the file itself

Reads files and folders only: no network, no library of Hugging Face's.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from settings import whole

# Where the platform puts a cached model; a network volume is mounted at the same /runpod-volume.
RUNPOD_CACHE = "/runpod-volume/huggingface-cache/hub"

_COMMIT = re.compile(r"[0-9a-f]{7,40}", re.IGNORECASE)


class Snapshot(NamedTuple):
    """One place that has the repository. folder: the snapshot, None where the revision is missing."""

    repository: Path
    folder: Path | None
    problem: str = ""


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


def gguf(name: str) -> tuple[str, str]:
    """(repository, the file's name or "-QUANTISATION.gguf", its end; "" for a whole snapshot).

    As SGLang spells a .gguf of the hub (resolve_hf_gguf_reference in srt/utils/hf_transformers/common.py).
    """
    repository, colon, quantisation = name.rpartition(":")
    if colon:
        return repository, f"-{quantisation}.gguf"
    parts = name.split("/")
    return ("/".join(parts[:2]), "/".join(parts[2:])) if len(parts) > 2 and name.endswith(".gguf") else (name, "")


def gguf_file(folder: Path, name: str) -> tuple[str | None, str]:
    """(the path of that file in a snapshot, "") or (None, why there is none)."""
    files = [file for file in folder.rglob("*.gguf") if file.is_file() and file.stat().st_size]
    fitting = [file for file in files if (path := file.relative_to(folder).as_posix()) == name
               or (name.startswith("-") and path.endswith(name))]
    if len(fitting) != 1:
        return None, f"it has {len(fitting)} files {name.lstrip('-')}"
    damaged = whole.file_problem(fitting[0])
    return (None, damaged) if damaged else (str(fitting[0]), "")
