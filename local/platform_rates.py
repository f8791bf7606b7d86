"""The documented rate limits of the clients' API (serverless/endpoints/send-requests)."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable
from contextlib import contextmanager

from local.platform_records import Refused

WINDOW = 10.0  # seconds
# Requests per window, and at once (None: not limited).
RATES: dict[str, tuple[int, int | None]] = {
    "openai": (2000, 400), "runsync": (2000, 400), "run": (1000, 200), "stream": (2000, 400),
    "cancel": (100, 20), "purge-queue": (2, None)}


class Rates:
    """A sliding window and a count of open requests for each kind of call."""

    def __init__(self, clock: Callable[[], float] = time.monotonic):
        self.clock = clock
        self._recent: dict[str, deque[float]] = {}
        self._open: Counter[str] = Counter()

    @contextmanager
    def counted(self, kind: str):
        """Hold one request of this kind open; Refused(429) beyond its limits."""
        if kind not in RATES:
            yield
            return
        most, at_once = RATES[kind]
        now, recent = self.clock(), self._recent.setdefault(kind, deque())
        while recent and recent[0] <= now - WINDOW:
            recent.popleft()
        if len(recent) >= most or (at_once is not None and self._open[kind] >= at_once):
            raise Refused(429, f"too many requests to /{kind}")
        recent.append(now)
        self._open[kind] += 1
        try:
            yield
        finally:
            self._open[kind] -= 1
