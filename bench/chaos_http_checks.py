"""What became of one request of a chaos run over HTTP, judged against its plan. Pure."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from bench.chaos_checks import Corrupt, Verdict, cut_right, events_of, whole_right
from bench.chaos_http_client import Answer, error_of
from bench.chaos_http_plan import Asked

_SLACK = 2.0  # seconds that a worker may still connect to an engine that is gone


@dataclass(frozen=True)
class HttpFacts:
    """What is known beside the plan. engine_ends: when an engine ended (time.monotonic); room: how many requests the
    worker takes at once; patience: seconds that a request may take; falls: of front
    processes, when each was killed and was back."""

    engine_ends: list[float]
    room: int
    patience: float
    falls: Sequence[tuple[float, float]] = ()

    def fell(self, answer: Answer) -> bool:
        """Whether a process that carried requests was killed meanwhile."""
        return any(answer.sent <= back and killed <= answer.ended for killed, back in self.falls)


def judge(asked: Asked, answer: Answer | None, facts: HttpFacts) -> Verdict:
    """`answer` is what its client saw, None when it never came back."""
    if answer is None or answer.ended - answer.sent > facts.patience:
        return Verdict("hung", detail="no end of it was seen")
    try:
        return _judged(asked, answer, facts)
    except Corrupt as error:
        return Verdict("corrupted", detail=str(error))


def _judged(asked: Asked, answer: Answer, facts: HttpFacts) -> Verdict:
    planned = asked.planned
    if answer.left is not None:
        if answer.status == 200 and planned.reading.endswith("stream"):
            _right_so_far(asked, answer)
        return Verdict("left")
    if not (answer.status and answer.whole) and facts.fell(answer):
        if answer.status == 200 and planned.reading.endswith("stream"):
            _right_so_far(asked, answer)
        return Verdict("failed", 0, "its process was killed")
    if not answer.status:
        raise Corrupt("the connection ended without an answer")
    if not answer.whole:
        raise Corrupt(f"the answer with status {answer.status} was cut: …{answer.body[-100:]!r}")
    if answer.headers.get("x-request-id") != answer.name:
        raise Corrupt(f"another request's id: {answer.headers.get('x-request-id')}")
    if answer.status != 200:
        return _refused(asked, answer, facts)
    if planned.reading.endswith("stream") and (code := _code_at_the_end(answer)):
        if not _fits(code, asked, answer, facts):
            raise Corrupt(f"a stream ended with {code}, which nothing explains: {answer.body[-300:]!r}")
        _right_so_far(asked, answer)
        return Verdict("failed", code)
    if planned.fails or planned.endless:
        raise Corrupt(f"completed, but had to fail ({sorted(planned.fails)}): {answer.body[:300]!r}")
    streams = planned.reading.endswith("stream")
    if answer.headers.get("content-type", "").partition(";")[0] != (
            "text/event-stream" if streams else "application/json"):
        raise Corrupt(f"the type is {answer.headers.get('content-type')}")
    whole_right(planned, [answer.body.decode() if streams else json.loads(answer.body)])
    return Verdict("completed")


def _refused(asked: Asked, answer: Answer, facts: HttpFacts) -> Verdict:
    error = error_of(answer)
    if error is None or not isinstance(error.get("message"), str) or not error["message"]:
        raise Corrupt(f"a refusal of another shape: {answer.body[:300]!r}")
    if "Traceback" in error["message"] or "Internal error" in error["message"]:
        raise Corrupt(error["message"][:500])
    if error.get("code") != answer.status:
        raise Corrupt(f"status {answer.status}, but {error}")
    if answer.status in (429, 503) and not answer.headers.get("retry-after", "").isdigit() \
            and answer.status not in asked.planned.fails:
        raise Corrupt(f"{answer.status} without Retry-After")
    if not _fits(answer.status, asked, answer, facts):
        raise Corrupt(f"refused with {answer.status}, which nothing explains: {error['message'][:300]}")
    return Verdict("failed", answer.status, error["message"])


def _fits(code: int, asked: Asked, answer: Answer, facts: HttpFacts) -> bool:
    """Whether the plan, or a fault that was in the plan for others, explains the failure."""
    if code in asked.planned.fails:
        return True
    if code == 502:
        return any(answer.sent - _SLACK <= end <= answer.ended for end in facts.engine_ends)
    return code == 429 and answer.crowd > facts.room


def _code_at_the_end(answer: Answer) -> int | None:
    """The code of the error that a stream ends with, None when it does not."""
    events = events_of([answer.body.decode(errors="replace")]) if answer.body else []
    try:
        error = json.loads(events[-1]).get("error") if events else None
    except (ValueError, AttributeError):
        return None
    return error.get("code") if isinstance(error, dict) else None


def _right_so_far(asked: Asked, answer: Answer) -> None:
    text = answer.body.decode(errors="ignore").replace("\r\n", "\n")
    whole = text[:text.rfind("\n\n") + 2] if "\n\n" in text else ""
    if whole:
        cut_right(asked.planned, [whole])
