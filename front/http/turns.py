"""How many requests begin at a time. No I/O."""

from __future__ import annotations

import asyncio
import collections


class Turns:
    """At most `at_once` requests begin in one turn of the event loop, first come first served.

    Requests that come together would otherwise all be read and checked before the engine hears of the first, and no
    stream would go on meanwhile.
    """

    def __init__(self, at_once: int = 4):
        self._at_once = self._left = at_once
        self._waiting: collections.deque[asyncio.Future[None]] = collections.deque()
        self._counting = False

    async def mine(self) -> None:
        """Wait for a turn in which there is room."""
        loop = asyncio.get_running_loop()
        if not self._counting:
            self._counting = True
            loop.call_soon(self._next)
        if self._left and not self._waiting:
            self._left -= 1
            return
        place: asyncio.Future[None] = loop.create_future()
        self._waiting.append(place)
        await place

    def _next(self) -> None:
        self._left = self._at_once
        while self._waiting and self._left:
            place = self._waiting.popleft()
            if not place.done():  # cancelled, otherwise
                self._left -= 1
                place.set_result(None)
        self._counting = self._left < self._at_once
        if self._counting:
            asyncio.get_running_loop().call_soon(self._next)
