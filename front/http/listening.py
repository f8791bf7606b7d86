"""The worker's HTTP servers: sockets that listen, and aiohttp on them."""

from __future__ import annotations

import contextlib
import socket

from aiohttp import web

from front.http import server_log

_KEEPALIVE = 75.0  # seconds that an idle connection stays open, and that a request's head may take
_BACKLOG = 4096    # connections that wait to be accepted; one too many is tried again by its client after a second
_PARTING = 1.0     # seconds, twice, for what the server itself is still sending; all of it is below LAST_RESORT


def bound(host: str, port: int) -> socket.socket:
    """A socket that listens there. Raises SystemExit with the reason when it cannot."""
    made = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if made.family == socket.AF_INET6:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)  # as asyncio does
        made.bind((host, port))
        made.listen(_BACKLOG)
    except OSError as error:
        made.close()
        raise SystemExit(f"The worker cannot listen on {host}:{port} (PORT): {error.strerror}") from error
    made.setblocking(False)
    return made


async def serve(stack: contextlib.AsyncExitStack, app: web.Application, listener: socket.socket) -> None:
    """Serve `app` to whoever connects to `listener`, which is closed with `stack`."""
    # A client that goes away cancels its handler: that is what stops the engine's work for it. Bodies are unpacked
    # by bodies.py: what is refused is thrown away as it came.
    runner = web.AppRunner(app, handler_cancellation=True, keepalive_timeout=_KEEPALIVE, access_log=None,
                           logger=server_log.logger(), shutdown_timeout=_PARTING, auto_decompress=False)
    await runner.setup()
    stack.push_async_callback(runner.cleanup)
    await web.SockSite(runner, listener, backlog=_BACKLOG).start()
