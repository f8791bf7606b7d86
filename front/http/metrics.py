"""`/metrics`: the worker's own figures, and the engine's beside them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from aiohttp import web

from front.http.keys import Keys
from front.http.server import later
from meter.prometheus import CONTENT_TYPE, Prometheus

PATH = "/metrics"
_MISSING = b"# The engine's own metrics are missing: it did not answer.\n"
_PATIENCE = 5.0  # seconds; Prometheus' own is 10


class Figures:
    """All of them. engine: asks the engine for a path within so many seconds and gives status and body, None for a
    status where it does not answer (engine.py `Engine.get`); None while there is none, or it has no metrics."""

    def __init__(self, own: Prometheus) -> None:
        self._own = own
        self.engine: Callable[[str, float], tuple[int | None, bytes]] | None = None
        self._asking: asyncio.Task[tuple[int | None, bytes]] | None = None

    async def text(self) -> bytes:
        """What a scrape gets."""
        return self._own.text() + await self._of_engine()

    async def _of_engine(self) -> bytes:
        if self.engine is None:
            return b""
        if self._asking is None or self._asking.done():  # one at a time, however many scrape: it takes a thread
            self._asking = asyncio.create_task(asyncio.to_thread(self.engine, PATH, _PATIENCE))
        status, text = await asyncio.shield(self._asking)
        if status is None:
            return _MISSING
        return text if status == 200 else b""


def add(app: web.Application, text: Callable[[], Awaitable[bytes]], keys: Keys | None) -> None:
    """Answer scrapes on `app`: everybody's, or only those with one of `keys`."""
    async def answer(request: web.Request) -> web.Response:
        if keys is not None and not keys.admit(request.headers):
            return web.Response(status=401, text="A key is missing or wrong.\n", headers={"WWW-Authenticate": "Bearer"})
        return web.Response(body=await text(), headers={"Content-Type": CONTENT_TYPE})

    app.router.add_get(PATH, answer, expect_handler=later)
