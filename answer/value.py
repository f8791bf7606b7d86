"""One whole answer of the engine to a JSON value. Pure."""

from __future__ import annotations

import json
import re
from typing import Any

from answer.failures import failure
from answer.streaming import failure_in

_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")


def value_of(raw: bytes, status: int) -> dict[str, Any] | list[Any]:
    """The JSON value of an answer's bytes; raises JobError when it is an error, of whatever status."""
    value: Any
    try:
        value = json.loads(raw) if raw else None
        if _SURROGATE.search(raw):  # one without its other half is no UTF-8, and the job could not be delivered
            value = json.loads(json.dumps(value, ensure_ascii=False).encode("utf-8", "replace"))
    except ValueError:
        value = raw.decode("utf-8", "replace")
    if status >= 400:
        raise failure(value, status)
    if isinstance(value, dict) and (failed := failure_in(value)):
        raise failure(failed, status)
    if isinstance(value, (dict, list)):
        return value
    return {"status": "ok"} if value is None else {"text": str(value)}
