"""Packed copies read and unpacked into memory, for a server that asks for each file by its path.

    python -I -S -c '…; unpacker.main(…)' '{"copies": [[original, base], …], "socket": PATH, "processes": N}'

It runs as a process of its own with N children that read and unpack (unpacking.py); it alone talks. Each original
becomes a file in memory alone (memfd), written in windows, in the order given, whichever child is free.

It hears, on standard input, what page_reader hears: "needed" when the server begins to load, and "enough", or the end
of the input, when the server has loaded: then everything is given back. On the socket it hears one path for each
connection (plugin/worker_sglang_weights.py), says "." every second while the file is not whole, then "y" with the
descriptor, or "n": the server reads the original then, as it does when nobody answers.

It says one JSON object, on standard output, when it ends: page_reader's, "stored", the bytes that were read of the
copies, and "taken", how often the server took a file. `{"warm": true}` where the originals are in memory already: these
are read faster than any copy.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import selectors
import signal
import socket
import sys
import time
from typing import Any

from start.weights.packed import copies
from start.weights.packed.unpacking import DAMAGED, MESSAGE, WHOLE, Job, warm, work

_BEAT = 1.0  # seconds
_UNASKED = 20.0  # seconds after "needed" without a question: this server reads its files by itself
_STALLED = 60.0  # seconds without a window: the originals may be where the volume still gives what it has
_LONGEST_PATH = 8192


class Unpacker:
    """The process that talks. One thread, one selector."""

    def __init__(self, job: Job, listener: socket.socket, processes: int):
        self._job, self._listener = job, listener
        self._numbers = {copy.original: number for number, copy in enumerate(job.copies)}
        self._left = [len(copy.windows) for copy in job.copies]
        self._failed = [False] * len(job.copies)
        self._began = self._ended = time.monotonic()
        self._done = self._stored = self._taken = 0
        self._needed: int | None = None
        self._needed_at: float | None = None
        self._awake = self._heard_at = 0.0  # seconds of this process, without those for which it was frozen
        self._asked, self._over, self._stopped = False, False, ""
        self._asking: dict[socket.socket, int] = {}  # who waits, and for which file
        self._queue = b"".join(number.to_bytes(4, sys.byteorder) for number in range(len(job.windows)))
        orders, self._orders = os.pipe()
        self._results, results = os.pipe()
        self._children: list[int] = []
        for _ in range(processes):
            if not (pid := os.fork()):
                self._as_child(orders, results)
            self._children.append(pid)
        os.close(orders)
        os.close(results)
        os.set_blocking(self._orders, False)
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._orders, selectors.EVENT_WRITE)
        for readable in (self._results, listener, sys.stdin.fileno()):
            self._selector.register(readable, selectors.EVENT_READ)

    def _as_child(self, orders: int, results: int) -> None:
        status = 1
        try:
            for fd in (self._orders, self._results, self._listener.fileno(), 0, 1):
                os.close(fd)
            work(self._job, orders, results)
            status = 0
        finally:
            os._exit(status)

    def run(self) -> dict[str, Any]:
        """Until the server has loaded; what came of it."""
        heard, before = b"", time.monotonic()
        while not self._over:
            events, now = self._selector.select(_BEAT), time.monotonic()
            self._awake, before = self._awake + min(now - before, 2 * _BEAT), now
            for key, _ in events:
                if key.fileobj == self._orders:
                    self._order()
                elif key.fileobj == self._results:
                    self._hear_result()
                elif key.fileobj is self._listener:
                    self._accept()
                elif key.fileobj == sys.stdin.fileno():
                    heard = self._hear(heard)
                elif isinstance(key.fileobj, socket.socket):
                    self._hear_question(key.fileobj)
            for one in list(self._asking):
                self._say(one, b".")
            if self._needed_at is not None and not self._asked and self._awake - self._needed_at > _UNASKED:
                self._stopped, self._over = "the server did not ask for them and reads the files themselves", True
            elif self._awake - self._heard_at > _STALLED and self._waited_for():
                self._stopped, self._over = f"the volume gave nothing of packed copies for {_STALLED:.0f} s", True
        for pid in self._children:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if not self._stopped and any(self._failed):
            bad = [os.path.basename(copy.packed) for copy, failed in zip(self._job.copies, self._failed, strict=True)
                   if failed]
            self._stopped = f"{len(bad)} of {len(self._failed)} packed copies cannot be read ({', '.join(bad[:3])})"
        total = sum(copy.size for copy in self._job.copies)
        return {"bytes": total, "planned": total, "there": 0, "read": self._done, "stored": self._stored,
                "taken": self._taken, "seconds": self._ended - self._began, "needed": self._needed,
                "stopped": self._stopped or None}

    def _waited_for(self) -> bool:
        """Whether there are windows still to come, of files that can still become whole."""
        return any(left and not failed for left, failed in zip(self._left, self._failed, strict=True))

    def _order(self) -> None:
        try:
            self._queue = self._queue[os.write(self._orders, self._queue[:4096]):]  # whole numbers, within PIPE_BUF
        except BlockingIOError:
            return
        except BrokenPipeError:  # every child has ended
            self._queue = b""
        if not self._queue:
            self._selector.unregister(self._orders)
            os.close(self._orders)

    def _hear_result(self) -> None:
        message = os.read(self._results, MESSAGE.size)
        if not message:  # every child has ended, for want of work or by a signal
            self._selector.unregister(self._results)
            for number, left in enumerate(self._left):
                self._failed[number] |= left > 0
        else:
            index, said = MESSAGE.unpack(message)
            number, window, _, _ = self._job.windows[index]
            self._heard_at = self._awake
            whole = said == WHOLE
            if said == DAMAGED and not self._failed[number]:
                copies.drop(self._job.copies[number])
            self._left[number] -= whole
            self._failed[number] |= not whole
            self._done += window.length * whole
            self._stored += window.stored * whole
            self._ended = time.monotonic()
        for one, number in list(self._asking.items()):
            self._answer(one, number)

    def _hear(self, heard: bytes) -> bytes:
        data = os.read(sys.stdin.fileno(), 4096)
        *lines, rest = (heard + data).split(b"\n")
        if b"needed" in lines and self._needed_at is None:
            self._needed, self._needed_at = self._done, self._awake
        self._over = not data or b"enough" in lines
        return rest

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            one, _ = self._listener.accept()
            one.settimeout(_BEAT)
            self._selector.register(one, selectors.EVENT_READ)

    def _hear_question(self, one: socket.socket) -> None:
        try:
            asked = one.recv(_LONGEST_PATH)
        except OSError:
            asked = b""
        if not asked or one in self._asking:
            self._close(one)
            return
        self._asked = True
        number = self._numbers.get(os.fsdecode(asked))
        if number is None:
            self._say(one, b"n")
            self._close(one)
            return
        self._asking[one] = number
        self._answer(one, number)

    def _answer(self, one: socket.socket, number: int) -> None:
        if self._failed[number]:
            self._say(one, b"n")
        elif not self._left[number]:
            with contextlib.suppress(OSError):
                socket.send_fds(one, [b"y"], [self._job.memory[number]])
                self._taken += 1
        else:
            return
        self._close(one)

    def _say(self, one: socket.socket, word: bytes) -> None:
        try:
            one.sendall(word)
        except OSError:
            self._close(one)

    def _close(self, one: socket.socket) -> None:
        self._asking.pop(one, None)
        with contextlib.suppress(KeyError, ValueError):
            self._selector.unregister(one)
        one.close()


def main(text: str) -> int:
    """The process; text: its orders, as JSON."""
    ctypes.CDLL(None).prctl(1, signal.SIGKILL, 0, 0, 0)  # PR_SET_PDEATHSIG
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    orders = json.loads(text)
    wanted = [copies.read(original, base) for original, base in orders["copies"]]
    if warm(wanted):
        print(json.dumps({"warm": True}))
        return 0
    copies.used(wanted)
    with contextlib.suppress(OSError):
        os.unlink(orders["socket"])  # of the start before
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(orders["socket"])
    listener.listen(128)
    print(json.dumps(Unpacker(Job(wanted), listener, orders["processes"]).run()), flush=True)
    os._exit(0)  # without waiting for reads that hang
