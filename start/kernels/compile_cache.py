"""Compile caches that outlive the container: when they are fetched, and when they are kept.

Every folder that SGLang and its libraries compile into goes under one root, by environment variables of the server.
With a network volume (or COMPILE_CACHE_DIR) the root is kept as one archive there, under a key of all that the
kernels depend on, and put back by the next worker while its server is still importing. Archives that were put into
the image are looked at after the volume's.

The runpod SDK's VolumeCache is not used: it knows one namespace an endpoint instead of a key, so that two GPU types
or two versions mix; it copies newer files over existing ones while the server may be reading them; it has no check
of contents and no bound on size; and it would have to be imported, which takes longer than the whole restore.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import threading
import uuid
from collections.abc import Callable
from typing import Any

import utils
from clock import awake
from start.kernels import cache_archive
from start.kernels.compile_key import archive_name, base_key

VOLUME = "/runpod-volume"
ON_VOLUME = ".cache/worker-sglang/compile"
BAKED = "/opt/compile-cache"  # <base key>-<driver>.tar.gz, as builder.bake_compile_cache names them

_QUIET, _QUIET_WITHIN = 2.0, 60.0  # seconds without a new file before a save, and how long that is waited for
_SAVE_TIMEOUT = 600.0  # seconds


def place(chosen: str | None, volume: str = VOLUME) -> str | None:
    """The folder for archives: the chosen one, one on the network volume, or None where there is no volume."""
    if chosen:
        return os.path.abspath(chosen)
    # RunPod's cached models lie below the same path, which without a volume is a part of the container.
    return os.path.join(volume, ON_VOLUME) if os.path.ismount(volume) and os.access(volume, os.W_OK) else None


class CompileCache:
    """The cache of one worker. Threads of its own do all the work; failures are lines in the log and nothing more.

    root: what the server compiles into; folder: of the archives, None without a volume; limit: bytes that all
    archives together may hold; facts: called in a thread, gives what the kernels depend on, "driver" among it.
    """

    def __init__(self, root: str, folder: str | None, limit: int, facts: Callable[[], dict[str, Any]],
                 baked: str = BAKED):
        self.root, self.folder, self.limit, self.baked = root, folder, limit, baked
        self.span: tuple[float, float] | None = None  # clock.awake at which the restore began and ended
        self._facts_of = facts
        self._facts: dict[str, Any] | None = None  # None until they are asked for, in a thread
        self._known: dict[str, int] = {}
        self._restored: str | None = None
        self._saving = threading.Lock()
        self._closing = threading.Event()
        self._full = False  # the volume took no more: it is not asked again
        self._restoring: threading.Thread | None = None

    def begin(self) -> None:
        """Fetch the archive, in a thread: the first kernels are needed long after the server began to import."""
        self._restoring = threading.Thread(target=self._quietly, args=(self._restore,), name="compile-cache-restore",
                                           daemon=True)
        self._restoring.start()

    def keep(self) -> None:
        """Save what is new, in a thread, once nothing more is being compiled."""
        if self.folder:
            threading.Thread(target=self._quietly, args=(self._keep,), name="compile-cache-save", daemon=True).start()

    def close(self, timeout: float) -> None:
        """Save what is new, now, in at most `timeout` seconds. Not for a server that was never ready."""
        self._closing.set()
        self._quietly(self._save, timeout)

    def doubt(self) -> None:
        """The server did not get ready with what was restored: the next worker does without it.

        Renamed, not removed: the cause may yet be another, and eviction takes it first.
        """
        if self._restored and self.folder and self._restored.startswith(self.folder + os.sep):
            with contextlib.suppress(OSError):
                os.replace(self._restored, self._restored + cache_archive.DOUBTED)
                utils.log(f"compile cache: the server did not start with {self._restored}, for a reason that is not "
                          f"known: it is kept as …{cache_archive.SUFFIX}{cache_archive.DOUBTED}, and no longer used",
                          "warn")

    def _quietly(self, work: Callable[..., None], *arguments: float) -> None:
        try:
            work(*arguments)
        except Exception as error:
            utils.log(f"compile cache: {type(error).__name__}: {error}", "warn")

    def _restore(self) -> None:
        began = awake()
        # torch makes no folder that it was told by name (aten/src/ATen/native/cuda/jit_utils.cpp).
        os.makedirs(os.path.join(self.root, "torch-kernels"), exist_ok=True)
        if not self.folder and not os.path.isdir(self.baked):
            return
        facts = self._facts = self._facts_of()
        for archive in self._candidates(facts):
            told = self._child("restore", _SAVE_TIMEOUT, archive=archive, root=self.root, base=base_key(facts))
            if "error" not in told:
                self._known, self._restored = told["contents"], archive
                self.span = began, awake()
                utils.log(f"compile cache: {told['files']} files ({told['bytes'] / 1e6:.1f} MB) from {archive} "
                          f"in {self.span[1] - began:.1f} s")
                return
            if told.get("full"):
                self.span = began, awake()
                utils.log(f"compile cache: no room below {self.root} for {archive}: {told['error']}; the server "
                          "compiles what it needs", "warn")
                return  # nor for another
            utils.log(f"compile cache: {'dropped' if told.get('unusable') else 'cannot read'} {archive}: "
                      f"{told['error']}", "warn")
            if told.get("unusable") and not archive.startswith(self.baked + os.sep):
                with contextlib.suppress(OSError):
                    os.unlink(archive)
        self.span = began, awake()
        utils.log(f"compile cache: none yet for this GPU, model and settings in {self.folder or self.baked}")

    def _candidates(self, facts: dict[str, Any]) -> list[str]:
        name, found = archive_name(facts), []
        for folder in filter(None, (self.folder, self.baked)):
            with contextlib.suppress(OSError):
                same = [os.path.join(folder, other) for other in os.listdir(folder)
                        if other.startswith(base_key(facts)) and other.endswith(cache_archive.SUFFIX)]
                found += sorted(same, key=lambda path: (os.path.basename(path) != name, -os.stat(path).st_mtime))
        return found

    def _keep(self) -> None:
        if self._restoring:
            self._restoring.join()
        deadline, last = awake() + _QUIET_WITHIN, None
        while last != (now := cache_archive.listing(self.root)) and awake() < deadline:
            last = now
            if self._closing.wait(_QUIET):
                return  # `close` saves
        self._save(_SAVE_TIMEOUT)

    def _save(self, timeout: float) -> None:
        began = awake()
        if not self._saving.acquire(timeout=timeout):
            return
        try:
            if not self.folder or self._facts is None or self._full:
                return
            if not cache_archive.changed(cache_archive.listing(self.root), self._known):
                return
            archive = os.path.join(self.folder, archive_name(self._facts))
            mark = uuid.uuid4().hex
            told = self._child("save", timeout, root=self.root, archive=archive, facts=self._facts,
                               base=base_key(self._facts), limit=self.limit, mark=mark)
            if "contents" not in told:
                with contextlib.suppress(OSError):  # of one that was killed
                    os.unlink(cache_archive.part_of(archive, mark))
            if told.get("full"):
                self._full = True
                utils.log(f"compile cache: not saved, {self.folder} takes no more (its quota may be reached, which df "
                          f"does not show): {told['error']}. This worker does not try again; the next one compiles, "
                          "unless something is removed from the volume or COMPILE_CACHE_DIR names another", "warn")
                return
            if "error" in told:
                utils.log(f"compile cache: not saved to {archive}: {told['error']}", "warn")
                return
            self._known = told["contents"]
            gone = f"; {len(told['evicted'])} older ones removed (COMPILE_CACHE_MAX_MB)" if told["evicted"] else ""
            utils.log(f"compile cache: saved {told['files']} files ({told['bytes'] / 1e6:.1f} MB) to {archive} "
                      f"in {awake() - began:.1f} s{gone}")
        finally:
            self._saving.release()

    def _child(self, action: str, timeout: float, **arguments: Any) -> dict[str, Any]:
        try:
            done = subprocess.run([sys.executable, "-I", "-S", cache_archive.__file__, action, json.dumps(arguments)],
                                  stdin=subprocess.DEVNULL, capture_output=True, timeout=timeout)
            told: dict[str, Any] = json.loads(done.stdout)
            return told
        except subprocess.TimeoutExpired:
            return {"error": f"it took more than {timeout:.0f} s"}
        except (OSError, ValueError) as error:
            return {"error": f"{type(error).__name__}: {error}"}
