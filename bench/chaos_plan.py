"""The plan of a chaos run: which jobs, what each must end in, and when the engine is hurt. Pure and seeded.

The same seed gives the same jobs, faults and moments. How they meet in time is up to the machine.
"""

from __future__ import annotations

import json
import random
from dataclasses import dataclass, replace

from local.scripted_shapes import EVENT_ERRORS

# What the worker is told, so that every limit is met within seconds and not by any ordinary job.
ENVIRON = {
    "SGLANG_MAX_RESTARTS": "1000000", "SGLANG_HANG_TIMEOUT": "5", "ENGINE_WAIT_TIMEOUT": "90",
    "ENGINE_IDLE_TIMEOUT": "20", "REQUEST_TIMEOUT": "20", "RETRY_TIMEOUT": "3", "STREAM_KEEPALIVE": "1",
    "DRAIN_TIMEOUT": "8", "MAX_INPUT_MB": "0.2", "MAX_INPUT_DEPTH": "30", "MAX_RESULT_MB": "0.3",
}
# How the engine is hurt. exit: a job makes it end by itself; kill: SIGKILL; twice: and its successor as soon as there
# is one, in the middle of its start; guard: SIGKILL of the process between worker and engine; hang: SIGSTOP.
FAULTS = ("exit", "kill", "hang", "twice", "guard")
DEADLY_CODE = 7

_WORDS = ("Paris", "café", "東京", "🦜", "naïve", "ok", "x" * 40, "\u2028", "\n\n", "\r\n", "\t", '"', "\\",
          "data: [DONE]", 'data: {"error": {"code": 500}}', '{"error": 1}', '"abort"', "</s>", "0", "ß",
          "é\u0301", "null")


@dataclass(frozen=True)
class Planned:
    """One job. reading: how its output is read (see chaos_checks.READERS); texts: what must come out, one per prompt,
    when it completes; fails: the codes of which it must fail with one, empty when it must complete; cancel_after:
    seconds after its submission; execution_timeout: milliseconds, as the platform counts them; endless: nothing but a
    limit, a cancellation or a fault ends it; deadly: it ends the engine."""

    index: int
    kind: str
    input: object
    reading: str = "none"
    texts: tuple[str, ...] = ()
    fails: frozenset[int] = frozenset()
    cancel_after: float | None = None
    execution_timeout: int | None = None
    endless: bool = False
    deadly: bool = False


@dataclass(frozen=True)
class Plan:
    """jobs in the order of their submission; faults: {index of the job at whose submission it happens: name}; stop_at:
    the index at which the first worker is told to stop."""

    jobs: list[Planned]
    faults: dict[int, str]
    stop_at: int


