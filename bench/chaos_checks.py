"""What became of one job of a chaos run, judged against its plan. Pure: the platform's record in, a verdict out."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from bench.chaos_plan import Planned
from local.platform_records import Job

BAD = ("lost", "hung", "duplicated", "corrupted")


class Corrupt(Exception):
    """What is wrong with an output."""


@dataclass(frozen=True)
class Verdict:
    """outcome: "completed", "failed", "cancelled", "timed out", or one of BAD; code: of a failure; detail: for people.
    """

    outcome: str
    code: int | None = None
    detail: str = ""


@dataclass(frozen=True)
class Facts:
    """What is known beside the plan. engine_ends: when an engine of that worker ended; stopping: when each worker was
    told to stop, and drain: how long it may go on; held: the jobs that a worker still reports; stuck: those of which a
    POST was never answered; times of time.monotonic.
    """

    engine_ends: dict[str, list[float]]
    stopping: dict[str, float]
    drain: float
    held: frozenset[str]
    stuck: frozenset[str] = frozenset()


_SLACK = 2.0  # seconds that a worker may still connect to an engine that is gone


def judge(planned: Planned, job: Job | None, accepted: int, facts: Facts) -> Verdict:
    """`job` is the platform's record, `accepted` how many results it took for it."""
    if job is None:
        return Verdict("lost", detail="the platform does not know it")
    if not job.is_final:
        if job.id in facts.held:
            return Verdict("hung", detail=f"{job.status}, and its worker still holds it")
        return Verdict("lost", detail=f"{job.status}, and no worker holds it")
    if job.attempts > 1 or accepted > 1:
        return Verdict("duplicated", detail=f"taken {job.attempts} times, {accepted} results")
    try:
        return _judged(planned, job, facts)
    except Corrupt as error:
        return Verdict("corrupted", detail=str(error))


def _judged(planned: Planned, job: Job, facts: Facts) -> Verdict:
    if job.status == "CANCELLED":
        _demand(planned.cancel_after is not None, "cancelled by nobody")
        _cut_short(planned, job)
        return Verdict("cancelled")
    if job.status == "TIMED_OUT":
        _demand(planned.execution_timeout is not None, f"timed out: {job.error}")
        _cut_short(planned, job)
        return Verdict("timed out")
    if job.status == "COMPLETED":
        _demand(not planned.fails and not planned.endless, f"completed, but had to fail ({sorted(planned.fails)})")
        _demand(job.error is None and isinstance(job.output, list), f"completed with {str(job.output)[:200]}")
        streamed = [chunk.output for chunk in job.chunks]
        wanted = job.output if planned.reading.endswith("stream") else []  # a whole answer is the result alone
        _demand(streamed == wanted, "the chunks are not the result")
        whole_right(planned, job.output)
        return Verdict("completed")
    return _failed(planned, job, facts)


def _failed(planned: Planned, job: Job, facts: Facts) -> Verdict:
    try:
        error = json.loads(job.error)
    except (TypeError, ValueError):
        raise Corrupt(f"the error is no JSON text: {job.error!r}"[:500]) from None
    _demand(isinstance(error, dict) and set(error) == {"message", "type", "param", "code", "job_id"},
            f"the error has another shape: {job.error}"[:500])
    code = error["code"]
    _demand(type(code) is int and isinstance(error["type"], str) and isinstance(error["message"], str)
            and error["message"] and error["job_id"] == job.id, f"the error is not whole: {job.error}"[:500])
    _demand("Traceback" not in job.error and "Internal error" not in error["message"], job.error[:500])
    _demand(code in planned.fails or _excused(code, job, facts),
            f"failed with {code}, which nothing explains: {error['message'][:500]}")
    if job.chunks:
        _broken_stream(planned, job, code, holed=job.id in facts.stuck and job.worker_id in facts.stopping)
    return Verdict("failed", code, error["message"])


def _excused(code: int, job: Job, facts: Facts) -> bool:
    """Whether a fault that was in the plan for others explains the failure."""
    if code == 502:
        return any(job.taken - _SLACK <= end <= job.ended for end in facts.engine_ends.get(job.worker_id, ()))
    stopped = facts.stopping.get(job.worker_id)
    return code == 503 and stopped is not None and job.ended >= stopped + facts.drain


def _broken_stream(planned: Planned, job: Job, code: int, holed: bool) -> None:
    """What was delivered before the failure must be right so far, and must not look complete. holed: a chunk may have
    been given up at the worker's end, and nothing can be sent after that."""
    _demand(planned.reading.endswith("stream"), "parts of an answer that was not to be streamed")
    events = events_of([chunk.output for chunk in job.chunks])
    _demand("[DONE]" not in events, "a failed stream ends as if it were complete")
    if holed and events and "error" not in _json(events[-1]):
        _right_so_far(planned, events)
        return
    if events:
        last = _json(events[-1])
        _demand(isinstance(last, dict) and last.get("error"), f"a failed stream ends with {events[-1][:200]}")
        _demand(last["error"].get("code") == code, f"the event says {last['error']}, the job {code}")
    _right_so_far(planned, events[:-1])


