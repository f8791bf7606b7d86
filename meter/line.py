"""The line of a request in the worker's log, as JSON."""

from __future__ import annotations

import json
import os
from typing import Any

import utils
from meter.record import Record

MESSAGE = "request"
_SHOWN = 80  # characters of a model's name


def fields(record: Record) -> dict[str, Any]:
    """Everything that is told of a request that has ended, None for what is not known; secrets masked. No prompt, no
    answer, no text of an error: all of it is counted, measured, or one of the worker's and the engine's own words."""
    usage, refused = record.usage, record.outcome == "refused"
    told = {
        "id": record.id, "request_id": record.request_id, "trace_id": record.trace_id, "mode": record.mode,
        "route": record.route, "model": short(record.model), "status": status(record), "outcome": record.outcome,
        "error": record.error_type, "code": record.error.code if record.error else None,
        "reason": record.why if refused else None, "finish": usage.finish,
        "queue_s": _seconds(record.queued), "ttft_s": _seconds(record.ttft), "itl_s": _seconds(record.itl, 6),
        "duration_s": _seconds(record.duration), "prompt_tokens": usage.prompt, "cached_tokens": usage.cached,
        "completion_tokens": usage.completion, "chunks": record.chunks, "bytes": record.bytes}
    return {name: utils.redact(value) if isinstance(value, str) else value for name, value in told.items()}


def status(record: Record) -> int | str | None:
    """Over HTTP the answer's status, None when the caller went away before there was one; of a job what becomes of it.
    """
    if record.mode == "http":
        return record.status
    return "failed" if record.outcome == "refused" else record.outcome


def short(name: str | None) -> str | None:
    """A model's name, its beginning where it is long."""
    return name if name is None or len(name) <= _SHOWN else name[:_SHOWN] + "…"


def _seconds(value: float | None, digits: int = 4) -> float | None:
    return None if value is None else round(value, digits)


class Lines:
    """Writes them: {"message": "request", "level", the fields}; on the platform with the "requestId" that its console
    looks for (utils.log)."""

    def planned(self, record: Record) -> None:
        """Says nothing yet."""

    def ended(self, record: Record) -> None:
        """One line."""
        told = fields(record)
        head = {"requestId": told["id"] or None} if os.environ.get("RUNPOD_ENDPOINT_ID") else {}
        utils.emit(json.dumps({**head, "message": MESSAGE, "level": "INFO", **told}))

    def close(self) -> None:
        """Nothing is held back."""
