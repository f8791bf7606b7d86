"""Packed copies for the server of one worker: whether they are used, by what processes, and whether they are made."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import utils
from clock import awake
from start.weights.packed import copies, packer, unpacker
from start.weights.packed.plugin import worker_sglang_weights as redirect

PLUGIN = os.path.dirname(redirect.__file__)
PLUGINS, NAME = "SGLANG_PLUGINS", "worker-sglang-weights"  # SGLang's list of plugins that it may load, and this one
CORES = 4  # for PACKED_WEIGHTS=auto: with fewer, unpacking would take from the server's imports what it gives
_MOST = 8  # processes that unpack: 3 GB/s
_COVERED = 0.95  # of the bytes that the server will load must have copies
_ROOT = str(Path(__file__).parents[3])


class Supply:
    """The folder of copies, the socket at which the server asks, and the processes of both. Nothing here raises.

    folder: of the copies; wanted: PACKED_WEIGHTS; cores: what there are; stays: whether what is loaded stays in the
    container's memory, where it needs room beside what is unpacked.
    """

    def __init__(self, folder: str, wanted: str, cores: int, python: str = sys.executable, stays: bool = False):
        self.folder, self._keep, self._cores, self._python = folder, wanted == "keep", cores, python
        self._copies_held = 2 if stays else 1
        self._used = wanted in ("on", "keep") or wanted == "auto" and cores >= CORES
        self._sockets = ""
        self._packing: subprocess.Popen[str] | None = None
        self._lock, self._closed = threading.Lock(), False

    def environ(self, environ: Mapping[str, str]) -> dict[str, str]:
        """The server's environment, in which it asks here for its files; as it is where there is no copy at all."""
        if not self._used or not os.path.isdir(self.folder):
            return dict(environ)
        try:
            self._sockets = tempfile.mkdtemp(prefix="weights-")
        except OSError:
            return dict(environ)
        path = filter(None, (environ.get("PYTHONPATH"), PLUGIN))
        added = {redirect.ADDRESS: self._socket, "PYTHONPATH": os.pathsep.join(path)}
        if environ.get(PLUGINS):
            added[PLUGINS] = f"{environ[PLUGINS]},{NAME}"
        return {**environ, **added}

    @property
    def _socket(self) -> str:
        return os.path.join(self._sockets, "socket")

    def command(self, files: Sequence[str], allowed: int | None) -> list[str] | None:
        """The process that unpacks copies of `files` into at most `allowed` bytes; None where originals are read."""
        if not self._sockets:
            return None
        found = [copy for copy in copies.find(copies.of_safetensors(files), self.folder) if _beside(copy)]
        whole, covered = sum(map(_size, files)), sum(copy.size for copy in found)
        if not found or covered < _COVERED * whole:
            return None
        if allowed is not None and (needed := self._copies_held * covered) > allowed:
            utils.log(f"weights: packed copies are not used, which need {needed / 1e9:.1f} GB of memory for the time "
                      f"of the load: {allowed / 1e9:.1f} GB may be used")
            return None
        orders = {"copies": [[copy.original, copy.packed.removesuffix(copies.PACKED)] for copy in found],
                  "socket": self._socket, "processes": max(2, min(_MOST, self._cores // 2))}
        return self._child(unpacker.__name__, orders)

    def keep(self, files: Sequence[str]) -> None:
        """The server is up: make the copies of `files` that are missing, if they are wanted, in a thread.

        files: none where no start would unpack any.
        """
        if self._keep:
            threading.Thread(target=self._quietly, args=(list(files),), name="weights-packing", daemon=True).start()

    def close(self) -> None:
        """The worker ends. What is half written goes when another worker packs. Returns at once."""
        with self._lock:
            self._closed = True
            if self._packing:
                self._packing.kill()
        if self._sockets:
            with contextlib.suppress(OSError):
                os.unlink(self._socket)
            with contextlib.suppress(OSError):
                os.rmdir(self._sockets)

    def _quietly(self, files: list[str]) -> None:
        try:
            self._pack(files)
        except Exception as error:
            utils.log(f"packed weights: not made: {type(error).__name__}: {error}", "warn")

    def _pack(self, files: list[str]) -> None:
        there = _device(self.folder)
        files = [path for path in copies.of_safetensors(files) if os.stat(path).st_dev == there]
        if not files:
            utils.log(f"packed weights: none are made: no start would use copies in {self.folder}", "warn")
            return
        if len(copies.find(files, self.folder)) == len(files):
            return
        began = awake()
        orders = {"files": files, "folder": self.folder, "processes": max(1, min(4, self._cores // 2)), "humble": True}
        with self._lock:
            if self._closed:
                return
            self._packing = subprocess.Popen(self._child(packer.__name__, orders), stdin=subprocess.DEVNULL,
                                             stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        output, _ = self._packing.communicate()
        if not output:
            return  # killed, with the worker
        told: dict[str, Any] = json.loads(output)
        if told["full"]:
            utils.log(f"packed weights: {self.folder} takes no more (its quota may be reached, which df does not "
                      f"show): {told['error']}. This worker does not try again", "warn")
        elif told["error"]:
            utils.log(f"packed weights: not all were made in {self.folder}: {told['error']}", "warn")
        elif told["made"]:
            utils.log(f"packed weights: {told['bytes'] / 1e9:.1f} GB are now {told['stored'] / 1e9:.1f} GB in "
                      f"{self.folder}, made in {awake() - began:.0f} s: the next start reads these")

    def _child(self, module: str, orders: dict[str, Any]) -> list[str]:
        # Not -m: the folder of the worker is not on the path of an isolated interpreter.
        code = (f"import sys; sys.path.insert(0, {_ROOT!r}); from {module.rpartition('.')[0]} import "
                f"{module.rpartition('.')[2]} as it; sys.exit(it.main(sys.argv[1]))")
        return [self._python, "-I", "-S", "-c", code, json.dumps(orders)]


def _beside(copy: copies.Copy) -> bool:
    """Whether it lies where the original does: from another volume it may come later."""
    try:
        return os.stat(copy.packed).st_dev == os.stat(copy.original).st_dev
    except OSError:
        return False


def _device(folder: str) -> int:
    """On which it lies, or will."""
    while not os.path.exists(folder):
        folder = os.path.dirname(folder)
    return os.stat(folder).st_dev


def _size(path: str) -> int:
    try:
        return os.stat(path).st_size
    except OSError:
        return 0
