"""One HTTP request: who may, whether there is room, what it is, and its answer as it comes.

All that a request means is decided behind `Answer` (job/worker.py). Here are the things of HTTP alone: bodies.py reads
what comes, replies.py sends what goes. A client that goes away cancels its handler, which closes the answer's
generator, which makes the engine stop.
"""

from __future__ import annotations

import asyncio
import contextlib
import traceback
from collections.abc import AsyncGenerator, Callable, Iterable
from typing import Any

from aiohttp import hdrs, web

import utils
from front.http import forms, realtime
from front.http.bodies import Bodies, json_of
from front.http.callers import Caller, caller
from front.http.gate import Full, Passing
from front.http.keys import Keys
from front.http.manners import METHODS, NOT_NOW, Manners, Stage
from front.http.replies import Piece, Reply
from front.http.turns import Turns
from meter.record import current
from utils import JobError

Answer = Callable[[dict[str, Any], str], AsyncGenerator[Piece, None]]  # a job's input and id; raises JobError


class Front:
    """The handlers of one worker's HTTP server.

    answer: see Answer, dial: see realtime.Dial, None until there is an engine; keys: of callers; gate: how many at
    once; stage: what is said of the worker's state, asked anew each time; running: the tasks of all requests under way.
    """

    answer: Answer | None = None
    dial: realtime.Dial | None = None

    def __init__(self, keys: Keys, gate: Passing, manners: Manners, stage: Callable[[], Stage]):
        self._keys, self._gate, self._manners, self._stage = keys, gate, manners, stage
        self._turns = Turns()
        self.bodies = Bodies(manners, gate.patience)
        self.running: set[asyncio.Task[Any]] = set()

    def app(self, beside: Iterable[web.RouteDef] = ()) -> web.Application:
        """Health, what stands beside the requests, and those, on one port."""
        app = web.Application()
        app.router.add_get(self._manners.health_path, self.health, expect_handler=later)  # HEAD comes with it
        for route in beside:
            if route.path != self._manners.health_path:
                app.router.add_get(route.path, route.handler, expect_handler=later)
        app.router.add_route("*", "/{path:.*}", self.request, expect_handler=later)
        return app

    def health_app(self) -> web.Application:
        """Health alone, for a port of its own."""
        app = web.Application()
        app.router.add_get(self._manners.health_path, self.health, expect_handler=later)
        return app

    async def health(self, _request: web.Request) -> web.Response:
        """200 when ready, 204 while the engine starts or restarts, 503 when no request should come any more."""
        return web.Response(status=self._stage().value)

    async def request(self, request: web.Request) -> web.StreamResponse:
        """Anything that is not a question for health."""
        who = caller(request.headers)
        headers = {"X-Request-Id": who.request_id, **self._manners.cors(request.headers)}
        if request.method == hdrs.METH_OPTIONS:
            return web.Response(status=204, headers={**headers, "Allow": METHODS})
        reply = Reply(request, self._manners, headers, who.request_id)
        task = asyncio.current_task()
        assert task is not None
        self.running.add(task)
        try:
            # A session has a clock of its own.
            async with asyncio.timeout(None if realtime.asked(request) else self._manners.request_seconds or None):
                return await self._answered(request, who, reply)
        except JobError as error:
            return await reply.fail(error)
        except Full as full:
            return reply.full(full)
        except TimeoutError:
            return await reply.fail(JobError(
                f"The request was not done within {self._manners.request_seconds:g} s (HTTP_REQUEST_SECONDS): RunPod's "
                "load balancer ends every request after 5.5 minutes.", type="timeout_error", code=504))
        except (web.HTTPException, ConnectionError):
            raise
        except Exception as error:  # the trace is for the log, not for the client
            utils.log("internal error\n" + traceback.format_exc(), "error", who.request_id)
            if reply.begun:  # what was sent must not be taken for the whole: the connection breaks
                raise
            return await reply.fail(JobError(f"Internal error of the worker ({type(error).__name__}).",
                                             type="server_error", code=500))
        finally:
            self.running.discard(task)

    async def cut_off(self, fail_all: Callable[[], None], patience: float) -> None:
        """Have what still runs fail, by `fail_all`; what does not end within `patience` seconds is dropped."""
        if left := set(self.running):
            fail_all()
            _, stuck = await asyncio.wait(left, timeout=patience)
            for task in stuck:  # its client reads nothing, or still sends
                task.cancel()

    async def _answered(self, request: web.Request, who: Caller, reply: Reply) -> web.StreamResponse:
        answer = self._admitted(request)
        if realtime.asked(request):
            assert self.dial is not None  # there with `answer`
            return await realtime.session(request, self.dial, self._gate, self._manners, reply.headers, who.headers)
        if not request.content.is_eof():  # what is still to come is read for nobody who is refused then
            await self._gate.look()
        form = forms.brought(request)
        async with self.bodies.of(request) if not form else contextlib.nullcontext(b"") as raw:
            method = "GET" if request.method == hdrs.METH_HEAD else request.method
            body = await forms.read(request, self.bodies.arriving(request)) if form else await json_of(raw)
            job_input = {"route": request.raw_path, "method": method, "body": body, "headers": who.headers}
            del raw
            await self._turns.mine()
            async with self._gate.passing() as current().queued, contextlib.aclosing(
                    answer(job_input, who.job_id)) as pieces:
                said = await reply.carry(pieces, job_input["body"], who.job_id)
        return await reply.whole(said) if isinstance(said, bytes) else said

    def _admitted(self, request: web.Request) -> Answer:
        """What answers; nothing of the body was asked for yet. Raises JobError 401 and 503, and Full."""
        self._keys.check(request.headers)
        if self._stage() is Stage.LEAVING:
            raise JobError(NOT_NOW[Stage.LEAVING], type="overloaded_error", code=503)
        if self.answer is None:
            raise JobError(NOT_NOW[Stage.STARTING], type="overloaded_error", code=503)
        self._gate.check()
        return self.answer


async def later(request: web.Request) -> None:
    """A body that waits for a word is asked for once there is room for it (bodies.py)."""
    if request.headers[hdrs.EXPECT].lower() != "100-continue":
        raise web.HTTPExpectationFailed(text="Expect can be 100-continue here.")
