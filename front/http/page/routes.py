"""The page's routes: its files for everybody, the worker's state for those who show a key."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from collections.abc import Awaitable, Callable
from pathlib import Path

from aiohttp import web

from front.http import shapes
from front.http.keys import Keys
from front.http.page.view import ENDED, View
from utils import JobError

FILES = Path(__file__).parent / "files"
TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
# The page runs its own scripts and nothing else, shows pictures that its user chose (data:) and none from elsewhere,
# talks to this worker alone, and stands in nobody's frame. With Trusted Types no text can become markup or script.
POLICY = ("default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
          "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; "
          "trusted-types 'none'")
HEADERS = {"Content-Security-Policy": POLICY, "X-Content-Type-Options": "nosniff", "X-Frame-Options": "DENY",
           "Referrer-Policy": "no-referrer", "Cross-Origin-Opener-Policy": "same-origin",
           "Cross-Origin-Resource-Policy": "same-origin"}
HELD = 1.0  # seconds that an answer waits for news
_MOST = 32  # answers that wait; the next ones do not


class Page:
    """keys: of callers; view: what is told."""

    def __init__(self, keys: Keys, view: View):
        self._keys, self._view = keys, view
        self._held = 0
        self._asked = float("-inf")  # loop time of the newest question for the state
        self._end_told = asyncio.Event()

    def routes(self) -> list[web.RouteDef]:
        """GET and HEAD of `/` and of what stands under `/-/`."""
        files = [web.get("/" if path.name == "page.html" else f"/-/{path.name}", _file(path))
                 for path in sorted(FILES.iterdir()) if path.suffix in TYPES]
        return [*files, web.get("/-/state", self.state)]

    async def state(self, request: web.Request) -> web.Response:
        """The state as JSON. With `?seen=<tag>` the answer waits until there is another, a second at most, so that the
        page hears of a change at once."""
        headers = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
        try:
            self._keys.check(request.headers)
        except JobError as error:
            return web.Response(status=error.code, body=shapes.dumps(shapes.body(error, request.path, "")),
                                content_type="application/json", headers={**headers, "WWW-Authenticate": "Bearer"})
        await self._news(request.query.get("seen"))
        told = self._view.told()
        if told["state"] == ENDED:
            self._end_told.set()
        return web.Response(body=shapes.dumps(told), content_type="application/json", headers=headers)

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


def _file(path: Path) -> Callable[[web.Request], Awaitable[web.Response]]:
    body, kind = path.read_bytes(), TYPES[path.suffix]
    tag = f'"{hashlib.sha256(body).hexdigest()[:16]}"'
    # Asked for anew each time: a page must not run the scripts of another version of the worker.
    headers = {**HEADERS, "Cache-Control": "no-cache", "ETag": tag}

    async def serve(request: web.Request) -> web.Response:
        if request.headers.get("If-None-Match") == tag:
            return web.Response(status=304, headers=headers)
        return web.Response(body=body, content_type=kind, charset="utf-8", headers=headers)

    return serve
