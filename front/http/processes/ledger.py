"""The owner's side of the permits: how many requests run at once in all front processes together. Pure.

A permit is either free, here, or held by one front, which runs a request on it or keeps it for the next: so most
requests cost no message at all. When one front asks and none is free, the permits are short: all fronts give back what
they do not run on, and from then on every permit at once when its request ends, and ask for each. Whoever waits then
does so here, first come first served, whichever front it came to. Once enough are free again, fronts may keep some.

Invariants: `free` and all that is held make `limit`, always; nobody is refused before every front has answered that it
keeps no permit that nobody runs on.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

Order = tuple[Hashable, list[Any]]  # for which front, and the message


class Ledger:
    """limit: permits in all; wait: whether a request may wait for one, as many as `limit` at a time."""

    def __init__(self, limit: int, wait: bool):
        self.limit, self.free = limit, limit
        self.held: dict[Hashable, int] = {}
        self._asks: dict[tuple[Hashable, int], None] = {}  # in the order in which they came
        self._looks: dict[tuple[Hashable, int], None] = {}
        self._most = limit if wait else 0  # that wait
        self._round = self._rounds = 0  # of being short of permits: 0 while they are not
        self._unheard: set[Hashable] = set()  # fronts that have not answered yet that they heard of it
        self._full = False

    @property
    def waiting(self) -> int:
        """Requests that wait for a permit."""
        return len(self._asks)

    def join(self, front: Hashable) -> list[Order]:
        """A front that holds nothing."""
        self.held[front] = 0
        orders: list[Order] = [(front, ["pressed", self._round])] if self._round else []
        if self._full:
            orders.append((front, ["full", True]))
        return orders

    def leave(self, front: Hashable) -> list[Order]:
        """It has ended, and with it all that it ran."""
        self.free += self.held.pop(front)
        for open_ in (self._asks, self._looks):
            for one in [one for one in open_ if one[0] == front]:
                del open_[one]
        self._unheard.discard(front)
        return self._settled()

    def ask(self, front: Hashable, number: int) -> list[Order]:
        """A front wants a permit for its request `number`."""
        if not self._round and not self._asks and self.free:
            more = (self.free - 1) // (len(self.held) + 1)
            self._hand(front, 1 + more)
            return [(front, ["grant", [number], more])]
        self._asks[front, number] = None
        return self._settled()

    def look(self, front: Hashable, number: int) -> list[Order]:
        """A front wants to know whether an ask would be refused."""
        self._looks[front, number] = None
        return self._settled()

    def withdraw(self, front: Hashable, number: int) -> list[Order]:
        """It does not want it any more. If it was granted meanwhile, the front finds that out by itself."""
        self._asks.pop((front, number), None)
        return self._settled()

    def give(self, front: Hashable, count: int, heard: int = 0) -> list[Order]:
        """A front gives permits back; heard: the round of which it has heard."""
        self._hand(front, -count)
        if heard == self._round:
            self._unheard.discard(front)
        return self._settled()

    def _hand(self, front: Hashable, count: int) -> None:
        if self.held[front] + count < 0 or self.free < count:
            raise ValueError(f"{count} permits for a front that holds {self.held[front]}, with {self.free} free")
        self.held[front] += count
        self.free -= count

    def _settled(self) -> list[Order]:
        """What follows from any change."""
        orders: list[Order] = []
        granted: dict[Hashable, list[int]] = {}
        while self.free and self._asks:
            front, number = next(iter(self._asks))
            del self._asks[front, number]
            self._hand(front, 1)
            granted.setdefault(front, []).append(number)
        orders += [(front, ["grant", numbers, 0]) for front, numbers in granted.items()]
        if (self._asks or self._looks and not self.free) and not self._round:
            self._round = self._rounds = self._rounds + 1
            self._unheard = set(self.held)
            orders += [(front, ["pressed", self._round]) for front in self.held]
        elif self._round and not self._asks and self.free > self.limit // 8:
            self._round = 0
            self._unheard.clear()
            orders += [(front, ["pressed", 0]) for front in self.held]
        known = bool(self._round) and not self._unheard  # that nobody keeps one
        refused = list(self._asks)[self._most:] if known else []
        for front, number in refused:
            del self._asks[front, number]
            orders.append((front, ["refuse", number]))
        if known or self.free:
            orders += [(front, ["seen", number, not self.free and len(self._asks) >= self._most])
                       for front, number in self._looks]
            self._looks.clear()
        full = known and not self.free and len(self._asks) >= self._most
        if full != self._full:
            self._full = full
            orders += [(front, ["full", full]) for front in self.held]
        return orders
