"""The engine's error bodies and events, in all their shapes, to the one error that a job fails with.

Pure: parsed JSON in, utils.JobError out. What a message says is readable.py's, how a client is told told.py's.
"""

from __future__ import annotations

import re
from typing import Any

from answer.readable import readable, unfit
from utils import JobError

_TYPES = {400: "invalid_request_error", 401: "authentication_error", 403: "permission_error", 404: "not_found_error",
          405: "method_not_allowed", 413: "request_too_large", 422: "invalid_request_error", 429: "rate_limit_error",
          503: "overloaded_error", 504: "timeout_error"}
_LONGEST = 4000  # characters of a message; the engine quotes what it was sent, of any length
# The other way round, for what a stream of status 200 reports without a number: Anthropic's types, which SGLang's
# /v1/messages has (entrypoints/anthropic/serving.py), and the codes of OpenAI's Responses.
_STATUSES = {"invalid_request_error": 400, "authentication_error": 401, "permission_error": 403,
             "not_found_error": 404, "request_too_large": 413, "rate_limit_error": 429, "overloaded_error": 503,
             "timeout_error": 504, "request_timeout_error": 504,
             "invalid_prompt": 400, "context_length_exceeded": 400, "rate_limit_exceeded": 429,
             "server_is_overloaded": 503, "model_not_found": 404}
# /v1/responses makes text of an exception, with its status in front (fastapi's HTTPException), and "server_error" of
# all that fails in a stream: there only the words are left.
_NUMBERED = re.compile(r"([45]\d\d): (?=.)")
_WORDS = (
    (429, re.compile(r"too many requests|rate limit", re.I)),
    (404, re.compile(r"does not exist|not found", re.I)),
    # managers/scheduler.py; outcome.DECISIONS has the rest of these
    (503, re.compile(r"queue is full|timeout reached|higher priority request|priority is disabled|memory pressure|"
                     r"cache load failed|did not return multimodal", re.I)),
    # managers/tokenizer_manager.py: _validate_one_request; sampling/sampling_params.py: verify; managers/scheduler.py
    (400, re.compile(r"context length|too long|exceeds the (maximum|KV memory)|is longer than|must be |must has keys|"
                     r"out of range|not supported|does not support|is not configured|unavailable when|can only be|"
                     r"only one of|at most \d|^invalid |^failed to (compile|create|load|process)|grammar request|"
                     r"(^|[\s`])--[a-z]", re.I)),
)


def failure(value: Any, status: int) -> JobError:
    """The JobError for an error body of the engine (a parsed JSON value, or text).

    Shapes of SGLang 0.5.23: {"object": "error", "message", …}, {"error": {…}}, {"error": "text"}, {"detail": …}
    (the framework's own), {"type": "error", "error": {…}} (Anthropic), and the two of them inside a stream.
    """
    body = value
    if isinstance(value, dict):
        body = value.get("error") or value.get("detail") or value
    message, kind, param, code = None, None, None, None
    if isinstance(body, dict):
        message, kind, param, code = (body.get(k) for k in ("message", "type", "param", "code"))
    elif isinstance(body, list):  # the framework's list of what does not fit
        message = "; ".join(unfit(entry) for entry in body[:5])
    elif body is not None:
        message = str(body)
    text = message if isinstance(message, str) else ""
    if status < 400:  # inside a stream of status 200 only the body knows
        status = _status_of(code, kind, text)
    if numbered := _NUMBERED.match(text):
        status, text, kind = int(numbered[1]), text[numbered.end():], None
    # The engine's own names for one thing are many ("BadRequestError", "Bad Request", "SERVICE_UNAVAILABLE", "503").
    if not isinstance(kind, str) or not re.fullmatch(r"[a-z]+(_[a-z]+)+", kind):
        kind = _TYPES.get(status, "server_error" if status >= 500 else "invalid_request_error")
    text = readable(text)
    if len(text) > _LONGEST:
        text = text[:_LONGEST] + "…"
    return JobError(text or f"The engine answered {status}.", type=kind,
                    param=param if isinstance(param, str) else None, code=status)


def _status_of(code: Any, kind: Any, text: str) -> int:
    if isinstance(code, int) and 400 <= code < 600:
        return code
    named = next((_STATUSES[name] for name in (code, kind) if isinstance(name, str) and name in _STATUSES), None)
    return named or next((status for status, words in _WORDS if words.search(text)), 500)
