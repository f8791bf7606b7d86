"""The record of a request over HTTP: begun with it, ended with its answer."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from aiohttp import web
from aiohttp.typedefs import Middleware

from front.http.manners import Stage
from job import route_table
from job.carried import REQUEST_ID, trace
from meter.record import Record
from meter.requests import Meter
from utils import JobError

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
_RECORD = web.RequestKey("record", Record)
_SESSIONS = ("/v1/realtime",)  # what is open here and no route of jobs
_REST = "/{path}"  # what aiohttp makes of the route for everything that has none of its own


def measuring(meter: Meter, stage: Callable[[], Stage], extra: tuple[str, ...] = ()) -> Middleware:
    """A record for each request to the worker, while it runs. What only the way knows is told to it there, as
    `meter.record.current()`. Health and the worker's own pages are no requests. extra: routes open beside the table's.
    """

    @web.middleware
    async def measured(request: web.Request, handler: Handler) -> web.StreamResponse:
        resource = request.match_info.route.resource
        if resource is None or resource.canonical != _REST or request.method == "OPTIONS":
            return await handler(request)
        told = trace(request.headers)
        record = meter.begin("http", route_table.label(request.path, (*_SESSIONS, *extra)),
                             traceparent=told.get("traceparent"), tracestate=told.get("tracestate"))
        request[_RECORD] = record
        given = request.headers.get("X-Request-Id", "")
        record.request_id = given if REQUEST_ID.fullmatch(given) else None
        response: web.StreamResponse | None = None
        try:
            response = await handler(request)
            return response
        except (asyncio.CancelledError, ConnectionError):
            record.left()
            raise
        except web.HTTPException as answer:
            response = answer
            raise
        except Exception as error:
            record.failed(JobError(f"Internal error of the worker ({type(error).__name__}).", type="server_error",
                                   code=500))
            raise
        finally:
            if response is not None and response.status >= 400:
                record.failed(JobError("", type="error", code=response.status))
                if response.status == 503 and stage() is not Stage.READY:
                    record.reason = stage().name.lower()
            if response is not None and not record.id:
                record.id = response.headers.get("X-Request-Id", "")
            record.end(None if response is None else response.status)

    return measured


async def heading(request: web.Request, response: web.StreamResponse) -> None:
    """To be called before an answer's head is sent: whoever goes away later was told this status."""
    if record := request.get(_RECORD):
        record.status = response.status
