"""The engine's routes that are open to jobs, and how a job may name them.

Pure. A route is matched against this table and never pasted into an address.
"""

from __future__ import annotations

import dataclasses
import difflib
import re
from typing import Any
from urllib.parse import quote

from utils import JobError

MAX_ROUTE = 512  # characters; the longest open route with the longest model name is far below


@dataclasses.dataclass(frozen=True)
class Route:
    """One open route. `method`: None when only the job can say. `model`: the body has a model field that is filled
    in and checked. `rid`: the body's field for the request id, by which the request can be aborted by name; "" when it
    has none. `bare`: it may come without a body."""

    method: str | None
    model: bool = False
    rid: str = ""
    bare: bool = False


_READ = Route("GET")
_OPENAI = Route("POST", model=True, rid="rid")
_PLAIN = Route("POST")
_BARE = Route("POST", bare=True)
_OPENED = Route(None, bare=True)

# What SGLang 0.5.23 serves for inference (entrypoints/http_server.py), and the reads a client may need. Not
# /parse_function_call and /separate_reasoning: 400 bytes are enough to hang them, and the whole HTTP process.
ROUTES: dict[str, Route] = {
    "/v1/models": _READ, "/health": _READ, "/health_generate": _READ, "/ready": _READ, "/ping": _READ,
    "/v1/chat/completions": _OPENAI, "/v1/completions": _OPENAI, "/v1/embeddings": _OPENAI,
    "/v1/classify": _OPENAI, "/v1/score": Route("POST", model=True),
    "/v1/responses": Route("POST", model=True, rid="request_id"), "/v1/rerank": _PLAIN,
    "/v1/decisions": Route("POST", model=True),
    "/v1/tokenize": Route("POST", model=True), "/tokenize": Route("POST", model=True),
    "/v1/detokenize": Route("POST", model=True), "/detokenize": Route("POST", model=True),
    "/v1/messages": Route("POST", model=True), "/v1/messages/count_tokens": Route("POST", model=True),
    "/generate": Route("POST", rid="rid"), "/encode": Route("POST", rid="rid"), "/classify": Route("POST", rid="rid"),
}
# Routes that end in a name. The name is checked and quoted, so that it can only ever be a name.
_NAMED = (
    (re.compile(r"/v1/models/(?P<name>[^?#\\]+)"), "/v1/models/{}", _READ),
    (re.compile(r"/v1/responses/(?P<name>[\w-]+)"), "/v1/responses/{}", _READ),
    (re.compile(r"/v1/responses/(?P<name>[\w-]+)/cancel"), "/v1/responses/{}/cancel", _BARE),
)
_NAME = re.compile(r"[\w.:@+-]+(/[\w.:@+-]+)*")


def match(route: Any, extra: tuple[str, ...] = (), field: str = "route") -> tuple[str, Route]:
    """The engine path and its entry for a route named in a job. Raises JobError (400 or 404)."""
    if not isinstance(route, str):
        raise JobError(f"`{field}` must be a string such as \"/v1/chat/completions\".", param=field)
    if len(route) > MAX_ROUTE:
        raise JobError(f"`{field}` is {len(route)} characters long; the limit is {MAX_ROUTE}.", param=field)
    path = route.rstrip("/") if len(route) > 1 else route
    if path in ROUTES:
        return path, ROUTES[path]
    if path in extra:
        return path, _OPENED
    for pattern, template, entry in _NAMED:
        found = pattern.fullmatch(path)
        if found and _NAME.fullmatch(found["name"]) and ".." not in found["name"].split("/"):
            return template.format(quote(found["name"], safe="/:@+")), entry
    near = difflib.get_close_matches(path if path.startswith("/") else "/" + path, ROUTES, 1, 0.75)
    hint = f" Did you mean {near[0]}?" if near else " Open routes: " + ", ".join(sorted(ROUTES)) + "."
    raise JobError(f"`{field}` {route[:80]!r} is not a route of this worker.{hint}", type="not_found_error",
                   param=field, code=404)
