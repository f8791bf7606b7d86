"""What a request says of its caller: an id, and the trace that it belongs to. Pure."""

from __future__ import annotations

import dataclasses
import re
import uuid
from collections.abc import Mapping

from job.carried import REQUEST_ID, trace

_UNFIT = re.compile(r"[^A-Za-z0-9_-]")  # for the id of a response, by which it is asked for


@dataclasses.dataclass(frozen=True)
class Caller:
    """request_id: what the caller calls the request, where a log can take it, or else a name of our own; job_id: what
    the engine calls it; headers: those that go on to the engine, by their names in lower case."""

    request_id: str
    job_id: str
    headers: dict[str, str]


def caller(headers: Mapping[str, str]) -> Caller:
    """Who is behind a request with these headers, whose names may be spelled in any case.

    The engine takes no id twice at a time, and stops everything whose id begins with the one that it is told to stop:
    so its own begins with what nobody can choose.
    """
    own, given = uuid.uuid4().hex, headers.get("X-Request-Id", "")
    request_id, job_id = (given, f"{own}-{_UNFIT.sub('-', given)}") if REQUEST_ID.fullmatch(given) else (own, own)
    return Caller(request_id, job_id, {"x-request-id": request_id, **trace(headers)})
