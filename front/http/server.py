"""One HTTP request: who may, whether there is room, what it is, and its answer as it comes.

All that a request means is decided behind `Answer` (job/worker.py). Here are the things of HTTP alone: statuses,
headers, bodies, connections. A client that goes away cancels its handler, which closes the answer's generator, which
makes the engine stop.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import traceback
import uuid
from collections.abc import AsyncGenerator, Callable
from typing import Any

from aiohttp import web

import utils
from answer.told import error_event
from front.http import shapes
from front.http.gate import Full, Gate
from front.http.keys import Keys
from front.http.manners import Manners, Stage
from utils import JobError

Piece = str | dict[str, Any] | list[Any]
Answer = Callable[[dict[str, Any], str], AsyncGenerator[Piece, None]]  # a job's input and id; raises JobError

# RunPod's load balancer takes 30 MB both ways and ends a request after 5.5 minutes.
BODY_LIMIT = 30_000_000
_AT_ONCE = 2**18  # bytes of a body that are read in no time
_ID = re.compile(r"[\w.:@/+=-]{1,128}")
_UNFIT = re.compile(r"[^A-Za-z0-9_-]")  # for the id of a response, by which it is asked for


class Front:
    """The handlers of one worker's HTTP server.

    answer: see Answer, None until there is an engine; keys: of callers; gate: how many at once; stage: what is said of
    the worker's state, asked anew each time; running: the tasks of all requests under way.
    """

    answer: Answer | None = None

    def __init__(self, keys: Keys, gate: Gate, manners: Manners, stage: Callable[[], Stage]):
        self._keys, self._gate, self._manners, self._stage = keys, gate, manners, stage
        self.running: set[asyncio.Task[Any]] = set()

    def app(self) -> web.Application:
        """Health and everything else, on one port."""
        app = web.Application(client_max_size=BODY_LIMIT)
        app.router.add_route("GET", self._manners.health_path, self.health)  # HEAD comes with it
        app.router.add_route("*", "/{path:.*}", self.request)
        return app

    def health_app(self) -> web.Application:
        """Health alone, for a port of its own."""
        app = web.Application()
        app.router.add_route("GET", self._manners.health_path, self.health)
        return app

    async def health(self, _request: web.Request) -> web.Response:
        """200 when ready, 204 while the engine starts or restarts, 503 when no request should come any more."""
        return web.Response(status=self._stage().value)

    async def request(self, request: web.Request) -> web.StreamResponse:
        """Anything that is not a question for health."""
        request_id, job_id = _ids(request)
        headers = {"X-Request-Id": request_id, **self._cors(request)}
        if request.method == "OPTIONS":
            return web.Response(status=204, headers={**headers, "Allow": "GET, HEAD, POST, OPTIONS"})
        task = asyncio.current_task()
        assert task is not None
        self.running.add(task)
        try:
            if not self._keys.admit(request.headers):
                raise JobError("A key is missing or wrong: send one of WORKER_API_KEY as `Authorization: Bearer` or "
                               "`x-api-key`.", type="authentication_error", code=401)
            if self._stage() is Stage.LEAVING:
                raise JobError("This worker is ending; send the request again.", type="overloaded_error", code=503)
            if self.answer is None:
                raise JobError("The model is still being loaded; try again.", type="overloaded_error", code=503)
            job_input = await self._input(request)
            async with self._gate.passing(), contextlib.aclosing(
                    self._pieces(self.answer, job_input, job_id, request_id)) as pieces:
                return await self._respond(request, job_input, pieces, headers, job_id)
        except JobError as error:
            return self._refuse(error, request, request_id, headers)
        except Full as full:
            busy = JobError(f"This worker runs {self._gate.limit} requests already (MAX_CONCURRENCY), and there was no "
                            f"room within {self._gate.patience:g} s (HTTP_QUEUE_SECONDS).", type="rate_limit_error",
                            code=429)
            return self._refuse(busy, request, request_id, {**headers, "Retry-After": str(full.retry_after)})
        finally:
            self.running.discard(task)

    @staticmethod
    async def _pieces(answer: Answer, job_input: dict[str, Any], job_id: str, request_id: str
                      ) -> AsyncGenerator[Piece, None]:
        """The answer; a fault of this worker before it has begun is a JobError, too."""
        begun = False
        try:
            async with contextlib.aclosing(answer(job_input, job_id)) as pieces:
                async for piece in pieces:
                    begun = True
                    yield piece
        except JobError:
            raise
        except Exception as error:  # the trace is for the log, not for the client
            utils.log("internal error\n" + traceback.format_exc(), "error", request_id)
            if begun:  # what was sent must not be taken for the whole: the connection breaks
                raise
            raise JobError(f"Internal error of the worker ({type(error).__name__}).", type="server_error",
                           code=500) from None

    def _refuse(self, error: JobError, request: web.Request, request_id: str, headers: dict[str, str]
                ) -> web.Response:
        utils.log(f"failed with {error.code} {error.type}: {error.message[:500]}", "warn", request_id)
        if error.code == 503:
            headers = {"Retry-After": "5", **headers}
        if error.code == 401:
            headers = {"WWW-Authenticate": "Bearer", **headers}
        return web.Response(status=error.code, body=shapes.dumps(shapes.body(error, request.path, request_id)),
                            content_type="application/json", headers=headers)

    async def _input(self, request: web.Request) -> dict[str, Any]:
        """The job's input for a request. Raises JobError for a body that is none."""
        method = "GET" if request.method == "HEAD" else request.method
        body: Any = None
        if request.body_exists:
            try:
                async with asyncio.timeout(self._manners.body_seconds):
                    raw = await request.read()
            except TimeoutError:
                raise JobError(f"The body did not arrive within {self._manners.body_seconds:g} s.",
                               type="timeout_error", code=408) from None
            except web.HTTPRequestEntityTooLarge:
                raise JobError(f"The body is larger than {BODY_LIMIT // 10**6} MB, RunPod's own limit.",
                               type="request_too_large", code=413) from None
            except web.RequestPayloadError:
                raise JobError("The body does not fit its Content-Encoding or its length.") from None
            try:
                if len(raw) > _AT_ONCE:  # read beside the event loop, which has everybody else's streams
                    body = await asyncio.to_thread(json.loads, raw)
                else:
                    body = json.loads(raw) if raw.strip() else None
            except (ValueError, RecursionError):
                raise JobError("The body is not JSON.", param="body") from None
        return {"route": request.raw_path, "method": method, "body": body}

    async def _respond(self, request: web.Request, job_input: dict[str, Any], pieces: AsyncGenerator[Piece, None],
                       headers: dict[str, str], job_id: str) -> web.StreamResponse:
        body = job_input["body"] if isinstance(job_input["body"], dict) else {}
        stream = web.StreamResponse(headers={**headers, "Content-Type": "text/event-stream",
                                             "Cache-Control": "no-cache", "X-Accel-Buffering": "no"})
        # The engine refuses within milliseconds. After this the head goes out, with status 200 for good: a client may
        # wait less for it than a long prefill takes.
        head = _Head(request, stream, self._manners.head_seconds if body.get("stream") is True else None)
        try:
            try:
                piece = await anext(pieces, None)
            except JobError as error:
                if not await head.sent():
                    raise
                self._failed_late(error, headers)
                await self._write(stream, error_event(error, request.path, {"request_id": f"resp_{job_id}", **body}))
                piece = None
            sent = await head.sent()
            if not sent and not isinstance(piece, str):
                async for _ in pieces:  # what is left of the generator belongs to the answer
                    pass
                return web.Response(body=shapes.dumps(piece), content_type="application/json", headers=headers)
            if not sent:
                await stream.prepare(request)
            while piece is not None:
                await self._write(stream, piece if isinstance(piece, str) else f"data: {json.dumps(piece)}\n\n")
                try:
                    piece = await anext(pieces, None)
                except JobError as error:  # its event was sent
                    self._failed_late(error, headers)
                    piece = None
            await stream.write_eof()
        except (ConnectionError, TimeoutError):
            utils.log("the client went away, or reads no more", "info", headers["X-Request-Id"])
            if request.transport is not None:
                request.transport.abort()
        finally:
            head.forget()
        return stream

    @staticmethod
    def _failed_late(error: JobError, headers: dict[str, str]) -> None:
        utils.log(f"failed with {error.code} {error.type}: {error.message[:500]}", "warn", headers["X-Request-Id"])

    async def _write(self, response: web.StreamResponse, text: str) -> None:
        async with asyncio.timeout(self._manners.write_seconds):
            await response.write(text.encode("utf-8", "replace"))

    def _cors(self, request: web.Request) -> dict[str, str]:
        origin, allowed = request.headers.get("Origin"), self._manners.origins
        if not origin or not allowed or not ("*" in allowed or origin in allowed):
            return {}
        return {"Access-Control-Allow-Origin": "*" if "*" in allowed else origin, "Vary": "Origin",
                "Access-Control-Allow-Methods": "GET, HEAD, POST, OPTIONS",
                "Access-Control-Allow-Headers": request.headers.get("Access-Control-Request-Headers",
                                                                    "Authorization, Content-Type, X-Api-Key"),
                "Access-Control-Expose-Headers": "X-Request-Id, Retry-After", "Access-Control-Max-Age": "86400"}


def _ids(request: web.Request) -> tuple[str, str]:
    """What the caller calls the request, where a log can take it, and what the engine does.

    The engine takes no id twice at a time, and stops everything whose id begins with the one that it is told to stop:
    so its own begins with what nobody can choose.
    """
    own, given = uuid.uuid4().hex, request.headers.get("X-Request-Id", "")
    return (given, f"{own}-{_UNFIT.sub('-', given)}") if _ID.fullmatch(given) else (own, own)


class _Head:
    """The head of a stream, sent after `delay` seconds whatever there is to send; None for never."""

    def __init__(self, request: web.Request, stream: web.StreamResponse, delay: float | None):
        self._request, self._stream = request, stream
        self._sending: asyncio.Task[Any] | None = None
        self._alarm = None if delay is None else asyncio.get_running_loop().call_later(delay, self._send)

    def _send(self) -> None:
        self._sending = asyncio.get_running_loop().create_task(self._stream.prepare(self._request))

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
