"""What is told of a job to whoever measures it: a name for its route, and what its answer will consist of. Pure."""

from __future__ import annotations

import math
from typing import Any

from answer.request import Request
from job import route_table
from meter.record import Record


def route(job_input: Any, extra: tuple[str, ...] = ()) -> str:
    """The route that a job's raw `input` asks for, however wrong that is, as `route_table.label` names it."""
    if not isinstance(job_input, dict):
        return route_table.OTHER
    for field in ("openai_route", "route"):
        if job_input.get(field) is not None:
            return route_table.label(job_input[field], extra)
    if "messages" in job_input:
        return "/v1/chat/completions"
    return "/v1/completions" if "prompt" in job_input else "/generate"


def delay(job: dict[str, Any]) -> float | None:
    """Seconds that a job was in RunPod's queue, where the platform says so; it counts `delayTime` in milliseconds."""
    told = job.get("delayTime")
    if isinstance(told, bool) or not isinstance(told, (int, float)) or not 0 <= told < math.inf:
        return None
    return told / 1000


def planned(record: Record, request: Request) -> None:
    """Tell `record` what was made of the job. From the queue its caller is known only now."""
    if record.mode == "queue":
        record.request_id = request.headers.get("x-request-id")
        record.traced(request.headers.get("traceparent"), request.headers.get("tracestate"))
    body = request.body or {}
    params = body.get("sampling_params") or {}
    answers = params.get("n", 1) if isinstance(params, dict) else 0
    model = body.get("model")
    record.planned(request.path, model if isinstance(model, str) else None,
                   answers if type(answers) is int and answers > 0 else 0, len(request.rids))
