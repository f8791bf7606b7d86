"""One running request: chunks of its answer, from the task that reads them to the one that delivers them."""

from __future__ import annotations

import asyncio
from typing import Any

from answer.request import Request
from utils import JobError


class Last(str):
    """A chunk after which none follows: who sends it may send the end with it."""

    __slots__ = ()


class Running:
    """`carrying` is the task that talks to the engine. It hands over one piece at a time, and waits with the next
    until the other side is back from delivering it. last: what was handed over last; aborts: what tells the engine to
    stop the last attempt."""

    def __init__(self, request: Request) -> None:
        self.request, self.last = request, ""
        self.carrying: asyncio.Task[Any] | None = None
        self.aborts: list[asyncio.Task[None]] = []
        self.error: JobError | None = None  # what `fail` was called with
        self._piece: str | None = None
        self._loop = asyncio.get_running_loop()
        self._news = self._wanted = self._loop.create_future()
        self._since = 0.0  # loop time at which `take` began to wait
        self._alarm: asyncio.TimerHandle | None = None

    def begin(self, carrying: asyncio.Task[Any]) -> None:
        """From now on `take` gives what this task hands over."""
        self.carrying = carrying
        carrying.add_done_callback(self._end)

    def fail(self, error: JobError) -> None:
        """End the request with `error`, wherever it is waiting; a delivery goes on."""
        if self.error is None:
            self.error = error
            self.stop()

    def stop(self, _task: Any = None) -> None:
        """Let go of the engine."""
        if self.carrying is not None:
            self.carrying.cancel()

    async def give(self, piece: str) -> None:
        """Hand a piece over. Returns when it was delivered, and more is wanted."""
        self.last = self._piece = piece
        self._wanted = self._loop.create_future()
        self._tell()
        await self._wanted

    async def take(self, timeout: float | None) -> str | None:
        """The next piece. None after `timeout` seconds without one, and once `carrying` is done."""
        if self._piece is None and self.carrying is not None and not self.carrying.done():
            if not self._wanted.done():
                self._wanted.set_result(None)
            self._news = self._loop.create_future()
            self._since = self._loop.time()
            if timeout and self._alarm is None:
                self._alarm = self._loop.call_later(timeout, self._ring, timeout)
            await self._news
        piece, self._piece = self._piece, None
        return piece

    def _ring(self, timeout: float) -> None:
        # One alarm goes off for many pieces, and sees how long the last of them has been waited for: setting one for
        # each would cost more than handing it over.
        left = timeout if self._news.done() else self._since + timeout - self._loop.time()
        if left <= 0:
            self._tell()
            left = timeout
        self._alarm = self._loop.call_later(left, self._ring, timeout)

    def _end(self, _task: Any) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
        self._tell()

    def _tell(self) -> None:
        if not self._news.done():
            self._news.set_result(None)
