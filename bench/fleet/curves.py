"""How fast a worker is with so many streams at once, and how long starts take: from measured points. Pure."""

from __future__ import annotations

import json
import random
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

FILE = Path(__file__).with_name("measured.json")
_KNOWN = 1024  # streams for which both figures are looked up rather than computed


@lru_cache(maxsize=1)
def measured() -> dict[str, Any]:
    """Every number that the simulation takes from a measurement, each with its source."""
    return json.loads(FILE.read_text(encoding="utf-8"))


def interpolated(points: Sequence[tuple[float, float]], at: float) -> float:
    """Straight lines between points (x ascending); flat below the first, in proportion to x beyond the last.

    In proportion: a worker that is full serves more streams at the same total, each the slower.
    """
    if at <= points[0][0]:
        return points[0][1]
    if at > points[-1][0]:
        return points[-1][1] * at / points[-1][0]
    place = bisect_left(points, (at, float("-inf")))
    (x0, y0), (x1, y1) = points[place - 1], points[place]
    return y0 + (y1 - y0) * (at - x0) / (x1 - x0)


class Curve:
    """Seconds to the first token and between tokens, with n streams at once (n >= 1)."""

    def __init__(self, ttft: Sequence[tuple[float, float]], tpot: Sequence[tuple[float, float]]):
        """Points of (streams, seconds)."""
        self._points = tuple(ttft), tuple(tpot)
        self._first = [interpolated(ttft, n) for n in range(_KNOWN)]
        self._each = [interpolated(tpot, n) for n in range(_KNOWN)]

    def ttft(self, streams: int) -> float:
        return self._first[streams] if streams < _KNOWN else interpolated(self._points[0], streams)

    def tpot(self, streams: int) -> float:
        return self._each[streams] if streams < _KNOWN else interpolated(self._points[1], streams)

    def tokens_a_second(self, streams: int) -> float:
        """Of all streams together."""
        return streams / self.tpot(streams)

    @classmethod
    def named(cls, name: str) -> Curve:
        points = measured()["curves"][name]["points"]
        return cls([(p["streams"], p["ttft_ms"] / 1000) for p in points],
                   [(p["streams"], p["tpot_ms"] / 1000) for p in points])


@dataclass(frozen=True)
class Starts:
    """Seconds of a start: evenly between `seconds` less and plus `spread`."""

    seconds: float
    spread: float = 0.0

    def draw(self, rng: random.Random) -> float:
        return max(0.0, self.seconds + rng.uniform(-self.spread, self.spread))

    @classmethod
    def named(cls, name: str) -> Starts:
        found = measured()["starts"][name]
        return cls(found["seconds"], found["spread"])
