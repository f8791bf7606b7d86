"""How the client of a stream is told that its job was refused before it began.

Pure. RunPod makes one HTTP 500 of every failed job, which clients take for "try again" and whose text they hide: an
event of their own route tells them at once, and in words.
"""

from __future__ import annotations

from typing import Any

from answer.told import error_event
from utils import JobError


def event(job_input: Any, error: JobError, job_id: str) -> str | None:
    """The event for a job's raw `input`, however wrong that may be; None for one that does not stream."""
    if not isinstance(job_input, dict):
        return None
    for route_field, body_field in (("openai_route", "openai_input"), ("route", "body")):
        if job_input.get(route_field) is not None:
            route, body = job_input[route_field], job_input.get(body_field)
            break
    else:
        route, body = "/v1/chat/completions" if "messages" in job_input else "/generate", job_input
    path = route if isinstance(route, str) else ""
    if not isinstance(body, dict) or not wants_stream(body, path):
        return None
    return error_event(error, path, {"request_id": f"resp_{job_id}", **body})


def wants_stream(body: dict[str, Any], path: str = "") -> bool:
    """Whether a body asks for a stream, also in a literal `extra_body`, whose fields count where the body has none.
    Ollama's generating routes stream unless they are told not to."""
    given, extra = body.get("stream"), body.get("extra_body")
    if given is None and isinstance(extra, dict):
        given = extra.get("stream")
    return given is True or given is None and path.startswith(("/api/chat", "/api/generate"))
