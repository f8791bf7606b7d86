"""The page's routes: its files for everybody, the worker's state for those who show a key."""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable
from pathlib import Path

from aiohttp import web

from front.http import shapes
from front.http.keys import Keys
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


class Page:
    """keys: of callers; told: gives the state as JSON, see news.py `News.told`."""

    def __init__(self, keys: Keys, told: Callable[[str | None], Awaitable[bytes]]):
        self._keys, self._told = keys, told

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
        return web.Response(body=await self._told(request.query.get("seen")), content_type="application/json",
                            headers=headers)


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
