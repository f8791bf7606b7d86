"""Waiting for what happens on the platform's stand-in: by key, so that a chunk wakes its own reader alone."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from local.platform_records import Job


class Waiting:
    """Who waits for which key: a job's id, "queue" (a job waits), "stop" (a job ended), None (anything)."""

    def __init__(self) -> None:
        self._waiters: dict[str | None, list[asyncio.Future]] = {}

    async def until(self, key: str | None, predicate: Callable[[], object], timeout: float | None):
        """The first true value of `predicate()`, asked now and whenever `key` is woken; TimeoutError."""
        async with asyncio.timeout(timeout):
            while not (value := predicate()):
                waiter = asyncio.get_running_loop().create_future()
                waiters = self._waiters.setdefault(key, [])
                waiters.append(waiter)
                try:
                    await waiter
                finally:
                    if waiter in waiters:
                        waiters.remove(waiter)
                    if not waiters and self._waiters.get(key) is waiters:
                        del self._waiters[key]
            return value

    def wake(self, key: str | None) -> None:
        for waiter in list(self._waiters.get(key, ())):
            if not waiter.done():
                waiter.set_result(None)

    def wake_all(self) -> None:
        for key in list(self._waiters):
            self.wake(key)


class Handle:
    """A job seen from this process: the store's fields, and waiting for what happens to them."""

    def __init__(self, waiting: Waiting, job: Job):
        self._waiting, self.record = waiting, job

    def __getattr__(self, name: str):
        return getattr(self.record, name)

    async def until(self, predicate: Callable[[Job], object], timeout: float = 60.0):
        return await self._waiting.until(self.id, lambda: predicate(self.record), timeout)

    async def finished(self, timeout: float = 60.0) -> Handle:
        """Wait for a final state."""
        await self.until(lambda job: job.is_final, timeout)
        return self

    async def chunk(self, index: int = 0, timeout: float = 60.0):
        """Wait for chunk number `index`; returns its output."""
        await self.until(lambda job: len(job.chunks) > index, timeout)
        return self.chunks[index].output
