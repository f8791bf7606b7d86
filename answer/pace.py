"""When a stream may have its next chunk, and when its connection is read meanwhile: many streams share one core.

Knows connections, and nothing of what they carry.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Iterator
from typing import TypeVar

from answer.wire import Reply

_T = TypeVar("_T")

_LONGEST_GAP = 0.5  # seconds between two chunks of one stream, however many streams there are
_LOOK_EVERY, _LOOK_FOR = 0.05, 0.002  # seconds
_SOON = 0.2  # seconds until a chunk that is so near that the end of its stream need not be looked for before


class Pace:
    """Chunks a second (`budget`; 0: no limit) that all streams share.

    A delivery costs the worker as much as reading a dozen tokens, and all streams run on one core. With many of them
    each waits a little between its chunks, which then hold more. A lone stream never waits. Waits end at common
    moments: waking up once for many deliveries costs half of what it costs to wake up for each.
    """

    def __init__(self, budget: float) -> None:
        self.budget, self.streams = budget, 0
        self._moments: dict[float, list[_Wait]] = {}
        self._unread: set[asyncio.Transport] = set()
        self._next: asyncio.TimerHandle | None = None

    async def turn(self, reply: Reply, begun: float, young: bool = False) -> None:
        """Wait until a stream whose last delivery began at `begun` may begin the next, or has ended. young: that was
        its first, and it is read on for a moment: short answers end then."""
        if reply.ended.done() or not self.budget or self.streams < 2:
            return
        if (left := (due := self._due(begun)) - time.monotonic()) <= 0:
            return
        transport = reply.pausable()
        with self.seldom_read(transport, looked_at=young or left > _SOON, now=not young):
            await self._moment(due, left, transport, reply.ended)

    def wait(self, begun: float, now: float) -> float:
        """Seconds until a stream whose last delivery began at `begun` (time.monotonic) may begin the next."""
        return self._due(begun) - now if self.budget and self.streams >= 2 else 0.0

    def _due(self, begun: float) -> float:
        gap = min(_LONGEST_GAP, (self.streams - 1) / self.budget)
        return round((begun + gap) / (gap / 2)) * (gap / 2)

    async def _moment(self, due: float, left: float, transport: asyncio.Transport | None,
                      ended: asyncio.Future[None]) -> None:
        """Wait until `due`, in so many seconds, together with all for whom it is the same; or until `ended`."""
        loop = asyncio.get_running_loop()
        wait = _Wait(loop.create_future(), transport)
        if (waiting := self._moments.get(due)) is None:
            waiting = self._moments[due] = []
            loop.call_later(left, self._reached, due)
        waiting.append(wait)
        ended.add_done_callback(wait.end)
        try:
            await wait.over
        finally:
            ended.remove_done_callback(wait.end)

    def _reached(self, moment: float) -> None:
        waiting = self._moments.pop(moment)
        for wait in waiting:
            if wait.transport is not None and not wait.over.done():
                self._unread.discard(wait.transport)
                if not wait.transport.is_closing():
                    wait.transport.resume_reading()
        # Whoever wakes up finds what has arrived: connections are read once between these two steps.
        loop = asyncio.get_running_loop()
        loop.call_soon(loop.call_soon, _wake, waiting)

    @contextlib.contextmanager
    def seldom_read(self, transport: asyncio.Transport | None, looked_at: bool = True,
                    now: bool = True) -> Iterator[None]:
        """Meanwhile do not read this connection, or (looked_at) in common moments only, often enough to notice its end
        soon. now: from now on, or else when the next such moment is over.

        Waking up for every token of every stream would cost more than all that is done with them.
        """
        if transport is None or transport.is_closing():
            yield
            return
        if now:
            transport.pause_reading()
        if looked_at:
            self._unread.add(transport)
            if self._next is None:
                self._next = asyncio.get_running_loop().call_later(_LOOK_EVERY, self._look)
        try:
            yield
        finally:
            self._unread.discard(transport)
            if not transport.is_closing():
                transport.resume_reading()

    def _look(self) -> None:
        for transport in self._unread:
            if not transport.is_closing():
                transport.resume_reading()
        self._next = asyncio.get_running_loop().call_later(_LOOK_FOR, self._look_away)

    def _look_away(self) -> None:
        for transport in self._unread:
            if not transport.is_closing():
                transport.pause_reading()
        loop = asyncio.get_running_loop()
        self._next = loop.call_later(_LOOK_EVERY, self._look) if self._unread else None


class _Wait:
    """One of many that wait for a moment. over: done then; transport: not read until then, if any."""

    __slots__ = ("over", "transport")

    def __init__(self, over: asyncio.Future[None], transport: asyncio.Transport | None) -> None:
        self.over, self.transport = over, transport

    def end(self, _ended: object = None) -> None:
        if not self.over.done():
            self.over.set_result(None)


def _wake(waiting: list[_Wait]) -> None:
    for wait in waiting:
        wait.end()


class Silence:
    """Waits for the engine, each at most `limit` seconds (None: as long as it takes); made in the task that waits.

    One alarm goes off for many waits, and sees how long the present one has taken: setting one for each would cost as
    much as a wait.
    """

    def __init__(self, limit: float | None) -> None:
        self._limit, self._since, self._rung = limit, 0.0, False
        self._loop, self._task = asyncio.get_running_loop(), asyncio.current_task()
        self._alarm = self._loop.call_later(limit, self._ring) if limit else None

    async def wait(self, coming: Awaitable[_T]) -> _T:
        """What comes. Raises TimeoutError."""
        self._since = self._loop.time()
        try:
            return await coming
        except asyncio.CancelledError:
            if self._rung and self._task is not None and not self._task.uncancel():
                raise TimeoutError from None
            raise
        finally:
            self._since = 0.0

    def _ring(self) -> None:
        assert self._limit is not None and self._task is not None
        left = self._since + self._limit - self._loop.time() if self._since else self._limit
        if left > 0:
            self._alarm = self._loop.call_later(left, self._ring)
        else:
            self._alarm, self._rung = None, True
            self._task.cancel()

    def end(self) -> None:
        """Nothing is waited for any more."""
        if self._alarm is not None:
            self._alarm.cancel()
