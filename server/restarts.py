"""When a dead server is started again, and when a silent one counts as hung. Pure: the caller says what time it is."""

from __future__ import annotations

import collections
import dataclasses

_PAUSE_FIRST, _PAUSE_LAST, _PAUSE_GROWTH = 0.5, 30.0, 4.0  # seconds; the weights are in the page cache


@dataclasses.dataclass(frozen=True)
class Patience:
    """startup: seconds from a start to readiness; restarts: how many within `window` seconds; hang: seconds without a
    sign of life after which it is taken for hung, 0 for never."""

    startup: float = 1200.0
    restarts: int = 0
    window: float = 600.0
    hang: float = 0.0


class Restarts:
    """At most `most` restarts within `window` seconds, each failed one followed by a longer pause."""

    def __init__(self, most: int, window: float):
        self.most, self.window = most, window
        self._recent: collections.deque[float] = collections.deque()
        self._pause = _PAUSE_FIRST

    @property
    def recent(self) -> int:
        """How many there were within the window, when `take` was last called."""
        return len(self._recent)

    def take(self, now: float) -> float | None:
        """Seconds to wait before the next restart, which counts from now on; None when there may be none."""
        while self._recent and self._recent[0] < now - self.window:
            self._recent.popleft()
        if len(self._recent) >= self.most:
            return None
        self._recent.append(now)
        pause, self._pause = self._pause, min(self._pause * _PAUSE_GROWTH, _PAUSE_LAST)
        return pause

    def succeeded(self) -> None:
        """The server is up again."""
        self._pause = _PAUSE_FIRST


class Silence:
    """How long a server has given no sign of life; hung after `limit` seconds."""

    def __init__(self, limit: float):
        self.limit = limit
        self._since: float | None = None

    def broken(self) -> None:
        """It gave one, or cannot be expected to."""
        self._since = None

    def lasts(self, asked: float, last_sign: float, now: float) -> bool:
        """It did not answer what it was `asked`; whether that makes it hung. Jobs last heard from it at `last_sign`."""
        self._since = max(asked if self._since is None else self._since, last_sign)
        return now - self._since >= self.limit
