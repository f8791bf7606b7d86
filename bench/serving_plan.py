"""What a serving benchmark runs: loads, the order of the designs, arrivals, prompts. Pure; a seed fixes all of it."""

from __future__ import annotations

import json
import random
from dataclasses import dataclass

ENGINE, WORKER, HTTP, EVERY_EVENT, RAW_CHUNKS = "engine", "worker", "http", "every-event", "raw-chunks"
DESIGNS = (ENGINE, WORKER, HTTP, EVERY_EVENT, RAW_CHUNKS)
HTTP_MANY = tuple(f"{HTTP}-{number}" for number in range(2, 17))  # the worker over HTTP in so many processes
KNOWN = (ENGINE, WORKER, HTTP, *HTTP_MANY, EVERY_EVENT, RAW_CHUNKS)
DIRECT = (ENGINE, HTTP, *HTTP_MANY)  # their clients speak to them, without a platform between
# Short, common and mostly one token each for the tokenizers of today's models.
_TEXT = """
the of and to in is that it for on with as at by from this be are was have not or you we they he she one all can will
time people way day man year thing world life hand part place work week case point house water room mother area money
story fact month right study book eye job word side kind head"""
_WORDS = _TEXT.split()


@dataclass(frozen=True)
class Load:
    """`streams` clients, each sending `each` requests one after another; or, when `rate` is given, `each` requests in
    all at `rate` a second on average, with exponential gaps (a Poisson process)."""

    streams: int
    each: int = 1
    rate: float | None = None

    @property
    def requests(self) -> int:
        return self.each if self.rate else self.streams * self.each

    @property
    def name(self) -> str:
        if self.rate:
            return f"{self.each} requests at {self.rate:g} a second"
        return f"{self.streams} streams" + (f" of {self.each} requests each" if self.each > 1 else "")


@dataclass(frozen=True, order=True)
class Target:
    """A design, and the round trip of a POST of its worker in ms (0 for those of DIRECT, which post nothing)."""

    design: str
    post_ms: float = 0.0

    @property
    def name(self) -> str:
        return self.design if self.design in DIRECT else f"{self.design}, {self.post_ms:g} ms"


@dataclass(frozen=True)
class Run:
    """One measurement."""

    target: Target
    load: Load
    repeat: int


def targets(designs: list[str], post_ms: list[float]) -> list[Target]:
    return [Target(design, ms) for design in designs for ms in ([0.0] if design in DIRECT else post_ms)]


def runs(wanted: list[Target], loads: list[Load], repeats: int, seed: int) -> list[Run]:
    """Every target under every load, `repeats` times; its order is drawn anew for each load of each repeat, so that
    a machine which is busy for a while hits all designs alike."""
    rng, plan = random.Random(f"order {seed}"), []
    for repeat in range(repeats):
        for load in loads:
            plan += [Run(target, load, repeat) for target in rng.sample(wanted, len(wanted))]
    return plan


def warm_runs(loads: list[Load], count: int, designs: tuple[Target, ...] = (Target(ENGINE),)) -> list[Run]:
    """`count` runs of each of `designs` under every load, with prompts that no counted run has."""
    return [Run(target, load, -1 - number) for number in range(count) for load in loads for target in designs]


def lanes(load: Load, repeat: int, *, seed: int, model: str, tokens: int, prompt_tokens: int) -> list[list[dict]]:
    """The clients' requests, [[{"at": seconds, "body": JSON}, …], …]: the same for every target of a repeat."""
    rng = random.Random(f"{seed} {load.name} {repeat}")

    def request(at: float) -> dict:
        return {"at": at, "body": body(rng, model, tokens, prompt_tokens)}

    if load.rate:
        return [[request(at)] for at in arrivals(rng, load.rate, load.each)]
    return [[request(0.0) for _ in range(load.each)] for _ in range(load.streams)]


def arrivals(rng: random.Random, rate: float, count: int) -> list[float]:
    """Seconds after the start of each of `count` requests, the first at 0."""
    found = [0.0]
    while len(found) < count:
        found.append(found[-1] + rng.expovariate(rate))
    return found


def body(rng: random.Random, model: str, tokens: int, prompt_tokens: int) -> str:
    """A streamed chat completion of exactly `tokens` tokens for a prompt of about `prompt_tokens`."""
    prompt = " ".join(rng.choice(_WORDS) for _ in range(prompt_tokens))
    return json.dumps({"model": model, "messages": [{"role": "user", "content": prompt}], "max_tokens": tokens,
                       "temperature": 0, "ignore_eos": True, "stream": True,
                       "stream_options": {"include_usage": True}})


def http_processes(design: str, of_http: int) -> int:
    """HTTP_PROCESSES of one of the designs over HTTP; `of_http`: of the one that does not name them."""
    return int(design.rpartition("-")[2]) if design in HTTP_MANY else of_http


def split(lanes_: list[list[dict]], parts: int) -> list[list[list[dict]]]:
    """The lanes dealt out to `parts` client processes; a process without any is left out."""
    return [part for i in range(parts) if (part := lanes_[i::parts])]
