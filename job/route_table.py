"""The engine's routes that are open to jobs, and how a job may name them.

Pure. A route is matched against this table and never pasted into an address. tests/e2e/test_route_table.py holds it
against the server's own list: each route of the server is open here, or closed there with a reason.
"""

from __future__ import annotations

import dataclasses
import difflib
import re
from typing import Any
from urllib.parse import quote, unquote

from utils import JobError

MAX_ROUTE = 512  # characters; the longest open route with the longest model name is far below


@dataclasses.dataclass(frozen=True)
class Route:
    """One open route. `method`: None when only the job can say. `model`: the body has a model field that is filled
    in. `rid`: the body's field for the request id, by which the request can be aborted by name; "" when it has none.
    `bare`: it may come without a body. `kind`: whose names its fields have, see sampling.py and constraints.py; "" when
    the worker leaves its body as it is. `adapter`: how the engine takes a LoRA adapter there: "model" (in the model's
    name), "path" (in `lora_path`), "any" (it changes nothing), "none" (it would be ignored, so it is refused).
    `engine`: the engine's path when it has another; `shape`: how the answer is changed, see reshape.py."""

    method: str | None
    model: bool = False
    rid: str = ""
    bare: bool = False
    kind: str = ""
    adapter: str = "none"
    engine: str = ""
    shape: str = ""


_READ = Route("GET")
_CHAT = Route("POST", model=True, rid="rid", kind="chat", adapter="model")
_TOKENS = Route("POST", model=True, kind="tokens", adapter="any")
_NATIVE = Route("POST", rid="rid", kind="pooled", adapter="path")
_SCORE = Route("POST", model=True, kind="scores")
_RERANK = Route("POST", kind="scores", engine="/v1/rerank", shape="rerank")
_BARE = Route("POST", bare=True)
_OPENED = Route(None, bare=True)
_OLLAMA = Route("POST", model=True, rid="rid", kind="chat", adapter="model", engine="/v1/chat/completions",
                shape="ollama")
_OLLAMA_READ = Route("GET", engine="/v1/models", shape="ollama")

# What SGLang 0.5.23 serves for inference (entrypoints/http_server.py), and the reads a client may need. Not
# /parse_function_call and /separate_reasoning: 400 bytes are enough to hang them, and the whole HTTP process.
ROUTES: dict[str, Route] = {
    "/v1/models": _READ, "/health": _READ, "/health_generate": _READ, "/ready": _READ, "/ping": _READ,
    "/v1/chat/completions": _CHAT,
    "/invocations": dataclasses.replace(_CHAT, engine="/v1/chat/completions"),  # the same handler, as SageMaker asks
    "/v1/completions": dataclasses.replace(_CHAT, kind="completions"),
    "/v1/responses": Route("POST", model=True, rid="request_id", kind="responses"),
    "/v1/messages": Route("POST", model=True, kind="messages", adapter="model"),
    "/v1/messages/count_tokens": Route("POST", model=True, kind="count", adapter="any"),
    "/generate": Route("POST", rid="rid", kind="native", adapter="path"),
    "/vertex_generate": Route("POST", rid="rid", kind="native", adapter="path", engine="/generate", shape="vertex"),
    "/encode": _NATIVE, "/classify": _NATIVE,
    "/v1/embeddings": Route("POST", model=True, rid="rid", kind="pooled", adapter="model"),
    "/v1/classify": Route("POST", model=True, rid="rid", kind="pooled"),
    "/v1/score": _SCORE, "/v1/decisions": _SCORE, "/v1/systemone": _SCORE,
    "/v1/rerank": Route("POST", kind="scores"), "/rerank": _RERANK, "/v2/rerank": _RERANK,
    "/v1/audio/transcriptions": Route("POST", model=True),
    "/api/chat": _OLLAMA, "/api/generate": _OLLAMA,
    "/api/show": Route("POST", shape="ollama"),
    "/api/tags": _OLLAMA_READ, "/api/ps": _OLLAMA_READ, "/api/version": _OLLAMA_READ,
    "/v1/tokenize": _TOKENS, "/tokenize": _TOKENS, "/v1/detokenize": _TOKENS, "/detokenize": _TOKENS,
}
# Routes that end in a name. The name is decoded once, checked and quoted, so that it can only ever be a name. A
# response's id begins so (sglang: openai/serving_responses.py); any other word there is a route that SGLang lacks.
_NAMED = (
    (re.compile(r"/v1/models/(?P<name>[^?#\\]+)"), "/v1/models/{}", _READ),
    (re.compile(r"/v1/responses/(?P<name>resp_[A-Za-z0-9_-]+)"), "/v1/responses/{}", _READ),
    (re.compile(r"/v1/responses/(?P<name>resp_[A-Za-z0-9_-]+)/cancel"), "/v1/responses/{}/cancel", _BARE),
)
# What clients of OpenAI's look for, and is not a route of jobs.
_NOT_HERE = {
    "/v1/realtime": "a WebSocket, which a job cannot carry: open it where the worker is reached over HTTP "
                    "(WORKER_MODE=http)",
    "/v1/audio/translations": "not served by SGLang: /v1/audio/transcriptions writes down what was said",
    "/v1/audio/speech": "not served by SGLang: its models answer with text",
}
_NAME = re.compile(r"[\w.:@+-]+(/[\w.:@+-]+)*")
OTHER = "other"


