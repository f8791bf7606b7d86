"""The plan of a chaos run over HTTP: which requests, what each must end in, and what its client does. Pure and seeded.

Requests are the jobs of chaos_plan in HTTP's words; what a body can only be over HTTP, and what clients do there, is
added here.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from bench import chaos_plan
from bench.chaos_plan import Planned, prompt

# As for the queue, but that the worker has less room than there are clients, and does not let them wait for long.
ENVIRON = {**chaos_plan.ENVIRON, "WORKER_MODE": "http", "HOST": "127.0.0.1", "HTTP_QUEUE_SECONDS": "2",
           "MAX_RESULT_MB": "30", "HTTP_REQUEST_SECONDS": "60"}
ROOM = 0.9  # of the clients there is room for at once
_ROUTES = {"messages": "/v1/chat/completions", "text": "/generate", "prompt": "/v1/completions"}
_STALLED_TOKENS, _TOKEN_BYTES = 12_000, 500  # 6 MB, more than the sockets between swallow


@dataclass(frozen=True)
class Asked:
    """One request. method, path, body: what is sent, the body as bytes; planned: what must come of it (chaos_plan);
    leaves: seconds after which its client goes away, None for never; stalls: seconds in which its client reads nothing,
    before it reads all."""

    index: int
    method: str
    path: str
    body: bytes | None
    planned: Planned
    leaves: float | None = None
    stalls: float = 0.0


@dataclass(frozen=True)
class HttpPlan:
    """requests in the order of their sending; faults: {index at whose sending the engine is hurt: how}."""

    requests: list[Asked]
    faults: dict[int, str]


def make(seed: int, count: int, concurrency: int, faults: int) -> HttpPlan:
    """`count` requests and `faults` faults of the engine."""
    plan, rng = chaos_plan.make(seed, count, concurrency, faults), random.Random(f"http {seed}")
    return HttpPlan([_asked(rng, job) for job in plan.jobs], plan.faults)


def _asked(rng: random.Random, job: Planned) -> Asked:
    if job.kind == "bad input":
        return rng.choice(_BAD)(rng, job.index)
    if job.kind == "refused by the engine" and not job.texts:  # more than the queue takes is no more than HTTP does
        job = replace(job, fails=frozenset(), texts=("".join(f"t{i} ".ljust(1000, "x") for i in range(400)),))
    if rng.random() < 0.012 and not job.deadly:
        return _stalled(rng, job.index)
    path, body = _in_http(job.input)
    leaves = job.cancel_after if job.execution_timeout is None else job.execution_timeout / 1000
    return Asked(job.index, "GET" if body is None else "POST", path,
                 None if body is None else json.dumps(body).encode(), job, leaves)


def _in_http(job_input: Any) -> tuple[str, Any]:
    """(path, body, None for a read) of a job's input."""
    for route, body in (("openai_route", "openai_input"), ("route", "body")):
        if route in job_input:
            return job_input[route], job_input.get(body) or None
    return next(path for field, path in _ROUTES.items() if field in job_input), job_input


def _stalled(rng: random.Random, index: int) -> Asked:
    """A stream that is larger than what sockets swallow, whose reader takes its time, or goes away at last."""
    script = {"tokens": _STALLED_TOKENS, "token_bytes": _TOKEN_BYTES}
    text = "".join(f"t{i} ".ljust(_TOKEN_BYTES, "x") for i in range(_STALLED_TOKENS))
    job = Planned(index, "slow reader", {}, "chat-stream", (text,))
    stalls = rng.uniform(0.5, 3)
    return Asked(index, "POST", "/v1/chat/completions", json.dumps(
        {"messages": [{"role": "user", "content": prompt(script)}], "stream": True, "user": f"job {index}"}).encode(),
        job, stalls + 0.5 if rng.random() < 0.4 else None, stalls)


# ------------------------------------------------------------------ requests that must fail
def _bad(method: str, path: str, body: bytes | None, status: int) -> Callable[[random.Random, int], Asked]:
    return lambda _rng, index: Asked(index, method, path, body, Planned(
        index, "bad request", {}, fails=frozenset({status})))


def _chat(status: int, **fields: Any) -> Callable[[random.Random, int], Asked]:
    def ask(_rng: random.Random, index: int) -> Asked:
        body = {"messages": [{"role": "user", "content": "hello"}], "user": f"job {index}", **fields}
        return _bad("POST", "/v1/chat/completions", json.dumps(body).encode(), status)(_rng, index)
    return ask


_BAD: tuple[Callable[[random.Random, int], Asked], ...] = (
    _bad("POST", "/v1/chat/completions", b"{", 400), _bad("POST", "/v1/chat/completions", b"\xff\xfe", 400),
    _bad("POST", "/v1/chat/completions", b"[1]", 400), _bad("POST", "/v1/chat/completions", b"", 400),
    _bad("POST", "/v1/chat/completions", b"[" * 100_000, 400), _bad("POST", "/generate", b'{"text": ""}', 400),
    _bad("POST", "/flush_cache", b"{}", 404), _bad("POST", "/abort_request", b'{"rid": ""}', 404),
    _bad("GET", "/nothing/here", None, 404), _bad("POST", "/v1/../flush_cache", b"{}", 404),
    _bad("POST", "/v1/models", b'{"a": 1}', 405), _bad("DELETE", "/v1/models", None, 405),
    _bad("POST", "/generate", json.dumps({"text": "x" * 250_000}).encode(), 413),
    _bad("POST", "/generate", b'{"text": "x", "sampling_params": {"temperature": NaN}}', 400),
    _chat(404, model="gpt-4"), _chat(404, model="gpt-4", stream=True), _chat(400, model=5), _chat(400, stream="yes"),
)
