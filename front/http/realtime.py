"""/v1/realtime: a web socket on either side, and what comes from one goes to the other.

What the events in it mean is between the caller and the engine (sglang: entrypoints/openai/realtime/).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any
from urllib.parse import urlsplit

import aiohttp
from aiohttp import hdrs, web

import utils
from answer.session import Session
from front.http.gate import Passing
from front.http.manners import Manners
from meter.record import current
from utils import JobError

PATH = "/v1/realtime"
Dial = Callable[[str | None, Mapping[str, str]], Awaitable[Session]]  # a model's name and headers; raises JobError

_PROTOCOL = "realtime"  # which OpenAI's clients in browsers ask for, beside one that holds their key
_HEARTBEAT = 30.0  # seconds between two questions to a silent client whether it is there
_MESSAGE = 2**24  # bytes, as the engine's server takes (uvicorn: ws_max_size)
_IN_ORDER = (1000, 1001)  # codes of a session's end that is nobody's fault
_LOST = (None, 1006)  # what stands for a close that nobody said
_REASON = 120  # bytes of a close's reason: 123 at most


def asked(request: web.Request) -> bool:
    """Whether a request is one for a session."""
    return request.path == PATH


async def session(request: web.Request, dial: Dial, gate: Passing, manners: Manners, headers: Mapping[str, str],
                  carried: Mapping[str, str]) -> web.StreamResponse:
    """One session from its handshake to its end. It holds a place of `gate`. Raises JobError and Full before it."""
    words = [word.strip().lower() for word in request.headers.get(hdrs.CONNECTION, "").split(",")]
    if "upgrade" not in words or request.headers.get(hdrs.UPGRADE, "").lower() != "websocket":
        raise JobError(f"{PATH} is a WebSocket: ask with `Upgrade: websocket`.", code=426)
    _check_origin(request, manners)
    caller = web.WebSocketResponse(protocols=(_PROTOCOL,), heartbeat=_HEARTBEAT, max_msg_size=_MESSAGE, compress=False,
                                   timeout=2.0)
    if not _proper(caller, request):
        raise JobError("The handshake is no WebSocket's: it needs version 13 and a key of 16 bytes.")
    caller.headers.update(headers)
    record = current()
    async with gate.passing() as record.queued:
        record.planned(PATH)
        line = await dial(request.query.get("model"), {**carried, **record.carrier})
        code = 1001
        try:
            await caller.prepare(request)
            code, reason = await _relayed(caller, line, manners)
            if code not in _IN_ORDER:
                record.failed(JobError(reason, type="server_error", code=502))
            if not caller.closed:
                utils.log(f"the session ends with {code}: {reason or 'as the engine wished'}", "info",
                          headers["X-Request-Id"])
                await caller.close(code=code, message=reason.encode()[:_REASON])
            return caller
        finally:
            if caller.close_code not in _LOST:  # whoever said so has not just gone away
                record.end()
            await line.close(code)


def _proper(caller: web.WebSocketResponse, request: web.Request) -> bool:
    try:
        return bool(caller.can_prepare(request))
    except ValueError:  # a key that is no base64
        return False


def _check_origin(request: web.Request, manners: Manners) -> None:
    # Browsers ask nobody before they open a socket, unlike before a request.
    origin = request.headers.get(hdrs.ORIGIN)
    if not origin or manners.cors(request.headers):
        return
    try:
        own = urlsplit(origin).netloc == request.host
    except ValueError:  # no address
        own = False
    if not own:
        raise JobError(f"Pages of {origin[:80]} may not open a session (CORS_ORIGINS).", type="permission_error",
                       code=403)


async def _relayed(caller: web.WebSocketResponse, line: Session, manners: Manners) -> tuple[int, str]:
    """Carry messages until either side has ended; the code and the reason for the other."""
    there = asyncio.ensure_future(_there(caller, line))
    back = asyncio.ensure_future(_back(caller, line, manners.write_seconds))
    try:
        first: set[asyncio.Future[Any]] = {there, back, line.stopped}
        await asyncio.wait(first, timeout=manners.request_seconds or None,
                           return_when=asyncio.FIRST_COMPLETED)
        if line.stopped.done():
            return 1001, line.stopped.result().message
        if there.done() and there.result():  # the engine takes no more: it is gone
            await asyncio.wait({back}, timeout=manners.head_seconds)
        if back.done() and back.result():
            return await line.end()
        if there.done() or back.done():
            return caller.close_code if caller.close_code in (1000, 1001) else 1001, ""
        return 1001, f"No session takes longer than {manners.request_seconds:g} s here (HTTP_REQUEST_SECONDS)."
    finally:
        there.cancel()
        back.cancel()
        await asyncio.gather(there, back, return_exceptions=True)


async def _there(caller: web.WebSocketResponse, line: Session) -> bool:
    """From the caller to the engine; True when it was the engine that ended it."""
    while True:
        message = await caller.receive()
        if message.type not in (aiohttp.WSMsgType.TEXT, aiohttp.WSMsgType.BINARY):
            return False
        if not await line.send(message.data):
            return True


async def _back(caller: web.WebSocketResponse, line: Session, patience: float) -> bool:
    """From the engine to the caller; True when it was the engine that ended it."""
    while (message := await line.receive()) is not None:
        try:
            async with asyncio.timeout(patience):
                await (caller.send_str(message) if isinstance(message, str) else caller.send_bytes(message))
            current().said(message)
        except (ConnectionError, TimeoutError):
            return False
    return True
