"""What the children of the unpacker do: windows of packed copies read, unpacked, and written to memory."""

from __future__ import annotations

import contextlib
import mmap
import os
import signal
import struct
import sys
import threading

from start.weights import page_reader
from start.weights.packed import codec, copies

MESSAGE = struct.Struct("=II")  # a window, and what became of it:
UNREAD, WHOLE, DAMAGED = range(3)
_THREADS = 4  # in each child: one unpacks, the others wait for the volume
_WARM = 0.5  # of the originals' bytes in memory: then they are what is read


class Job:
    """Windows of all copies by one number, and where each comes from and goes to."""

    def __init__(self, wanted: list[copies.Copy]):
        self.copies = wanted
        self.memory = [os.memfd_create("weights", os.MFD_CLOEXEC) for _ in wanted]
        self.windows: list[tuple[int, codec.Window, int, int]] = []  # copy, window, offset in the copy, in the original
        for number, copy in enumerate(wanted):
            os.ftruncate(self.memory[number], copy.size)
            stored = at = 0
            for window in copy.windows:
                self.windows.append((number, window, stored, at))
                stored, at = stored + window.stored, at + window.length


def work(job: Job, orders: int, results: int) -> None:
    """One child: unpack the windows whose numbers come from the pipe `orders`, until that ends."""
    page_reader.libc.prctl(1, signal.SIGKILL, 0, 0, 0)  # PR_SET_PDEATHSIG
    packed = [os.open(copy.packed, os.O_RDONLY | os.O_CLOEXEC) for copy in job.copies]
    maps = [mmap.mmap(fd, copy.size) if copy.size else None for fd, copy in zip(job.memory, job.copies, strict=True)]

    def stream() -> None:
        while len(order := os.read(orders, 4)) == 4:
            number = int.from_bytes(order, sys.byteorder)
            copy, window, stored, at = job.windows[number]
            try:
                codec.unpack(window, memoryview(_read(packed[copy], window.stored, stored)), maps[copy], at)
                said = WHOLE
            except codec.Damaged:
                said = DAMAGED
            except OSError:
                said = UNREAD
            os.write(results, MESSAGE.pack(number, said))

    threads = [threading.Thread(target=stream) for _ in range(_THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def _read(fd: int, length: int, offset: int) -> bytearray:
    data = bytearray(length)
    view, done = memoryview(data), 0
    while done < length:
        count = os.preadv(fd, [view[done:]], offset + done)
        if not count:
            raise codec.Damaged("a packed file became shorter")
        done += count
    return data


def warm(wanted: list[copies.Copy]) -> bool:
    """Whether the originals are in memory, for the greater part."""
    there = 0
    for copy in wanted:
        with contextlib.suppress(OSError, page_reader.Untold):
            pages = page_reader.Pages(copy.original)
            try:
                there += pages.there(0, pages.size)
            finally:
                pages.close()
    return there > _WARM * sum(copy.size for copy in wanted)
