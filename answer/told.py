"""How a client of a stream is told that it failed: by an event in the shape that its route's clients raise on.

Pure but for the clock. The shapes: OpenAI's chat and completions ({"error": {…}}), OpenAI's Responses
(`response.failed`, ResponseFailedEvent), Anthropic's Messages (`event: error`), and lines of JSON on Ollama's routes.
"""

from __future__ import annotations

import json
import re
import time
from typing import Any

from answer.failures import failure
from answer.readable import readable
from utils import JobError, redact

MESSAGES, RESPONSES, OLLAMA = "/v1/messages", "/v1/responses", "/api/"
# Anthropic's documented types (docs.anthropic.com, Errors), by status; every other 4xx is an invalid request.
_ANTHROPIC = {401: "authentication_error", 403: "permission_error", 404: "not_found_error", 413: "request_too_large",
              429: "rate_limit_error", 500: "api_error", 502: "api_error", 503: "overloaded_error",
              504: "timeout_error"}
# Codes of a failed response that clients know: a 4xx by one of these is not tried again.
_RESPONSES = {429: "rate_limit_exceeded", 503: "server_is_overloaded"}
_TOO_LONG = re.compile(r"context length|too long|is longer than|KV memory budget")
_SEQUENCE = re.compile(r'"sequence_number":\s?(\d+)')  # its quotes would be escaped inside a text


class Told(JobError):
    """A failure of which the engine's stream had an event of its own. `event`: that one, or None when another has to
    take its place."""

    def __init__(self, error: JobError, event: str | None) -> None:
        super().__init__(error.message, type=error.type, param=error.param, code=error.code)
        self.event = event


def by_engine(event: bytes, found: dict[str, Any], path: str, status: int) -> Told:
    """The failure that an event of the engine's stream reports (streaming.event_failure found it)."""
    error = failure(found, status)
    own = None
    if path in (MESSAGES, RESPONSES) and event.startswith(b"event: "):
        text = event.decode("utf-8", "replace")
        said = found.get("error") if isinstance(found.get("error"), dict) else {}
        words = said.get("message") if isinstance(said, dict) else None
        if isinstance(words, str) and readable(words) == words:
            own = redact(text)  # as it is
    return Told(error, own)


def error_event(error: JobError, path: str, body: dict[str, Any] | None = None, last: str = "") -> str:
    """The event that tells a client of the stream of `path` that it failed. body: the request's; last: the text that
    was sent last, "" when nothing was."""
    if isinstance(error, Told) and error.event:
        return error.event
    if path.startswith(OLLAMA):
        return json.dumps({"error": redact(error.message)}) + "\n"
    if path.startswith(MESSAGES):
        return _named({"type": "error", "error": {"type": anthropic_type(error.code),
                                                  "message": redact(error.message)}})
    if path.startswith(RESPONSES):
        return _failed_response(error, body or {}, last)
    fields = {"message": redact(error.message), "type": error.type, "param": error.param, "code": error.code}
    return f"data: {json.dumps({'error': fields})}\n\n"


def anthropic_type(status: int) -> str:
    """Anthropic's type for an HTTP status."""
    return _ANTHROPIC.get(status, "api_error" if status >= 500 else "invalid_request_error")


def _failed_response(error: JobError, body: dict[str, Any], last: str) -> str:
    code = _RESPONSES.get(error.code, "server_error")
    if 400 <= error.code < 500 and error.code != 429:
        code = "context_length_exceeded" if _TOO_LONG.search(error.message) else "invalid_prompt"
    numbers = _SEQUENCE.findall(last)
    ident = body.get("request_id")
    response: dict[str, Any] = {
        "id": ident if isinstance(ident, str) else "resp_unknown", "object": "response",
        "created_at": int(time.time()), "status": "failed",
        "error": {"code": code, "message": redact(error.message)}, "incomplete_details": None, "instructions": None,
        "metadata": {}, "model": body.get("model") if isinstance(body.get("model"), str) else "", "output": [],
        "parallel_tool_calls": True, "temperature": None, "tool_choice": "auto", "tools": [], "top_p": None,
        "usage": None}
    if numbers:
        return _named({"type": "response.failed", "sequence_number": int(numbers[-1]) + 1, "response": response})
    begun = {**response, "status": "in_progress", "error": None}  # clients build on this event
    return (_named({"type": "response.created", "sequence_number": 0, "response": begun})
            + _named({"type": "response.failed", "sequence_number": 1, "response": response}))


def _named(value: dict[str, Any]) -> str:
    return f"event: {value['type']}\ndata: {json.dumps(value)}\n\n"
