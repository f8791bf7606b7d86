"""The connections to the platform: those that are still good.

While a worker is frozen its connections may vanish without a word: no packet ever says so, and what waits on one waits
for its whole limit. So after a thaw everything new goes over new ones. What is under way stays where it is, for the old
ones may live all the same, and what they bring must not be lost.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import aiohttp
from runpod.http_client import AsyncClientSession

from clock import thaws


class _Pool:
    """The connections that were made between two thaws."""

    def __init__(self, session: aiohttp.ClientSession):
        self.session, self.users = session, 0


class Connections:
    """In place of the SDK's one session, in whose way it takes requests; `async with` closes all that is left.

    make: a session of the SDK.
    """

    def __init__(self, make: Callable[[], aiohttp.ClientSession] = AsyncClientSession):
        self._make, self._thaws = make, thaws()
        self._pool = _Pool(make())
        self._old: set[_Pool] = set()
        self._closing: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Connections:
        return self

    async def __aexit__(self, *_: object) -> None:
        for pool in (self._pool, *self._old):
            await pool.session.close()
        await asyncio.gather(*self._closing)

    def get(self, *args: Any, **kwargs: Any) -> _Request:
        """As ClientSession.get, in `async with`."""
        return _Request(self, "GET", args, kwargs)

    def post(self, *args: Any, **kwargs: Any) -> _Request:
        """As ClientSession.post, in `async with`."""
        return _Request(self, "POST", args, kwargs)

    def take(self) -> _Pool:
        """The connections for one request; `give` says that it has ended."""
        if self._thaws != (now := thaws()):
            self._thaws, old, self._pool = now, self._pool, _Pool(self._make())
            self._old.add(old)
            self._sweep(old)
        self._pool.users += 1
        return self._pool

    def give(self, pool: _Pool) -> None:
        """A request over these has ended; old ones are closed with the last."""
        pool.users -= 1
        if pool is not self._pool:
            self._sweep(pool)

    def _sweep(self, pool: _Pool) -> None:
        if not pool.users and pool in self._old:
            self._old.discard(pool)
            closing = asyncio.get_running_loop().create_task(pool.session.close())
            self._closing.add(closing)
            closing.add_done_callback(self._closing.discard)


class _Request:
    """One request, on the connections that are good when it begins."""

    __slots__ = ("_of", "_method", "_args", "_kwargs", "_pool", "_made")

    def __init__(self, of: Connections, method: str, args: tuple[Any, ...], kwargs: dict[str, Any]):
        self._of, self._method, self._args, self._kwargs = of, method, args, kwargs

    async def __aenter__(self) -> aiohttp.ClientResponse:
        self._pool = self._of.take()
        try:
            self._made = self._pool.session.request(self._method, *self._args, **self._kwargs)
            return await self._made.__aenter__()
        except BaseException:
            self._of.give(self._pool)
            raise

    async def __aexit__(self, *error: Any) -> None:
        try:
            await self._made.__aexit__(*error)
        finally:
            self._of.give(self._pool)
