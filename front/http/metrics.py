"""`/metrics`: the worker's own figures, and the engine's beside them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from aiohttp import web

from front.http.keys import Keys
from front.http.server import later
from meter.prometheus import CONTENT_TYPE, Prometheus

PATH = "/metrics"
_MISSING = b"# The engine's own metrics are missing: it did not answer.\n"
_PATIENCE = 5.0  # seconds; Prometheus' own is 10


class Metrics:
    """Answers scrapes. engine: asks the engine for a path within so many seconds and gives status and body, None for a
    status where it does not answer (engine.py `Engine.get`); None while there is none, or it has no metrics."""

    def __init__(self, figures: Prometheus) -> None:
        self._figures = figures
        self.engine: Callable[[str, float], tuple[int | None, bytes]] | None = None
        self._asking: asyncio.Task[tuple[int | None, bytes]] | None = None

    def add(self, app: web.Application, keys: Keys | None) -> None:
        """Open it on `app`: for everybody, or only with one of `keys`."""
        async def answer(request: web.Request) -> web.Response:
            if keys is not None and not keys.admit(request.headers):
                return web.Response(status=401, text="A key is missing or wrong.\n",
                                    headers={"WWW-Authenticate": "Bearer"})
            return web.Response(body=self._figures.text() + await self._of_engine(),
                                headers={"Content-Type": CONTENT_TYPE})

        app.router.add_get(PATH, answer, expect_handler=later)

    async def _of_engine(self) -> bytes:
        if self.engine is None:
            return b""
        if self._asking is None or self._asking.done():  # one at a time, however many scrape: it takes a thread
            self._asking = asyncio.create_task(asyncio.to_thread(self.engine, PATH, _PATIENCE))
        status, text = await asyncio.shield(self._asking)
        if status is None:
            return _MISSING
        return text if status == 200 else b""
