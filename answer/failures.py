"""The engine's error bodies and events, in all their shapes, to the one error that a job fails with.

Pure: parsed JSON in, utils.JobError out.
"""

from __future__ import annotations

import ast
import json
import re
from typing import Any

from utils import JobError, redact

_LONGEST = 500  # characters of a validation message; it may echo a whole request
_FINDINGS = re.compile(r"\d+ validation errors?:\n")
_FINDING = re.compile(r"  \{'type': '\w+', 'loc': \((.*?),?\), 'msg': ('(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\")")
_TYPES = {400: "invalid_request_error", 401: "authentication_error", 403: "permission_error", 404: "not_found_error",
          405: "method_not_allowed", 413: "request_too_large", 422: "invalid_request_error", 429: "rate_limit_error",
          503: "overloaded_error", 504: "timeout_error"}


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
        message = "; ".join(_unfit(entry) for entry in body[:5])
    elif body is not None:
        message = str(body)
    if status < 400:  # inside a stream of status 200 only the body knows
        status = code if isinstance(code, int) and 400 <= code < 600 else 500
    # The engine's own names for one thing are many ("BadRequestError", "Bad Request", "SERVICE_UNAVAILABLE", "503").
    if not isinstance(kind, str) or not re.fullmatch(r"[a-z]+(_[a-z]+)+", kind):
        kind = _TYPES.get(status, "server_error" if status >= 500 else "invalid_request_error")
    text = readable(message) if isinstance(message, str) and message else f"The engine answered {status}."
    return JobError(text, type=kind, param=param if isinstance(param, str) else None, code=status)


def _unfit(entry: Any) -> str:
    if not isinstance(entry, dict):
        return str(entry)
    loc = entry.get("loc")
    where = ".".join(str(part) for part in loc if part != "body") if isinstance(loc, list) else ""
    return f"{where}: {entry.get('msg', entry)}" if where else str(entry.get("msg", entry))


def readable(message: str) -> str:
    """SGLang's answer to a body that does not fit is a repr of its validator's findings, with the caller's input and
    the path of its own source file: keep the fields and what is wrong with each."""
    if not _FINDINGS.match(message):
        return message
    unfit: dict[str, None] = {}
    for line in message.split('\n\n  File "', 1)[0].splitlines()[1:]:  # a repr has no line break of its own
        if found := _FINDING.match(line):
            # Parts such as "list[union[…]]" and "function-after[…()]" name the validator's branches, not fields.
            loc = [str(part) for part in ast.literal_eval(f"({found[1]},)") if part != "body"
                   and not (isinstance(part, str) and "[" in part)]
            text = ast.literal_eval(found[2])
            unfit[f"{'.'.join(loc)}: {text}" if loc else text] = None
    return "; ".join(list(unfit)[:5])[:_LONGEST] or "The body does not fit this route."


def error_event(error: JobError, path: str) -> str:
    """The server-sent event that ends a stream which has begun: the shape that the route's own clients raise on."""
    fields = {"message": redact(error.message), "type": error.type, "param": error.param, "code": error.code}
    if path.startswith("/v1/messages"):
        return f"event: error\ndata: {json.dumps({'type': 'error', 'error': fields})}\n\n"
    return f"data: {json.dumps({'error': fields})}\n\n"
