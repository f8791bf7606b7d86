"""Which adapters one life of the engine has, who uses them, and which goes next. Pure."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Collection, Iterable, Mapping


@dataclasses.dataclass
class Entry:
    """One adapter in the engine. holds: requests that use it; used: when it was used last, as a number that grows;
    pinned: it never goes; closing: it goes once nobody uses it, so that nobody new may."""

    pinned: bool = False
    holds: int = 0
    used: int = 0
    closing: bool = False


class Table:
    """limit: adapters that the engine has at most, None for any number; present: those that it began with, and whether
    each is pinned."""

    def __init__(self, limit: int | None, present: Mapping[str, bool]) -> None:
        self.limit, self._count = limit, itertools.count(1)
        self._entries = {name: Entry(pinned) for name, pinned in present.items()}

    @property
    def names(self) -> tuple[str, ...]:
        """All that are loaded, the least recently used first."""
        return tuple(sorted(self._entries, key=lambda name: self._entries[name].used))

    def missing(self, names: Iterable[str]) -> list[str]:
        """Those of `names` that are not loaded, or about to go."""
        return [name for name in names if name not in self._entries or self._entries[name].closing]

    def take(self, names: Collection[str]) -> bool:
        """Hold all of `names`, once each; False, and nothing is held, when one of them is missing."""
        if self.missing(names):
            return False
        for name in names:
            self._entries[name].holds += 1
            self._entries[name].used = next(self._count)
        return True

    def give(self, names: Iterable[str]) -> None:
        """Let go of what was taken."""
        for name in names:
            self._entries[name].holds -= 1
            self._entries[name].used = next(self._count)

    def add(self, name: str) -> None:
        """It is loaded now."""
        self._entries[name] = Entry(used=next(self._count))

    def remove(self, name: str) -> None:
        """It is no longer loaded."""
        self._entries.pop(name, None)

    @property
    def full(self) -> bool:
        """Whether another must go before one is loaded."""
        return self.limit is not None and len(self._entries) >= self.limit

    def room(self, kept: Collection[str]) -> int | None:
        """How many there can be beside the pinned ones that are not among `kept`; None for any number."""
        pinned = sum(entry.pinned and name not in kept for name, entry in self._entries.items())
        return None if self.limit is None else self.limit - pinned

    def victim(self, kept: Collection[str]) -> str | None:
        """The least recently used of those that nobody uses, is pinned, or is among `kept`. When all are in use the
        least recently used is closed to further requests until one is free: else those for the loaded adapters could
        keep a new one out for ever."""
        able = [name for name in self.names if name not in kept and not self._entries[name].pinned]
        idle = [name for name in able if not self._entries[name].holds]
        if idle:
            self.reopen()
            return idle[0]
        if able and not any(self._entries[name].closing for name in able):
            self._entries[able[0]].closing = True
        return None

    def reopen(self) -> bool:
        """Nothing has to go any more. Whether anything had to."""
        closing = [entry for entry in self._entries.values() if entry.closing]
        for entry in closing:
            entry.closing = False
        return bool(closing)
