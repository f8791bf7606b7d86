"""Requests that the engine seems to die of, and that are not tried again. Pure but for the clock."""

from __future__ import annotations

import hashlib
import json
import time
from typing import Any

from utils import JobError

_BANNED_FOR = 3600.0  # seconds that a death is remembered
_DEATHS = 2  # that one request has to have been alone at
_REMEMBERED = 64  # deaths at most; an engine that dies more often within the hour has been given up before
# What tells two tries of one request apart and nothing else: the worker names what its sender does not.
_NAMES = ("rid", "request_id")


class Quarantine:
    """What one worker remembers of the engine's deaths."""

    def __init__(self) -> None:
        # For each life of the engine, by its number: when its end was heard of, and the digest of what ran in the end,
        # None when that were different requests, of which nobody can tell which one it was.
        self._ends: dict[int, tuple[float, str | None]] = {}

    def blame(self, path: str, body: dict[str, Any] | None, life: int) -> None:
        """This request was running when life number `life` of the engine ended. To be called for each such request;
        copies of one request count as one."""
        self.note(life, digest(path, body))

    def note(self, life: int, key: str) -> None:
        """The same, of a request with this digest."""
        if life not in self._ends:
            self._ends[life] = (time.monotonic(), key)
            while len(self._ends) > _REMEMBERED:
                del self._ends[next(iter(self._ends))]
        elif self._ends[life][1] != key:
            self._ends[life] = (self._ends[life][0], None)

    @property
    def ends(self) -> list[list[Any]]:
        """All that is remembered, for another process of this machine."""
        return [[life, ended, key] for life, (ended, key) in self._ends.items()]

    def learn(self, ends: list[list[Any]]) -> None:
        """Remember what another does, and nothing else."""
        self._ends = {life: (ended, key) for life, ended, key in ends}

    def check(self, path: str, body: dict[str, Any] | None) -> None:
        """Raises JobError 422 for a request that was alone with the engine at two of its deaths within the last hour.
        Safe from any thread."""
        since = time.monotonic() - _BANNED_FOR
        suspects = [key for ended, key in list(self._ends.values()) if key is not None and ended > since]
        if len(suspects) >= _DEATHS and suspects.count(digest(path, body)) >= _DEATHS:
            raise JobError("The engine died twice while it ran this request and no other: it is not tried again within "
                           "the hour.", code=422)


def digest(path: str, body: dict[str, Any] | None) -> str:
    """The same for every try of one request, whatever names the worker or its sender gave it."""
    rest = {name: value for name, value in (body or {}).items() if name not in _NAMES}
    return hashlib.sha256(f"{path} {json.dumps(rest, sort_keys=True)}".encode()).hexdigest()
