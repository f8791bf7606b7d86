"""The worker's state for those who look on: told at once, or as soon as there is news."""

from __future__ import annotations

import asyncio
import contextlib

from front.http import shapes
from front.http.page.view import ENDED, View

HELD = 1.0  # seconds that an answer waits for news
_MOST = 32  # answers that wait; the next ones do not


class News:
    """view: what is told."""

    def __init__(self, view: View):
        self._view = view
        self._held = 0
        self._asked = float("-inf")  # loop time of the newest question for the state
        self._end_told = asyncio.Event()

    async def told(self, seen: str | None) -> bytes:
        """The state as JSON. With the tag of one that was `seen` it waits until there is another, a second at most."""
        await self._news(seen)
        told = self._view.told()
        if told["state"] == ENDED:
            self._end_told.set()
        return shapes.dumps(told)

    async def farewell(self) -> None:
        """Before the front is closed: whoever looks on at the moment hears that, and why, this worker has given up."""
        if self._view.state == ENDED and asyncio.get_running_loop().time() < self._asked + 2 * HELD:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._end_told.wait(), HELD)

    async def _news(self, seen: str | None) -> None:
        loop = asyncio.get_running_loop()
        self._asked = loop.time()
        if seen is None or self._held >= _MOST:
            return
        self._held += 1
        try:
            with self._view.changes() as changed, contextlib.suppress(TimeoutError):
                async with asyncio.timeout(HELD):
                    while self._view.tag == seen:
                        await changed.wait()
                        changed.clear()
        finally:
            self._held -= 1
            self._asked = loop.time()
