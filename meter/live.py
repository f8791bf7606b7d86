"""What goes on at the moment, for people who look: counts, and figures of the last seconds. Pure."""

from __future__ import annotations

import collections
import math
from collections.abc import Sequence

RATE_SECONDS = 10   # over which tokens a second are told
TTFT_SECONDS = 60.0
_KEPT = 4096  # first tokens that are remembered, at most


class Rate:
    """How many a second, over the last RATE_SECONDS whole seconds."""

    def __init__(self) -> None:
        self._counts = [0.0] * (RATE_SECONDS + 1)
        self._stamps = [-1] * (RATE_SECONDS + 1)

    def add(self, count: float, now: float) -> None:
        """`count` of them, at `now`."""
        second = int(now)
        place = second % len(self._counts)
        if self._stamps[place] != second:
            self._stamps[place], self._counts[place] = second, 0.0
        self._counts[place] += count

    def value(self, now: float) -> float:
        """A second, the one that runs left out."""
        second = int(now)
        return sum(count for count, stamp in zip(self._counts, self._stamps, strict=True)
                   if 1 <= second - stamp <= RATE_SECONDS) / RATE_SECONDS


class Recent:
    """The values of the last TTFT_SECONDS."""

    def __init__(self) -> None:
        self._values: collections.deque[tuple[float, float]] = collections.deque(maxlen=_KEPT)

    def add(self, value: float, now: float) -> None:
        self._values.append((now, value))

    def values(self, now: float) -> list[float]:
        """In ascending order."""
        while self._values and self._values[0][0] < now - TTFT_SECONDS:
            self._values.popleft()
        return sorted(value for _, value in self._values)


def percentile(ordered: Sequence[float], share: float) -> float | None:
    """The smallest value that `share` of them do not exceed; None of none."""
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)] if ordered else None
