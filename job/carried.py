"""Headers that a caller may send along to the engine: its own name for the request, and the trace that it is part of.

Pure. W3C Trace Context, as SGLang reads it when its tracing is on (sglang: srt/observability/trace.py, TRACE_HEADERS).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from utils import JobError

REQUEST_ID = re.compile(r"[\w.:@/+=-]{1,128}", re.ASCII)
_SHAPES = {"x-request-id": REQUEST_ID,
           "traceparent": re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}(-[!-~]{0,256})?"),
           "tracestate": re.compile(r"[ -~\t]{1,512}")}


def trace(headers: Mapping[str, str]) -> dict[str, str]:
    """The trace among headers of HTTP, whose names may be spelled in any case there; one that is no trace is left out,
    as the standard has it."""
    if not _SHAPES["traceparent"].fullmatch(headers.get("traceparent", "")):
        return {}
    return {name: headers[name] for name in ("traceparent", "tracestate")
            if _SHAPES[name].fullmatch(headers.get(name, ""))}


def headers(given: Any) -> dict[str, str]:
    """What a job's `headers` come to, names in lower case. Raises JobError 400 for any that are not carried."""
    if given is None:
        return {}
    if not isinstance(given, dict):
        raise JobError("`headers` must be an object such as {\"traceparent\": \"...\"}.", param="headers")
    carried = {}
    for name, value in given.items():
        shape = _SHAPES.get(name.lower())
        if shape is None:
            raise JobError(f"`headers` can hold {', '.join(_SHAPES)}; {name[:40]!r} does not reach the engine.",
                           param="headers")
        if not isinstance(value, str) or not shape.fullmatch(value):
            raise JobError(f"`headers`: {name} is not in its proper form.", param=f"headers.{name}")
        carried[name.lower()] = value
    return carried
