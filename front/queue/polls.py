"""The long polls of one channel of the platform, and what becomes of one that a thaw overtakes.

A poll that was open while the worker was frozen waits on a connection that may not be there any more, up to its limit.
So the next begins at once, beside it: if its connection lives after all, what it brings was handed out to this worker
and to no other.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from runpod.serverless.modules.rp_logger import RunPodLogger

from clock import thaws

LIMIT = 90.0  # seconds, as the SDK has it; the platform answers its long polls sooner

_log = RunPodLogger()


class Polls:
    """ask: begins a poll; bring: called with what one brings that nobody waits for any more."""

    def __init__(self, ask: Callable[..., Awaitable[Any]], bring: Callable[[Any], object]):
        self._ask, self._bring = ask, bring
        self._open: set[asyncio.Task[Any]] = set()
        self._overtaken: asyncio.Future[None] | None = None
        self._thaws = 0  # before the poll that is waited for began

    @property
    def open(self) -> bool:
        """Whether the platform may answer one."""
        return bool(self._open)

    async def answer(self, *args: Any) -> Any:
        """What the next poll brings, begun with `args`, () for nothing; None when it was overtaken. Raises what it
        raises, and TimeoutError after LIMIT."""
        self._thaws, self._overtaken = thaws(), asyncio.get_running_loop().create_future()
        poll = asyncio.ensure_future(asyncio.wait_for(self._ask(*args), LIMIT))
        self._open.add(poll)
        try:
            await asyncio.wait({poll, self._overtaken}, return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            poll.cancel()
            raise
        finally:
            self._overtaken = None
            if poll.done():
                self._open.discard(poll)
            else:
                poll.add_done_callback(self._late)
        return poll.result() or () if poll.done() else None

    def thawed(self) -> None:
        """Wait no more for a poll that was open while the process was frozen."""
        if self._thaws != thaws():
            self.overtake()

    def overtake(self) -> None:
        """Wait no more for the one that is open: what it brings is still taken."""
        if self._overtaken is not None and not self._overtaken.done():
            self._overtaken.set_result(None)

    async def close(self, patience: float) -> None:
        """End those that are open, after `patience` seconds in which they may bring something."""
        if self._open:
            await asyncio.wait(self._open, timeout=patience)
        for poll in self._open:
            poll.cancel()
        if self._open:
            await asyncio.wait(self._open, timeout=1)

    def _late(self, poll: asyncio.Task[Any]) -> None:
        self._open.discard(poll)
        if poll.cancelled():
            return
        if error := poll.exception():
            _log.debug(f"A poll that was overtaken ended with {type(error).__name__}.")
        else:
            self._bring(poll.result() or ())
