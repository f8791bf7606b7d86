"""What a refusal looks like over HTTP: a true status, and a body in the shape of the route. Pure."""

from __future__ import annotations

import json
from typing import Any

from utils import JobError, redact

_ANTHROPIC = {400: "invalid_request_error", 401: "authentication_error", 403: "permission_error",
              404: "not_found_error", 413: "request_too_large", 429: "rate_limit_error", 504: "timeout_error",
              503: "overloaded_error", 529: "overloaded_error"}


def speaks_anthropic(path: str) -> bool:
    """Whether the clients of this route are Anthropic's."""
    return path == "/v1/messages" or path.startswith("/v1/messages/")


def speaks_ollama(path: str) -> bool:
    """Whether the clients of this route are Ollama's, whose streams are lines of JSON."""
    return path.startswith("/api/")


def stream_type(path: str, body: dict[str, Any]) -> str:
    """The Content-Type of what comes as text from this route, for a request with this body."""
    if speaks_ollama(path):
        return "application/x-ndjson"
    plain = path.startswith("/v1/audio/") and body.get("response_format") == "text" and body.get("stream") is not True
    return "text/plain; charset=utf-8" if plain else "text/event-stream"


def body(error: JobError, path: str, request_id: str) -> dict[str, Any]:
    """The body of a refusal, in OpenAI's shape, or in Anthropic's or Ollama's on their routes."""
    message = redact(error.message)
    if speaks_ollama(path):
        return {"error": message}
    if speaks_anthropic(path):
        kind = _ANTHROPIC.get(error.code, "invalid_request_error" if error.code < 500 else "api_error")
        return {"type": "error", "error": {"type": kind, "message": message}, "request_id": request_id}
    return {"error": {"message": message, "type": error.type, "param": error.param, "code": error.code}}


def event(path: str, piece: Any) -> str:
    """A whole answer as the only event of a stream of this route."""
    return f"{json.dumps(piece)}\n" if speaks_ollama(path) else f"data: {json.dumps(piece)}\n\n"


def dumps(value: Any) -> bytes:
    """JSON in UTF-8; half of a surrogate pair, which is none, becomes a question mark."""
    return json.dumps(value, ensure_ascii=False).encode("utf-8", "replace")