def _cut_short(planned: Planned, job: Job) -> None:
    """What was delivered before somebody stopped the job must be right so far."""
    if job.chunks and planned.reading.endswith("stream"):
        cut_right(planned, [chunk.output for chunk in job.chunks])


def cut_right(planned: Planned, outputs: Sequence) -> None:
    """Raises Corrupt unless these pieces of a stream that did not come to its end are right so far."""
    events = events_of(outputs)
    if events and (events[-1] == "[DONE]" or "error" in _json(events[-1])):
        events.pop()
    _right_so_far(planned, events)


def whole_right(planned: Planned, output: list) -> None:
    """Raises Corrupt unless this is the whole answer."""
    texts = READERS[planned.reading](output)
    _demand(texts == list(planned.texts), f"read {texts!r}, expected {planned.texts!r}"[:1500])


def _right_so_far(planned: Planned, events: list[str]) -> None:
    if planned.texts:
        for index, text in _STREAMS[planned.reading](events).items():
            _demand(planned.texts[index].startswith(text), f"read {text!r} of {planned.texts[index]!r}"[:1500])


def _demand(condition: object, otherwise: str) -> None:
    if not condition:
        raise Corrupt(otherwise)


# ------------------------------------------------------------------ reading
def _json(text: str):
    try:
        return json.loads(text)
    except ValueError:
        raise Corrupt(f"not JSON: {text[:300]!r}") from None


def events_of(outputs: Sequence) -> list[str]:
    """The data of every event; each chunk must hold whole events."""
    events = []
    for output in outputs:
        _demand(isinstance(output, str), f"a chunk is no text: {str(output)[:200]}")
        text = output.replace("\r\n", "\n")
        _demand(text.endswith("\n\n"), f"a chunk ends inside an event: …{text[-100:]!r}")
        for event in text[:-2].split("\n\n"):
            lines = [line for line in event.split("\n") if not line.startswith(":")]
            if lines:
                _demand(len(lines) == 1 and lines[0].startswith("data: "), f"no event: {event[:200]!r}")
                events.append(lines[0][6:])
    return events


def _deltas(piece: Callable[[dict], str | None]):
    def read(events: list[str]) -> dict[int, str]:
        texts, ended = {0: ""}, False
        for event in events:
            choice = _json(event)["choices"][0]
            _demand(not ended, "text after the end")
            texts[0] += piece(choice) or ""
            ended = choice["finish_reason"] is not None
        return texts
    return read


def _cumulative(events: list[str]) -> dict[int, str]:
    texts: dict[int, str] = {}
    for event in events:
        value = _json(event)
        index, before = value.get("index", 0), texts.get(value.get("index", 0), "")
        _demand(value["text"].startswith(before), f"{value['text']!r} does not continue {before!r}")
        texts[index] = value["text"]
    return texts


_STREAMS = {
    "chat-stream": _deltas(lambda choice: choice["delta"].get("content")),
    "completion-stream": _deltas(lambda choice: choice["text"]),
    "generate-stream": _cumulative, "batch-stream": _cumulative,
}


def _whole_stream(name: str):
    def read(output: list) -> list[str]:
        events = events_of(output)
        _demand(events and events[-1] == "[DONE]" and events.count("[DONE]") == 1, "a stream without its end")
        _demand(len(events) > 1, "a stream without events")
        last = _json(events[-2])
        reason = last["meta_info"] if "meta_info" in last else last["choices"][0]
        _demand(reason["finish_reason"], "a stream without a finish reason")
        texts = _STREAMS[name](events[:-1])
        return [texts.get(index, "") for index in range(len(texts))]
    return read


def _single(read: Callable[[dict], str]):
    def one(output: list) -> list[str]:
        _demand(len(output) == 1 and isinstance(output[0], dict), f"not one object: {str(output)[:200]}")
        return [read(output[0])]
    return one


def _batch(output: list) -> list[str]:
    _demand(len(output) == 1 and isinstance(output[0], list), f"not one list: {str(output)[:200]}")
    return [answer["text"] for answer in output[0]]


READERS = {
    **{name: _whole_stream(name) for name in _STREAMS},
    "chat": _single(lambda answer: answer["choices"][0]["message"]["content"]),
    "completion": _single(lambda answer: answer["choices"][0]["text"]),
    "generate": _single(lambda answer: answer["text"]),
    "models": _single(lambda answer: answer["data"][0]["id"]),
    "batch": _batch,
}
