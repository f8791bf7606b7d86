"""One running request: chunks of its answer, from the task that reads them to the one that delivers them."""

from __future__ import annotations

import asyncio
from typing import Any

from answer.request import Request
from utils import JobError


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
        self._news = self._wanted = asyncio.get_running_loop().create_future()

    def begin(self, carrying: asyncio.Task[Any]) -> None:
        """From now on `take` gives what this task hands over."""
        self.carrying = carrying
        carrying.add_done_callback(self._tell)

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
        self._wanted = asyncio.get_running_loop().create_future()
        self._tell()
        await self._wanted

    async def take(self, timeout: float | None) -> str | None:
        """The next piece. None after `timeout` seconds without one, and once `carrying` is done."""
        if self._piece is None and self.carrying is not None and not self.carrying.done():
            if not self._wanted.done():
                self._wanted.set_result(None)
            self._news = asyncio.get_running_loop().create_future()
            await asyncio.wait({self._news}, timeout=timeout)
        piece, self._piece = self._piece, None
        return piece

    def _tell(self, _task: Any = None) -> None:
        if not self._news.done():
            self._news.set_result(None)