def match(route: Any, extra: tuple[str, ...] = (), field: str = "route") -> tuple[str, Route]:
    """The route's path and entry for a route named in a job: its path alone counts, a query is left out (no open route
    reads one). Raises JobError (400 or 404)."""
    if not isinstance(route, str):
        raise JobError(f"`{field}` must be a string such as \"/v1/chat/completions\".", param=field)
    if len(route) > MAX_ROUTE:
        raise JobError(f"`{field}` is {len(route)} characters long; the limit is {MAX_ROUTE}.", param=field)
    path, _, query = route.partition("?")
    path = path.rstrip("/") if len(path) > 1 else path
    if not query or query.isprintable():
        if path in ROUTES:
            return path, ROUTES[path]
        if path in extra and "?" not in route:
            return path, _OPENED
        for pattern, template, entry in _NAMED:
            if (found := pattern.fullmatch(path)) and (name := _decoded(found["name"])):
                return template.format(quote(name, safe="/:@+")), entry
    if path in _NOT_HERE:
        raise JobError(f"{path} is {_NOT_HERE[path]}.", type="not_found_error", param=field, code=404)
    near = difflib.get_close_matches(path if path.startswith("/") else "/" + path, ROUTES, 1, 0.75)
    hint = f" Did you mean {near[0]}?" if near else " Open routes: " + ", ".join(sorted(ROUTES)) + "."
    named = path[:80] + ("?…" if "?" in route else "")  # this is logged, and a query may hold anything, keys too
    raise JobError(f"`{field}` {named!r} is not a route of this worker.{hint}", type="not_found_error",
                   param=field, code=404)


def label(route: Any, extra: tuple[str, ...] = ()) -> str:
    """One of a bounded set of names for a route that somebody asks for: its path in the table, without what a caller
    may choose of it, or OTHER for what nobody offers. For figures and the log."""
    if not isinstance(route, str) or len(route) > MAX_ROUTE:
        return OTHER
    path = route.partition("?")[0]
    path = path.rstrip("/") if len(path) > 1 else path
    if path in ROUTES or path in extra or path in _NOT_HERE:
        return path
    for pattern, template, _ in _NAMED:
        if pattern.fullmatch(path):
            return template.format("{name}")
    return OTHER


def _decoded(name: str) -> str | None:
    """A name in a path, percent-decoded once, as clients encode it; None when it is anything but a name."""
    try:
        name = unquote(name, errors="strict")
    except UnicodeDecodeError:
        return None
    return name if _NAME.fullmatch(name) and not {".", ".."} & set(name.split("/")) else None
