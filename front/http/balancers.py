"""What a balancer of one's own asks a worker that it sends requests to: whether they may come, and for which model.

RunPod's balancer has words of its own for that (server.py `Front.health`). SGLang's router takes every 2xx for healthy,
so that 204, RunPod's word for a worker that loads, would bring that worker requests: it asks GET /health with no key
before it knows a worker, and goes on by the path that it is given (sgl-model-gateway: core/steps/worker/local/
detect_connection.rs, core/worker.rs). The answers cost the engine nothing, and come when every place is taken.
"""

from __future__ import annotations

from collections.abc import Callable, Collection

from aiohttp import web

from front.http import shapes
from front.http.keys import Keys
from front.http.manners import NOT_NOW, Manners, Stage
from utils import JobError

_INFO = "/server_info"


def routes(keys: Keys, stage: Callable[[], Stage], model: str, manners: Manners, opened: Collection[str] = ()
           ) -> list[web.RouteDef]:
    """GET and HEAD of these. keys: of callers; stage: how the worker stands; model: the name by which it serves;
    manners: for pages in a browser; opened: routes of the engine's that were opened by name (ALLOWED_ROUTES), whose own
    answer is what is wanted."""

    async def ready(request: web.Request) -> web.Response:
        """200 when requests may come and 503 when not, as SGLang's own /ready has it, and as open."""
        allowed = manners.cors(request.headers)
        if why := NOT_NOW.get(stage()):
            error = JobError(why, type="overloaded_error", code=503)
            return _refused(error, request, {"Retry-After": "5", **allowed})
        return web.json_response({"status": "ok"}, headers=allowed)

    async def info(request: web.Request) -> web.Response:
        """The one thing of SGLang's /server_info that the router reads and is nobody's secret."""
        allowed = manners.cors(request.headers)
        try:
            keys.check(request.headers)
        except JobError as error:
            return _refused(error, request, {"WWW-Authenticate": "Bearer", **allowed})
        return web.json_response({"served_model_name": model}, headers=allowed)

    about = [] if _INFO in opened else [web.get(_INFO, info)]
    return [web.get("/health", ready), web.get("/ready", ready), *about]


def _refused(error: JobError, request: web.Request, headers: dict[str, str]) -> web.Response:
    return web.Response(status=error.code, body=shapes.dumps(shapes.body(error, request.path, "")),
                        content_type="application/json", headers=headers)
