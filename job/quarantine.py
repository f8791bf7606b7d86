"""Requests that the engine may have died of, and that are not tried again. Pure but for the clock."""

from __future__ import annotations

import hashlib
import json
import time

from utils import JobError

_BANNED_FOR = 3600.0  # seconds that a request is remembered for having been there when the engine died


class Quarantine:
    """What one worker remembers of the engine's deaths."""

    def __init__(self) -> None:
        self._blamed: dict[str, tuple[int, float]] = {}

    def blame(self, path: str, body: dict | None, life: int) -> None:
        """This request was running when the engine's life of this number ended."""
        key = _digest(path, body)
        self._blamed[key] = (self._blamed.get(key, (0, 0.0))[0] + 1, time.monotonic())

    def check(self, path: str, body: dict | None) -> None:
        """Raises JobError 422 for a request that was running at two deaths of the engine within the last hour."""
        if not self._blamed:
            return
        now = time.monotonic()
        self._blamed = {k: v for k, v in self._blamed.items() if now - v[1] < _BANNED_FOR}
        if self._blamed.get(_digest(path, body), (0, 0.0))[0] >= 2:
            raise JobError("This request was running both times when the engine died, and is not tried again.",
                           code=422)


def _digest(path: str, body: dict | None) -> str:
    rest = {k: v for k, v in (body or {}).items() if k != "rid"}
    return hashlib.sha256(f"{path} {json.dumps(rest, sort_keys=True)}".encode()).hexdigest()
