"""Which files the server will read its weights from, as its arguments say. Reads folders, no weights."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from settings import flags, model_source, whole
from settings.flags.values import Snapshot

# Loaders of SGLang (srt/model_loader/loader.py) that read what lies in the folder by memory map or read(2). The others
# read past the page cache (fastsafetensors, instanttensor and runai_streamer have direct reads of their own), read
# something else (npcache its own copies), or nothing (dummy, remote, private, …).
_BY_THE_PAGE_CACHE = ("auto", "safetensors", "pt", "mistral", "bitsandbytes", "gguf", "sharded_state", "layered")

_OFFLOADED = {"--cpu-offload-gb": "0", "--offload-group-size": "-1"}
_BACKED_UP = ("--enable-weights-cpu-backup", "--enable-draft-weights-cpu-backup")


def of(server_args: tuple[str, ...], snapshot: Snapshot) -> list[str]:
    """Absolute paths, links followed: of adapters and the draft model, which are small, then of the model.

    None of what is not on this machine, or is loaded past the page cache.
    """
    given = flags.Given(list(server_args), snapshot)
    if (given.value("--weight-cache-mode") or "off") != "off":
        return []  # weights come from the memory of another process
    load_format = given.value("--load-format") or "auto"
    draft_format = given.value("--speculative-draft-load-format") or load_format
    places = [(model_source.adapter(text)[1], load_format) for text in given.values(model_source.ADAPTERS)]
    places.append((given.value(model_source.DRAFT) or "", draft_format))
    places.append((given.value(model_source.MODEL) or "", load_format))
    found = [os.path.realpath(path) for place, by in places if place and by in _BY_THE_PAGE_CACHE
             for path in _in(Path(place).expanduser(), by)]
    return [path for path in dict.fromkeys(found) if os.path.isfile(path)]


def opened_by_safetensors(server_args: tuple[str, ...], snapshot: Snapshot) -> bool:
    """Whether the server opens its files of weights by safetensors.safe_open, as it does unless told otherwise.

    (srt/model_loader/weight_utils.py: with these options it reads them by itself, or asks the disk for all of them.)
    """
    given = flags.Given(list(server_args), snapshot)
    otherwise = ("--weight-loader-disable-mmap", "--weight-loader-prefetch-checkpoints")
    return ((given.value("--load-format") or "auto") in ("auto", "safetensors")
            and (given.value("--weight-cache-mode") or "off") == "off"
            and (given.value("--startup-weight-load-mode") or "serial") == "serial"  # else it reads them ahead itself
            and not any(given.on(flag) for flag in otherwise))


def stay_in_memory(server_args: tuple[str, ...], snapshot: Snapshot) -> bool:
    """Whether the server loads its weights, or some of them, into the container's memory and not the GPU's.

    (srt/utils/offloader.py; SGLang's own file of options, --config, is not read here and may say so.)
    """
    given = flags.Given(list(server_args), snapshot)
    return (given.value("--device") == "cpu" or given.value("--config") is not None
            or any((given.value(flag) or off) != off for flag, off in _OFFLOADED.items())
            or any(given.on(flag) for flag in _BACKED_UP))


def _in(place: Path, load_format: str) -> list[Path]:
    if place.is_dir():
        return whole.weight_files(place, model_source.weight_patterns(load_format))
    if place.suffix == ".gguf" and place.is_file():
        return [place.with_name(name) for name in whole.with_siblings([place.name])]
    return []


def beside_libraries(files: list[str], launch_command: tuple[str, ...], python_path: str) -> bool:
    """Whether any of `files` lies on the device from which the server's libraries are read.

    By the folders' device numbers: a file in one layer of a container's overlay may have another than the overlay.
    """
    python = shutil.which(launch_command[0]) or launch_command[0]
    homes = [os.path.dirname(python), os.path.dirname(os.path.realpath(python)), *python_path.split(os.pathsep)]
    libraries = {_device(home) for home in homes if home}
    return any(_device(os.path.dirname(path)) in libraries for path in files)


def _device(folder: str) -> int | None:
    try:
        return os.stat(folder).st_dev
    except OSError:
        return None
