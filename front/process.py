"""What a front needs of its own process: memory that is settled, and an end that signals bring about in time."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
from collections.abc import Callable, Coroutine
from types import FrameType
from typing import Any

LAST_RESORT = 15.0  # seconds beyond its patience after which a process ends, whatever holds it up
AFTERWARDS = 60.0  # seconds for what follows: the engine's end, and the last save of its kernels


def settle_memory() -> None:
    """Take what is loaded by now out of the garbage collector's sight.

    None of it ever becomes garbage, and a full collection that looks through it stops every stream for up to a tenth
    of a second. Young objects are looked at in batches of 10,000 rather than 700, which costs less and keeps at most
    a few megabytes longer.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 10, 10)


def end_at_signals() -> None:
    """Until a front heeds them: SIGTERM and SIGINT end the interpreter in order, so that the engine is stopped."""
    def end(_number: int, _frame: FrameType | None) -> None:
        raise SystemExit(0)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, end)


def run(main: Callable[[], Coroutine[Any, Any, None]], stop: Callable[[], None], *, patience: float) -> None:
    """Run `main` on an event loop of its own, until it returns.

    At SIGTERM or SIGINT `stop` is called on that loop, and `main` should return within `patience` seconds; much later
    the process ends with status 1 even if it does not. A second signal ends it at once, with 128 + its number. Raises
    SystemExit(0) for a signal that comes before the loop does. Needs the main thread.
    """
    loop: asyncio.AbstractEventLoop | None = None
    signalled = False

    def heed(number: int, _frame: FrameType | None) -> None:
        nonlocal signalled
        if loop is None:
            raise SystemExit(0)
        if signalled:
            # Not through the log: the signal may have interrupted a line that holds its lock.
            os.write(1, b"second signal: ending at once\n")
            os._exit(128 + number)
        signalled = True
        signal.setitimer(signal.ITIMER_REAL, patience + LAST_RESORT)
        loop.call_soon_threadsafe(stop)

    def end(_number: int, _frame: FrameType | None) -> None:
        os.write(1, b"the worker does not end in time: ending at once\n")
        os._exit(1)

    async def entered() -> None:
        nonlocal loop
        loop = asyncio.get_running_loop()
        await main()

    import uvloop  # not above: a local job does without

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, heed)
    signal.signal(signal.SIGALRM, end)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(entered())
    if signalled:
        signal.setitimer(signal.ITIMER_REAL, AFTERWARDS)
