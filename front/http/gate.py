"""How many requests run at once, and how long the next ones wait. No I/O."""

from __future__ import annotations

import asyncio
import collections
import contextlib
import time
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from typing import Protocol


class Full(Exception):
    """There is no room, and none came in `patience` seconds. The text says why; `retry_after`: whole seconds."""

    def __init__(self, patience: float, why: str):
        super().__init__(f"{why}, and there was no room within {patience:g} s (HTTP_QUEUE_SECONDS).")
        self.retry_after = max(1, round(patience))


class Passing(Protocol):
    """Where requests pass one by one. patience: seconds that one waits."""

    patience: float

    def passing(self) -> AbstractAsyncContextManager[float]:
        """Be inside; gives the seconds that were waited. Raises Full."""

    def check(self) -> None:
        """Raises Full when a request need not even wait."""

    async def look(self) -> None:
        """The same, before something that takes long."""


def overfull(limit: int, patience: float) -> Full:
    """That `limit` requests run, and as many wait as may."""
    return Full(patience, f"This worker runs {limit} requests already (MAX_CONCURRENCY)")


class Gate:
    """At most `limit` requests inside; at most as many wait outside, first come first served, for `patience` seconds.

    A balancer's next try finds another worker, so a refusal at once is better than a long wait here.
    """

    def __init__(self, limit: int, patience: float):
        self.limit, self.patience = limit, patience
        self.inside = 0
        self._waiting: collections.deque[asyncio.Future[None]] = collections.deque()

    @property
    def waiting(self) -> int:
        """How many wait outside."""
        return len(self._waiting)

    @contextlib.asynccontextmanager
    async def passing(self) -> AsyncIterator[float]:
        """Be inside; gives the seconds that were waited. Raises Full."""
        began = time.monotonic()
        await self._enter()
        try:
            yield time.monotonic() - began
        finally:
            self._leave()

    def check(self) -> None:
        """Raises Full when a request need not even wait."""
        if (self.inside >= self.limit or self._waiting) and (self.patience <= 0 or len(self._waiting) >= self.limit):
            raise overfull(self.limit, self.patience)

    async def look(self) -> None:
        """The same."""
        self.check()

    async def _enter(self) -> None:
        if self.inside < self.limit and not self._waiting:
            self.inside += 1
            return
        self.check()
        place: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(place)
        try:
            async with asyncio.timeout(self.patience):
                await place
        except BaseException as error:
            if place.done() and not place.cancelled():  # let in at the very moment
                if isinstance(error, TimeoutError):
                    return
                self._leave()
                raise
            with contextlib.suppress(ValueError):
                self._waiting.remove(place)
            if isinstance(error, TimeoutError):
                raise overfull(self.limit, self.patience) from None
            raise

    def _leave(self) -> None:
        while self._waiting:
            place = self._waiting.popleft()
            if not place.done():
                place.set_result(None)  # the one inside goes, this one takes its place
                return
        self.inside -= 1
