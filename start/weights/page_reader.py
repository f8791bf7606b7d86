"""Files into the page cache, ahead of another process that will read them. Needs nothing but the standard library.

    python -I -S page_reader.py '{"files": ["…"], "room": BYTES or null}'

It runs as a process of its own: small, at a low priority for the processor, the lowest for the disk, and gone with its
parent.
Files are read in their order, in windows of 16 MB, several at once, each with pread into one buffer that nobody looks
at. (On a volume of 0.3 GB/s, of 600 MB that posix_fadvise(WILLNEED) and readahead(2) were told of 95 MB came, and
madvise(MADV_POPULATE_READ) took 3.3 s for what eight preads at once took 2.0 s for.) A window whose pages are all there
is not read. `room`: bytes from the beginning that may be in memory at the end, what is there already counted.

It hears, on standard input: "needed" when the other process begins to read (from then on the disk's ordinary priority:
that process may be waiting for a page that is read here), and "enough", or the end of the input, when it has to end.

It says one JSON object, on standard output, when all is read or it was told to end:
{"bytes" of all files, "planned" of them within the room, "there" before, "read", "seconds", "needed": how many of the
planned were in memory when they were needed, null if that came not yet, "stopped": why it gave up, or null}.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from itertools import takewhile
from typing import Any, NamedTuple

WINDOW = 16 * 2**20  # bytes
STREAMS = 8
_PROVEN = 4  # windows of the first file after which its pages must have stayed
_STAYED = 0.9  # of them
_WHOLE = 0.99  # of a window that counts as being in memory: the kernel takes a page back now and then
_NICE = 10  # at 19 it would come to nothing where the server's imports keep every core busy
_IOPRIO_SET = {"x86_64": 251, "aarch64": 30}
IDLE, ORDINARY = 3 << 13, 2 << 13 | 4  # IOPRIO_CLASS_IDLE; IOPRIO_CLASS_BE, its middle level
_NOBODY = 65534  # the owner that a user namespace shows for one that it does not know

libc = ctypes.CDLL(None, use_errno=True)
libc.mmap.restype = ctypes.c_void_p
libc.mmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long)
libc.munmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t)
libc.mincore.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_char_p)
_PAGE = os.sysconf("SC_PAGE_SIZE")
_FAILED = ctypes.c_void_p(-1).value


class Untold(Exception):
    """Whether pages stay in memory cannot be found out, or they do not; the text says why."""


class Pages:
    """Which pages of a file are in memory. Opens it anew: some file systems drop a file's pages then."""

    def __init__(self, path: str):
        self.fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        status = os.fstat(self.fd)
        self.size, user = status.st_size, os.geteuid()
        # Of others' files mincore(2) says that all of their pages are there (can_do_mincore in mm/mincore.c).
        if not (status.st_uid == user or user == 0 and status.st_uid != _NOBODY or os.access(path, os.W_OK)):
            raise Untold("the file is another user's, of which the system does not say what is in memory")
        self._at = 0
        if self.size:
            address = libc.mmap(None, self.size, 1, 1, self.fd, 0)  # PROT_READ, MAP_SHARED
            if address in (None, _FAILED):
                raise Untold(f"the file system maps no files ({os.strerror(ctypes.get_errno())})")
            self._at = address

    def there(self, offset: int, length: int) -> int:
        """Bytes in memory of `length` from `offset` on, a multiple of the page size; a page counts as a whole."""
        if offset + length > self.size:
            raise Untold("a file became shorter while it was read")
        count = -(-length // _PAGE)
        seen = ctypes.create_string_buffer(count)
        if libc.mincore(self._at + offset, length, seen):
            raise Untold(f"mincore: {os.strerror(ctypes.get_errno())}")
        return min(length, seen.raw.count(b"\1") * _PAGE)

    def close(self) -> None:
        if self._at:
            libc.munmap(self._at, self.size)
            self._at = 0
        os.close(self.fd)


class Window(NamedTuple):
    file: str
    offset: int
    length: int


class Missing(NamedTuple):
    window: Window
    bytes: int  # of it that were not in memory at the beginning


def windows(sizes: Sequence[tuple[str, int]], room: int | None) -> list[Window]:
    """The windows of all files, (path, bytes) each, in their order, as far as they find `room`."""
    found: list[Window] = []
    for path, size in sizes:
        for offset in range(0, size, WINDOW):
            length = min(WINDOW, size - offset)
            if room is not None:
                if length > room:
                    return found
                room -= length
            found.append(Window(path, offset, length))
    return found


class Reader:
    """Reads in threads of its own. `wait` returns when there is nothing more to do."""

    def __init__(self, files: Sequence[str], room: int | None):
        self._began = time.monotonic()
        self._lock, self._opening, self._over = threading.Lock(), threading.Lock(), threading.Event()
        self._there = self._read = 0
        self._needed: int | None = None
        self._looked = False  # at what is there
        self._stopped: str | None = None
        self._priority = IDLE
        self._buffer = memoryview(bytearray(WINDOW))
        self._pages: dict[str, Pages] = {}
        self._bytes, self._windows = 0, list[Window]()
        try:
            sizes = [(path, os.stat(path).st_size) for path in files]
            self._bytes = sum(size for _, size in sizes)
            self._windows = windows(sizes, room)
        except OSError as error:
            self._stopped = str(error)

    def run(self) -> None:
        """Read everything, and return then."""
        try:
            missing = self._missing()
            proof = list(takewhile(lambda one: one.window.file == missing[0].window.file, missing))[:_PROVEN]
            self._together(iter(proof))
            self._prove([one.window for one in proof])
            self._together(iter(missing[len(proof):]))
        except (OSError, Untold) as error:
            self._stop(error)
        self._over.set()

    def needed(self) -> None:
        with self._lock:
            self._priority = ORDINARY
            if self._needed is None and self._looked:
                self._needed = self._there + self._read

    def end(self) -> None:
        self._over.set()

    def wait(self) -> dict[str, Any]:
        """What came of it, once everything is read or `end` was called."""
        self._over.wait()
        with self._lock:
            return {"bytes": self._bytes, "planned": sum(window.length for window in self._windows),
                    "there": self._there, "read": self._read, "seconds": time.monotonic() - self._began,
                    "needed": self._needed, "stopped": self._stopped}

    def _stop(self, error: Exception) -> None:
        with self._lock:
            self._stopped = self._stopped or str(error)
        self._over.set()

    def _missing(self) -> list[Missing]:
        """The windows of which something is not in memory yet. Looked at before anything is read, because the kernel
        reads on beyond a window's end."""
        found, there = [], 0
        for window in self._windows:
            here = self._opened(window.file).there(window.offset, window.length)
            if here < _WHOLE * window.length:
                found.append(Missing(window, window.length - here))
            else:
                here = window.length
            there += here
        with self._lock:
            self._there, self._looked = there, True
            if self._priority == ORDINARY:  # it was needed by then
                self._needed = there
        return found

    def _prove(self, read: list[Window]) -> None:
        """Raises Untold where pages of what was just read are gone when the file is opened again."""
        if not read or self._over.is_set():
            return
        pages = Pages(read[0].file)
        try:
            stayed = sum(pages.there(window.offset, window.length) for window in read)
        finally:
            pages.close()
        if stayed < _STAYED * sum(window.length for window in read):
            raise Untold("pages do not stay in memory when a file is opened again")

    def _opened(self, path: str) -> Pages:
        with self._opening:  # not the lock of the figures, which are told even while an opening hangs
            if path not in self._pages:
                self._pages[path] = Pages(path)
            return self._pages[path]

    def _together(self, left: Iterator[Missing]) -> None:
        threads = [threading.Thread(target=self._stream, args=(left,), daemon=True) for _ in range(STREAMS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def _stream(self, left: Iterator[Missing]) -> None:
        priority = IDLE
        try:
            while not self._over.is_set():
                with self._lock:
                    one = next(left, None)
                if one is None:
                    return
                if priority != self._priority:
                    priority = self._priority
                    for_the_disk(priority)
                self._window(*one)
        except (OSError, Untold) as error:
            self._stop(error)

    def _window(self, window: Window, missing: int) -> None:
        pages = self._opened(window.file)
        offset, end = window.offset, window.offset + window.length
        if pages.there(offset, window.length) < _WHOLE * window.length:  # else the other process was faster
            while offset < end:
                if self._over.is_set():
                    return
                count = os.preadv(pages.fd, [self._buffer[:end - offset]], offset)
                if not count:
                    raise Untold("a file became shorter while it was read")
                offset += count
        with self._lock:
            self._read += missing


def for_the_disk(priority: int) -> None:
    """Give the calling thread, and threads that it starts, a priority for the disk; where there is none, nothing."""
    number = _IOPRIO_SET.get(os.uname().machine)
    if number is not None:
        libc.syscall(ctypes.c_long(number), ctypes.c_int(1), ctypes.c_int(0), ctypes.c_int(priority))


def main() -> int:
    libc.prctl(1, signal.SIGKILL, 0, 0, 0)  # PR_SET_PDEATHSIG
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with contextlib.suppress(OSError):
        os.nice(_NICE)
    for_the_disk(IDLE)
    reader = Reader(**json.loads(sys.argv[1]))

    def listen() -> None:
        for line in sys.stdin:
            if line.strip() != "needed":
                break
            reader.needed()
        reader.end()

    threading.Thread(target=listen, daemon=True).start()
    threading.Thread(target=reader.run, daemon=True).start()
    print(json.dumps(reader.wait()), flush=True)
    os._exit(0)  # without waiting for reads that hang


if __name__ == "__main__":
    sys.exit(main())
