"""One answer over HTTP: a status and a body, or a stream as it comes, at the pace of whoever reads it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

from aiohttp import hdrs, web

import utils
from answer.running import Last
from answer.told import error_event
from front.http import shapes
from front.http.gate import Full
from front.http.manners import Manners
from job.refusal import wants_stream
from meter.record import current
from utils import JobError

Piece = str | dict[str, Any] | list[Any]

_PIECE = 2**18  # bytes of a whole answer that are sent at once
_SWALLOWED = 2**15  # bytes that a connection on which nothing waits takes without a wait (aiohttp, uvloop: 64 KiB)


class _Stream(web.StreamResponse):
    # The head leaves with what comes first: each writing costs the worker as much as all that is done with a token.
    _send_headers_immediately = False


class Reply:
    """The answer to one request. headers: of every answer to it; name: what the log calls the request."""

    def __init__(self, request: web.Request, manners: Manners, headers: dict[str, str], name: str):
        self._request, self._manners, self._name = request, manners, name
        self.headers = headers
        self._body: dict[str, Any] = {}
        self._stream: web.StreamResponse | None = None
        self._head: _Head | None = None

    @property
    def begun(self) -> bool:
        """Whether anything of an answer was sent."""
        return self._stream is not None and self._stream.prepared

    async def carry(self, pieces: AsyncGenerator[Piece, None], body: Any, job_id: str) -> web.StreamResponse | bytes:
        """Send what comes as a stream, or return all of it. body: of the request. Raises JobError while nothing of a
        stream was sent; afterwards the stream gets an event of it."""
        body = body if isinstance(body, dict) else {}
        self._body = {"request_id": f"resp_{job_id}", **body}
        stream = self._stream = _Stream(headers={
            **self.headers, "Content-Type": shapes.stream_type(self._request.path, body), "Cache-Control": "no-cache",
            "X-Accel-Buffering": "no"})
        # The engine refuses within milliseconds. After this the head goes out, with status 200 for good: a client may
        # wait less for it than a long prefill takes.
        delay = self._manners.head_seconds if wants_stream(body, self._request.path) else None
        head = self._head = _Head(self._request, stream, delay)
        try:
            piece = await anext(pieces, None)
            if not await head.sent():
                if not isinstance(piece, str):
                    async for _ in pieces:  # what is left of the generator belongs to the answer
                        pass
                    return shapes.dumps(piece)
                # Of a form the last fields may have come behind its file.
                stream.headers[hdrs.CONTENT_TYPE] = shapes.stream_type(self._request.path, body)
                await stream.prepare(self._request)
            while piece is not None:
                text = piece if isinstance(piece, str) else shapes.event(self._request.path, piece)
                await self._write(text, last=isinstance(piece, Last))
                try:
                    piece = await anext(pieces, None)
                except JobError as error:  # its event was sent
                    self._log(error)
                    piece = None
            await self._send(b"", last=True)
        except (ConnectionError, TimeoutError):
            self._gone()
        finally:
            head.forget()
        return stream

    async def whole(self, body: bytes) -> web.StreamResponse:
        """An answer that is here as a whole. A large one is sent here, at the pace of its reader."""
        if len(body) <= _PIECE or self._request.method == hdrs.METH_HEAD:
            return web.Response(body=body, content_type="application/json", headers=self.headers)
        stream = self._stream = web.StreamResponse(headers={
            **self.headers, "Content-Type": "application/json", "Content-Length": str(len(body))})
        try:
            await stream.prepare(self._request)
            for start in range(0, len(body), _PIECE):
                await self._send(body[start:start + _PIECE])
            await stream.write_eof()
        except (ConnectionError, TimeoutError):
            self._gone()
        return stream

    async def fail(self, error: JobError) -> web.StreamResponse:
        """A refusal: with its status, or as the last event of a stream that has begun."""
        self._log(error)
        try:
            if self._stream is None or not (self._stream.prepared or self._head and await self._head.sent()):
                return self._refusal(error, {"Retry-After": "5"} if error.code in (429, 503) else {})
            if "Content-Length" in self._stream.headers:  # half of an answer must not be taken for all of it
                raise ConnectionError
            await self._write(error_event(error, self._request.path, self._body), last=True)
        except (ConnectionError, TimeoutError):
            self._gone()
        assert self._stream is not None
        return self._stream

    def full(self, full: Full) -> web.Response:
        """A refusal for want of room."""
        error = JobError(str(full), type="rate_limit_error", code=429)
        current().reason = "full"
        self._log(error)
        return self._refusal(error, {"Retry-After": str(full.retry_after)})

    def _refusal(self, error: JobError, more: dict[str, str]) -> web.Response:
        if error.code == 401:
            more = {**more, "WWW-Authenticate": "Bearer"}
        elif error.code == 426:
            more = {**more, "Upgrade": "websocket"}
        body = shapes.dumps(shapes.body(error, self._request.path, self._name))
        answer = web.Response(status=error.code, body=body, content_type="application/json",
                              headers={**self.headers, **more})
        if hdrs.EXPECT in self._request.headers:  # whether the body still comes is anybody's guess
            answer.force_close()
        return answer

    async def _write(self, text: str, last: bool) -> None:
        await self._send(text.encode("utf-8", "replace"), last)

    async def _send(self, data: bytes, last: bool = False) -> None:
        """last: nothing follows; once that was said, nothing more is sent."""
        assert self._stream is not None
        write = self._stream.write_eof if last else self._stream.write
        transport = self._request.transport
        if transport is not None and not transport.get_write_buffer_size() and len(data) < _SWALLOWED:
            await write(data)  # this waits for nobody, and needs no clock
        else:
            async with asyncio.timeout(self._manners.write_seconds):
                await write(data)
        if last:  # who reads it and closes the connection at once has not gone away
            current().delivered = True

    def _log(self, error: JobError) -> None:
        current().failed(error)
        utils.log(f"failed with {error.code} {error.type}: {error.message[:500]}", "warn", self._name)

    def _gone(self) -> None:
        current().left()
        utils.log("the client went away, or reads no more", "info", self._name)
        if self._request.transport is not None:
            self._request.transport.abort()


class _Head:
    """The head of a stream, sent after `delay` seconds whatever there is to send; None for never."""

    def __init__(self, request: web.Request, stream: web.StreamResponse, delay: float | None):
        self._request, self._stream = request, stream
        self._sending: asyncio.Task[Any] | None = None
        self._alarm = None if delay is None else asyncio.get_running_loop().call_later(delay, self._send)

    def _send(self) -> None:
        self._sending = asyncio.get_running_loop().create_task(self._now())

    async def _now(self) -> None:
        if writer := await self._stream.prepare(self._request):
            writer.send_headers()

    async def sent(self) -> bool:
        """Whether it has been sent; if not, it will not be."""
        self.forget()
        if self._sending is None:
            return False
        await self._sending
        return True

    def forget(self) -> None:
        """Do not send it any more."""
        if self._alarm is not None:
            self._alarm.cancel()