def make(seed: int, count: int, concurrency: int, faults: int) -> Plan:
    """`count` jobs and `faults` faults of the engine, those that stop the first worker aside."""
    rng = random.Random(seed)
    stop_at = max(1, count - max(2 * concurrency, count // 10))
    planned = _fault_times(rng, count, stop_at, concurrency, faults)
    jobs = []
    for index in range(count):
        job = _deadly(rng, index) if planned.get(index) == "exit" else _twin(rng, index, jobs) or _job(rng, index)
        # Limits of half a minute are met early in the run, so that nobody waits for the last of them.
        if job.texts and not job.fails:
            job = _disturbed(rng, job, may_idle=index < count * 2 // 3)
        jobs.append(job)
    return Plan(jobs, planned, stop_at)


def _fault_times(rng: random.Random, count: int, stop_at: int, concurrency: int, faults: int) -> dict[int, str]:
    # None just before the first worker stops: what happens to its engine then must be the worker's own doing.
    first, last = count // 20, max(count // 20 + 1, stop_at - 2 * concurrency)
    places = sorted(rng.sample(range(first, last), min(faults, last - first)))
    kinds = [FAULTS[i % len(FAULTS)] for i in range(len(places))]
    rng.shuffle(kinds)
    return dict(zip(places, kinds, strict=True))


# ------------------------------------------------------------------ jobs that generate
def _text(rng: random.Random, index: int, part: int = 0) -> str:
    """Like no other job's, so that an answer that went astray is seen."""
    words = " ".join(rng.choice(_WORDS) for _ in range(rng.randrange(1, 30)))
    return f"[{index}.{part}] {words} [{rng.randrange(10**9)}]"


def _pace(rng: random.Random) -> dict:
    pace: dict = {"tps": rng.choice((0, 0, 60, 120, 250))}
    if rng.random() < 0.2:
        pace["first_delay_ms"] = rng.randrange(20, 1500)
    if rng.random() < 0.15:
        pace["cut"] = rng.choice(("utf8", 7, 100))
        pace["cut_ms"] = 0
    if rng.random() < 0.1:
        pace["comments"] = True
    if rng.random() < 0.1:
        pace["eol"] = "crlf"
    return pace


def prompt(script: dict) -> str:
    """A prompt that makes the scripted engine treat the request as `script` says."""
    return "#script " + json.dumps(script)


def _messages(script: dict) -> list[dict]:
    return [{"role": "user", "content": prompt(script)}]


def _native(script: dict) -> dict:
    return {"text": prompt(script)}


def _batch(rng: random.Random, index: int) -> tuple[dict, tuple[str, ...]]:
    texts = tuple(_text(rng, index, part) for part in range(rng.randrange(2, 5)))
    return {"text": [prompt({"text": text, "tps": rng.choice((0, 200))}) for text in texts]}, texts


def _routed(path: str, body: dict | None) -> dict:
    return {"openai_route": path, "openai_input": body}


# name, weight, reading, whether it streams, its input of a script
_KINDS = (
    ("chat, streamed", 22, "chat-stream", lambda s: {"messages": _messages(s), "stream": True}),
    ("chat", 14, "chat", lambda s: {"messages": _messages(s)}),
    ("native", 8, "generate", _native),
    ("native, streamed", 8, "generate-stream", lambda s: {**_native(s), "stream": True}),
    ("completion", 6, "completion", lambda s: {"prompt": prompt(s)}),
    ("completion, streamed", 5, "completion-stream", lambda s: {"prompt": prompt(s), "stream": True}),
    ("openai chat, streamed", 8, "chat-stream",
     lambda s: _routed("/v1/chat/completions", {"model": "tiny", "messages": _messages(s), "stream": True})),
    ("openai chat", 5, "chat", lambda s: _routed("/v1/chat/completions", {"messages": _messages(s)})),
    ("openai completion, streamed", 4, "completion-stream",
     lambda s: _routed("/v1/completions", {"prompt": prompt(s), "stream": True})),
)
_OTHERS = (("batch", 6), ("batch, streamed", 4), ("models", 4), ("refused by the engine", 5), ("bad input", 6))
_NAMES = [kind[0] for kind in _KINDS] + [name for name, _ in _OTHERS]
_WEIGHTS = [kind[1] for kind in _KINDS] + [weight for _, weight in _OTHERS]


def _job(rng: random.Random, index: int) -> Planned:
    name = rng.choices(_NAMES, _WEIGHTS)[0]
    if name == "models":
        return Planned(index, name, rng.choice((
            {"openai_route": "/v1/models", "openai_input": {}}, {"openai_route": "/v1/models", "openai_input": None},
            {"openai_route": "/v1/models"}, {"route": "/v1/models", "method": "GET"})), "models", ("tiny",))
    if name == "refused by the engine":
        return _refused(rng, index)
    if name == "bad input":
        job_input, code = rng.choice(_BAD)(rng)
        if isinstance(job_input, dict) and job_input:
            # Two that are alike would be refused, rightly, once both were running when the engine ended.
            inner = job_input.get("body") or job_input
            inner["user"] = f"job {index}"
        return Planned(index, name, job_input, fails=frozenset({code}))
    if name.startswith("batch"):
        job_input, texts = _batch(rng, index)
        streamed = name.endswith("streamed")
        return Planned(index, name, {**job_input, "stream": streamed}, "batch-stream" if streamed else "batch", texts)
    _, _, reading, make_input = _KINDS[_NAMES.index(name)]
    text = _text(rng, index)
    return Planned(index, name, make_input({"text": text, **_pace(rng)}), reading, (text,))


def _twin(rng: random.Random, index: int, before: list[Planned]) -> Planned | None:
    """Now and then a job that is the same as one of the last, which may be running still."""
    if rng.random() >= 0.03:
        return None
    alike = [job for job in before[-8:] if job.texts and not job.fails and not job.endless]
    return replace(rng.choice(alike), index=index, cancel_after=None) if alike else None


def _deadly(rng: random.Random, index: int) -> Planned:
    script = {"text": _text(rng, index), "die_at": 0, "die_code": DEADLY_CODE}
    return Planned(index, "deadly", {"messages": _messages(script)}, fails=frozenset({502}), deadly=True)


def _disturbed(rng: random.Random, job: Planned, may_idle: bool) -> Planned:
    """Some are cancelled, some run out of time, some meet an engine that falls silent."""
    luck = rng.random()
    if luck < 0.04:
        return replace(job, cancel_after=rng.uniform(0, 1.5))
    single = next((kind for kind in _KINDS if kind[0] == job.kind), None)
    if single is None or luck >= 0.085:
        return job
    silent = single[3]({"text": job.texts[0], "tps": 200, "hang_at": rng.randrange(3)})
    if luck < 0.06:
        return replace(job, input=silent, endless=True, cancel_after=rng.uniform(0, 2))
    if luck < 0.08:
        return replace(job, input=silent, endless=True, execution_timeout=rng.randrange(200, 2500))
    return replace(job, input=silent, endless=True, fails=frozenset({504})) if may_idle else job


# ------------------------------------------------------------------ jobs that must fail
def _refused(rng: random.Random, index: int) -> Planned:
    """The engine answers with an error, breaks the connection, or more than may be delivered."""
    what = rng.choice(("status", "status", "load", "event", "event", "drop", "huge"))
    script: dict = {"text": _text(rng, index), "tps": 200}
    if what == "status":
        code = rng.choice((400, 404, 413, 422, 500))
        script |= {"status": code, "error": rng.choice((None, "string", "detail", "generate", "anthropic"))}
    elif what == "load":
        code = rng.choice((429, 503))
        script |= {"status": code}
    elif what == "event":
        code = rng.choice((400, 500, 422))
        script |= {"error_at": rng.randrange(3), "error_code": code,
                   "error": rng.choice([name for name in EVENT_ERRORS if name not in ("anthropic", "string")])}
    elif what == "drop":
        code, script["drop_at"] = 502, rng.randrange(3)
    else:
        code = 413
        script = {"tokens": 400, "token_bytes": 1000}
    streamed = what == "event" or rng.random() < 0.5
    job_input = {"messages": _messages(script), **({"stream": True} if streamed else {})}
    return Planned(index, "refused by the engine", job_input, "chat-stream" if streamed else "chat",
                   () if what == "huge" else (script["text"],), frozenset({code}))


def _nested(depth: int) -> list:
    value: list = []
    for _ in range(depth):
        value = [value]
    return value


_CHAT = {"messages": [{"role": "user", "content": "hello"}]}
_BAD = (
    lambda rng: (rng.choice(({}, None, [], "hello", 5, 1.5, True, [{}])), 400),
    lambda rng: ({"openai_input": _CHAT}, 400),
    lambda rng: ({"openai_route": rng.choice((
        "/flush_cache", "/abort_request", "//127.0.0.1/v1/models", "http://127.0.0.1/v1/models", "/v1/../flush_cache",
        "/v1/nothing?a=1", "@localhost", "", "/v1/chat/completions\r\nX: y", "\ud800", "/v1%2fmodels", "\x00")),
        "openai_input": _CHAT}, 404),
    lambda rng: ({"openai_route": rng.choice(("/" * 100_000, 5, [], {}, True)), "openai_input": _CHAT}, 400),
    lambda rng: ({**_CHAT, "text": "both"}, 400),
    lambda rng: ({**_CHAT, "model": rng.choice(("gpt-4", "tiny ", "\ud83d", "x" * 100_000))}, 404),
    lambda rng: ({**_CHAT, "model": rng.choice((5, [], {}, False))}, 400),
    lambda rng: ({**_CHAT, "stream": rng.choice(("yes", 1, [], "true"))}, 400),
    lambda rng: ({"text": rng.choice(("x", "é", "🦜")) * 250_000}, 413),
    lambda rng: ({"text": "x", "deep": _nested(rng.randrange(31, 200))}, 400),
    lambda rng: ({"text": "x", "sampling_params": {"temperature": rng.choice((float("nan"), float("inf")))}}, 400),
    lambda rng: ({**_CHAT, "seed": rng.choice((float("-inf"), float("nan")))}, 400),
    lambda rng: ({"text": "x", "sampling_params": {rng.choice(("no_such", "ünknown", "\ud800")): 1}}, 400),
    lambda rng: ({"text": "x", "sampling_params": rng.choice(("hot", 5, True))}, 400),
    lambda rng: ({"openai_route": "/v1/chat/completions", "openai_input": rng.choice((None, {}, [], "x", 5))}, 400),
    lambda rng: ({"openai_route": rng.choice(("/v1/models?a=1", "/v1/models?b")), "openai_input": _CHAT}, 405),
    lambda rng: ({"route": "/v1/models", "method": rng.choice(("DELETE", "POST", 5, "\ud800"))}, 405),
    lambda rng: ({"route": "/v1/embeddings", "body": {"input": "x"}}, 400),
    lambda rng: ({"text": ""}, 400),
    lambda rng: ({"no": "prompt", "at": ["all", 10**300, "\ud800", None]}, 400),
)
