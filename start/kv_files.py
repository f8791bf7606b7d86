"""Where the server keeps KV cache in files (HICACHE_STORAGE_BACKEND=file), and what makes such files fit a server.

SGLang names a file by the hash of its tokens, the served name and the rank, not by what lies in it (HiCacheFile in
srt/mem_cache/hicache_storage.py, with a TODO): a server with another revision, data type or layout would read the bytes
of this one as its own, and answer something else. So each configuration gets a folder of its own below the place that
was chosen.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import utils
from settings import config_file, flags, model_source
from settings.flags.values import Snapshot

PLACE, BOUND = "SGLANG_HICACHE_FILE_BACKEND_STORAGE_DIR", "SGLANG_HICACHE_FILE_BACKEND_MAX_SIZE"
DEFAULT_PLACE = "/tmp/hicache"  # SGLang's own, where not even --file-storage-path is set
# Of each rank, where nobody set a bound: SGLang has none, and would fill the disk.
DEFAULT_BOUND = "10G"
# RunPod mounts a volume there, in a worker and in a Pod.
VOLUMES = ("/runpod-volume", "/workspace")
_WEIGHTS = (model_source.MODEL, model_source.DRAFT, model_source.ADAPTERS)
# What says nothing of the cache's content, and may differ between two starts of one configuration.
_APART = ("--host", "--port", "--log-level", "--log-level-http", "--log-requests", "--file-storage-path")


def variables(server_args: Sequence[str], snapshot: Snapshot, environ: Mapping[str, str]) -> dict[str, str]:
    """What to add to the server's environment; nothing where it keeps no such files. Says where they are."""
    given = flags.Given(list(server_args), snapshot)
    items = [*_of_the_file(given.value("--config"), snapshot), *given.items]
    told = {item.flag: item.values[0] for item in items if item.flag and item.values}  # arguments win, the last of each
    if told.get("--hicache-storage-backend", "").lower() != "file":
        return {}
    extra = _extra(told.get("--hicache-storage-backend-extra-config", ""))
    place = os.path.abspath(os.path.expanduser(
        environ.get(PLACE) or str(extra.get("file_storage_path") or told.get("--file-storage-path") or DEFAULT_PLACE)))
    folder = os.path.join(place, key(items, told.get("--revision"), snapshot["sglang"]))
    bound = extra.get("max_size") or environ.get(BOUND)
    utils.log(f"KV cache in files: {folder}, at most {bound or DEFAULT_BOUND} for each rank")
    if on_a_volume(place):
        utils.log(f"KV cache in files lies on a volume, {place}: a network volume gives 0.2 to 0.4 GB/s, and a token "
                  "of an 8B model takes 128 KiB, so that 2,300 tokens a second come back at 0.3 GB/s, and a GPU "
                  "computes more; others saw 3 % of hits after a restart (SGLang's issue 27619) and no sooner first "
                  f"token (12809): set {PLACE} to a folder of the container's disk, or leave HICACHE_STORAGE_BACKEND "
                  "out, for the cache in the host's memory is what pays", "warn")
    return {PLACE: folder} if bound else {PLACE: folder, BOUND: DEFAULT_BOUND}


def on_a_volume(place: str) -> bool:
    return any(Path(os.path.realpath(place)).is_relative_to(volume) for volume in VOLUMES)


def key(items: Iterable[flags.Item], revision: str | None, sglang: str) -> str:
    """16 hexadecimal digits for everything that may shape a cache's bytes: the version, all settings but secrets, and
    the weights, by a snapshot's commit or else by their files."""
    kept = [item for item in items if item.flag not in _APART
            and not flags.is_secret(flags.variable(item.flag or item.spelled))]
    places = [model_source.adapter(text)[1] if item.flag == model_source.ADAPTERS else text
              for item in kept if item.flag in _WEIGHTS for text in item.values]
    facts = [sglang, [(item.flag or item.spelled, item.values, item.on) for item in kept],
             [_weights(place, revision) for place in places]]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:16]


def _weights(place: str, revision: str | None) -> object:
    folder = Path(place).expanduser()
    if re.search(r"/snapshots/[0-9a-f]{40}/?$", place):
        return place
    try:
        files = sorted(folder.iterdir()) if folder.is_dir() else [folder]
        return [(file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in files if file.is_file()
                or file is folder]
    except OSError:
        # A repository that the server will download: without a commit nobody knows yet of what, so no other start reads
        # what this one leaves.
        return [place, revision] if re.fullmatch(r"[0-9a-f]{40}", revision or "") else [place, time.time_ns()]


def _of_the_file(path: str | None, snapshot: Snapshot) -> list[flags.Item]:
    """The options of SGLANG_CONFIG_FILE, as far as they can be told."""
    try:
        return config_file.options(Path(path).read_text(encoding="utf-8"), snapshot) if path else []
    except (OSError, UnicodeDecodeError):
        return []


def _extra(text: str) -> Mapping[str, object]:
    """The backend's own settings: JSON, or `@` and a file (SGLang reads YAML and TOML too, the worker JSON alone)."""
    try:
        found = json.loads(Path(text[1:]).read_text(encoding="utf-8") if text.startswith("@") else text or "{}")
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
