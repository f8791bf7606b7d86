"""When requests come and how long their answers are: steady, in bursts, over a day. Pure; a seed fixes all of it."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from dataclasses import dataclass

DAY = 86400.0
Request = tuple[float, float]  # seconds after the beginning, tokens of its answer


@dataclass(frozen=True)
class Pattern:
    """`seconds` long, of which the first `warm` do not count.

    kind: "steady" comes at `peak` a second. "bursty" comes at `low` a second, and at `peak` for `burst` seconds at a
    time, with gaps between bursts of half `gap` seconds to half as many again. "daily" goes from `low` at its
    beginning, the night, to `peak` twelve hours later and back. tokens: of an answer, on average; exponential, at
    least 1.
    """

    kind: str
    peak: float
    low: float = 0.0
    seconds: float = 1800.0
    warm: float = 0.0
    tokens: float = 800.0
    burst: float = 60.0
    gap: float = 600.0

    @property
    def name(self) -> str:
        if self.kind == "steady":
            return f"steady, {self.peak:g} a second"
        if self.kind == "bursty":
            return f"bursty, {self.peak:g} a second for {self.burst:g} s every {self.gap + self.burst:g} s on average"
        return f"daily, {self.low:g} to {self.peak:g} a second"


PATTERNS = {
    "steady": Pattern("steady", peak=8.0, seconds=1500.0, warm=300.0),
    "bursty": Pattern("bursty", peak=30.0, low=0.02, seconds=5400.0, burst=120.0, gap=780.0),
    "daily": Pattern("daily", peak=0.4, low=0.002, seconds=DAY),
}


def requests(pattern: Pattern, seed: int) -> list[Request]:
    """All of them in order of arrival."""
    rng = random.Random(f"traffic {pattern} {seed}")
    rate = _rate(pattern, rng)
    found, at = [], 0.0
    while True:  # a Poisson process at the highest rate, of which each arrival stays with the chance of its moment
        at += rng.expovariate(pattern.peak)
        if at >= pattern.seconds:
            return found
        if rng.random() * pattern.peak < rate(at):
            found.append((at, max(1.0, float(round(rng.expovariate(1 / pattern.tokens))))))


def _rate(pattern: Pattern, rng: random.Random) -> Callable[[float], float]:
    if pattern.kind == "steady":
        return lambda at: pattern.peak
    if pattern.kind == "daily":
        return lambda at: pattern.low + (pattern.peak - pattern.low) * ((1 - math.cos(2 * math.pi * at / DAY)) / 2) ** 2
    if pattern.kind != "bursty":
        raise ValueError(f"no such pattern: {pattern.kind}")
    bursts, at = [], -pattern.gap / 2
    while at < pattern.seconds:
        at += pattern.gap * rng.uniform(0.5, 1.5)
        bursts.append(at)
        at += pattern.burst
    coming = iter(bursts)
    now = [next(coming)]  # moments are asked for in order

    def rate(at: float) -> float:
        while at >= now[0] + pattern.burst:
            now[0] = next(coming, math.inf)
        return pattern.peak if at >= now[0] else pattern.low

    return rate
