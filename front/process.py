"""What a front needs of its own process: memory that is settled, and an end that signals bring about in time."""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import ctypes
import gc
import os
import resource
import signal
import sys
import threading
from collections.abc import Callable, Coroutine
from types import FrameType
from typing import Any

import utils
from clock import awake, listen

_M_MMAP_THRESHOLD, _LARGE = -3, 2**16  # malloc.h; bytes
LAST_RESORT = 15.0  # seconds beyond its patience after which a process ends, whatever holds it up
LAST_PATIENCE = 5.0  # seconds that running jobs get to deliver their failure after the engine was lost
AFTERWARDS = 60.0  # seconds for what follows: the engine's end, and the last save of its kernels
# Connections of one request: to whoever asked, to the engine, and to a medium that it names. And what else is open.
_FILES_EACH, _FILES_ELSE = 3, 256
_AGAIN = 0.2  # seconds after which an exit that got lost is raised once more


class _Leaving(SystemExit):
    """The interpreter's orderly end, raised from a signal's handler."""


def settle_memory() -> None:
    """Take what is loaded by now out of the garbage collector's sight.

    None of it ever becomes garbage, and a full collection that looks through it stops every stream for up to a tenth
    of a second. Young objects are looked at in batches of 10,000 rather than 700, which costs less and keeps at most
    a few megabytes longer. And have large buffers taken from the system one by one: in a common heap what a slow reader
    lets go of would stay, in pieces between those of others.
    """
    with contextlib.suppress(OSError, AttributeError):  # a C library that is not GNU's
        ctypes.CDLL(None).mallopt(_M_MMAP_THRESHOLD, _LARGE)
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 10, 10)


def allow_files(at_once: int) -> None:
    """Have room for the connections of so many requests: each is an open file, of which a process that was not told
    otherwise may have 1,024 in many places. Never lowers the limit, and never fails: a system may refuse even what its
    own hard limit allows (Linux, once fs.nr_open is below that; a sandbox)."""
    wanted = _FILES_EACH * at_once + _FILES_ELSE
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return
    allowed = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
    except (OSError, ValueError):
        allowed = soft
    if allowed < wanted:
        utils.log(f"only {allowed} files may be open in this container (ulimit -n), and {at_once} requests at once may "
                  f"need {wanted}: lower MAX_CONCURRENCY, or raise that limit", "warn")


class Ending:
    """When this process ends, and with which status; make it in the main thread, early.

    From its making on, SIGTERM and SIGINT end the interpreter in order, so that the engine is stopped; once `run` has
    begun they make it stop, with `patience` seconds for what is running. A second signal ends the process at once, with
    128 + its number. An end that takes far too long is cut short, with status 1.
    """

    def __init__(self, patience: float):
        self.status = 0  # to exit with
        self._patience = patience
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: Callable[[float], None] | None = None
        self._signalled = False
        self._both = False  # a signal may follow that is no second one: this process's own, or the platform's beside it
        self._raised = False  # and nothing tells yet that it was not in vain
        self._latest = 0.0  # by clock.awake
        listen(lambda seconds: utils.log(f"thawed after {seconds:.1f} s"))
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._heed)
        signal.signal(signal.SIGALRM, self._in_time)
        atexit.register(self._left)

    def run(self, main: Callable[[], Coroutine[Any, Any, None]], stop: Callable[[float], None]) -> None:
        """Run `main` on an event loop of its own, until it returns.

        `stop` is called on that loop when the process has to end, with the seconds that what is running may take.
        """
        from front.eventloop import Loop  # not above: a local job does without

        async def entered() -> None:
            self._loop, self._stop = asyncio.get_running_loop(), stop
            await main()

        for number in (signal.SIGTERM, signal.SIGINT):  # again: the SDK sets its own
            signal.signal(number, self._heed)
        with asyncio.Runner(loop_factory=Loop) as runner:
            runner.run(entered())
        self._end_within(AFTERWARDS)

    def give_up(self, reason: str) -> None:
        """From any thread: what all jobs need is gone for good. The process ends soon, with status 1, so that RunPod
        replaces it; running jobs still deliver their failure."""
        utils.log(reason, "error")
        self.status = 1
        if self._signalled:
            return
        if self._loop and self._stop:
            self._end_within(LAST_PATIENCE + LAST_RESORT)
            with contextlib.suppress(RuntimeError):  # it has just ended
                self._loop.call_soon_threadsafe(self._stop, LAST_PATIENCE)
        else:  # before the jobs' loop, or under the SDK's own HTTP server
            self._end_within(AFTERWARDS)
            os.kill(os.getpid(), signal.SIGTERM)

    def in_order(self) -> None:
        """From any thread: end as at a SIGTERM, unless one came. The platform's may come at the same time, before or
        after: where one of several machines has to stop, all of them have."""
        if not self._signalled:
            self._both = True
            os.kill(os.getpid(), signal.SIGTERM)

    def _heed(self, number: int, _frame: FrameType | None) -> None:
        if self._signalled and self._both:
            self._both = False
            return
        if self._signalled:
            # Not through the log: the signal may have interrupted a line that holds its lock.
            os.write(1, b"second signal: ending at once\n")
            os._exit(128 + number)
        self._signalled = True
        self._leave()

    def _leave(self) -> None:
        """Have the loop stop, or raise the exit where there is none."""
        if self._loop is None or self._stop is None or self._loop.is_closed():
            if not self._raised:
                self._end_within(AFTERWARDS)
            self._raised = True
            signal.setitimer(signal.ITIMER_REAL, _AGAIN)
            raise _Leaving(self.status)
        self._raised = False
        self._end_within(self._patience + LAST_RESORT)
        self._loop.call_soon_threadsafe(self._stop, self._patience)

    def _left(self) -> None:
        # Soon Python gives every signal back to the system, for which this one ends a process.
        if self._raised:
            self._raised = False
            signal.setitimer(signal.ITIMER_REAL, max(self._latest - awake(), 1.0))

    def _end_within(self, seconds: float) -> None:
        self._latest = awake() + seconds
        signal.setitimer(signal.ITIMER_REAL, seconds)

    def _in_time(self, _number: int, _frame: FrameType | None) -> None:
        if (left := self._latest - awake()) > 0.1:  # the process was frozen meanwhile, or an exit has been raised
            # What a handler raises is lost where the signal met a finalizer or a weak reference's callback: Python
            # prints it and goes on.
            if self._raised and not _on_its_way():
                self._leave()
            self._raised = False
            signal.setitimer(signal.ITIMER_REAL, left)
            return
        os.write(1, b"the worker does not end in time: ending at once\n")
        os._exit(1)


def _on_its_way() -> bool:
    """Whether what the main thread does is done on account of the exit: in a `finally`, at a context's end, or where
    the interpreter waits for other threads before it calls what `atexit` knows."""
    if not threading.main_thread().is_alive():  # so Python has it there: another exit would end that waiting
        return True
    error = sys.exception()
    while error is not None and not isinstance(error, _Leaving):
        error = error.__context__
    return error is not None
