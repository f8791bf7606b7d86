"""Makes packed copies. Reads the originals, writes the folder of copies, at the lowest priority if told so.

    python -I -S -c '…; packer.main(…)' '{"files": […], "folder": …, "processes": N, "humble": true}'

One JSON object on standard output: {"files", "made" now, "bytes" of the originals that have copies now and "stored" of
these, "seconds", "error": null or why it stopped, "full": whether the folder takes no more}. What is half written is
removed, and what was made before stays: a packer that is stopped goes on when it is started again. Humble ones leave a
file to whoever is at it, and take the files in any order: many workers that start at once share the work.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import random
import signal
import sys
import time
import uuid
from collections import deque
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from typing import Any

from start.weights import page_reader
from start.weights.packed import codec, copies

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class Changed(Exception):
    """A file was written while it was packed."""


def pack(path: str, folder: str, pool: Executor, ahead: int, shared: bool = False) -> bool:
    """Make the copy of one file, unless there is one; whether it was made. `ahead` windows are packed at once.

    shared: not if somebody else is making it. Raises OSError and Changed.
    """
    name = copies.identity(path)
    base = os.path.join(folder, name)
    if copies.find([path], folder) or shared and copies.in_hand(base, time.time()):
        return False
    part = f"{base}{copies.PART}-{uuid.uuid4().hex}"
    windows: list[codec.Window] = []
    try:
        with open(path, "rb", buffering=0) as original, open(part, "wb", buffering=0) as packed:
            waiting: deque[Future[tuple[codec.Window, list[bytes]]]] = deque()
            while (data := _window(original)) or waiting:
                if data:
                    waiting.append(pool.submit(codec.pack, data))
                if waiting and (len(waiting) > ahead or not data):
                    window, planes = waiting.popleft().result()
                    windows.append(window)
                    for plane in planes:
                        _write(packed, plane)
            os.fsync(packed.fileno())
        if copies.identity(path) != name:
            raise Changed(f"{path} was written while it was packed")
        os.replace(part, base + copies.PACKED)
        with open(part, "w", encoding="utf-8") as f:
            json.dump({"format": copies.FORMAT, "name": os.path.basename(path), "windows": codec.listed(windows)}, f)
        os.replace(part, base + copies.INDEX)
    finally:
        with contextlib.suppress(OSError):
            os.unlink(part)
    return True


def _window(f: Any) -> bytes:
    data = bytearray()
    while len(data) < codec.WINDOW and (piece := f.read(codec.WINDOW - len(data))):
        data += piece
    return bytes(data)


def _write(f: Any, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[f.write(view):]


def pack_all(files: list[str], folder: str, processes: int, humble: bool = False) -> dict[str, Any]:
    """The copies of all `files`; what came of it, as this module says it."""
    began, made, error, full = time.monotonic(), 0, None, False
    try:
        os.makedirs(folder, exist_ok=True)
        copies.expire(folder, time.time(), [copies.identity(path) for path in files])
        # Threads: what takes the time, zlib, lets others run.
        with ThreadPoolExecutor(processes) as pool:
            for path in random.sample(files, len(files)) if humble else files:
                made += pack(path, folder, pool, processes, humble)
    except (OSError, Changed) as problem:
        error, full = str(problem), getattr(problem, "errno", None) in _FULL
    found = copies.find(files, folder)
    return {"files": len(files), "made": made, "bytes": sum(copy.size for copy in found),
            "stored": sum(copy.stored for copy in found), "seconds": round(time.monotonic() - began, 3),
            "error": error, "full": full}


def main(text: str) -> int:
    """The process; text: its orders, as JSON."""
    page_reader.libc.prctl(1, signal.SIGKILL, 0, 0, 0)  # PR_SET_PDEATHSIG
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    orders = json.loads(text)
    humble = orders.get("humble", False)
    if humble:
        with contextlib.suppress(OSError):
            os.nice(19)
        page_reader.for_the_disk(page_reader.IDLE)
    print(json.dumps(pack_all(orders["files"], orders["folder"], orders["processes"], humble)), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
