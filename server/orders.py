"""What the owner of a server is told whose server is a part of one that stands on several machines.

Alone, an owner decides itself when the next server is started (restarts.py). Here whoever speaks for all nodes does:
each start is allowed by its number, and a server has to go when another node's has ended. From any thread.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from server.states import Event

# What is told of a server to whoever gives the orders.
_TOLD = {Event.START: "begun", Event.AGAIN: "begun", Event.READY: "up", Event.GONE: "gone", Event.REFUSED: "gone",
         Event.STUCK: "stuck"}


class Orders:
    """heard: called in the owner's thread with what became of the server ("begun", "up", "gone", "stuck"), the number
    of its start, and how it ended, "" where it was told to; wake: has the owner look at its orders."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._allowed = self._begun = self._doomed = 0
        self._why = ""
        self.obeyed = False  # the newest server goes, or went, by an order
        self.over = ""  # why there is no further start
        self.heard: Callable[[str, int, str], None] = lambda what, number, text: None
        self.wake: Callable[[], None] = lambda: None

    # ------------------------------------------------------------ by whoever speaks for all nodes
    def allow(self, number: int) -> None:
        """The start of that number may be made."""
        with self._lock:
            self._allowed = number
        self.wake()

    def doom(self, number: int, why: str) -> bool:
        """The server of that start has to go, or is not started any more. Returns whether it was."""
        with self._lock:
            self._doomed, self._why = max(number, self._doomed), why
            begun = self._begun >= number
        self.wake()
        return begun

    def finish(self, why: str) -> None:
        """There is no further start."""
        self.over = self.over or why
        self.wake()

    # ------------------------------------------------------------ by the owner
    def begin(self) -> bool:
        """Whether the next start may be made, now; from here on it counts as made."""
        with self._lock:
            if self._allowed <= max(self._begun, self._doomed):
                return False
            self._begun, self.obeyed = self._allowed, False
            return True

    def doomed(self) -> str:
        """Why the newest server has to go, from here on by order; "" while it may stay."""
        with self._lock:
            self.obeyed = self._doomed >= self._begun
            return self._why if self.obeyed else ""

    def tell(self, event: Event, reason: str) -> None:
        """What became of the newest server; `reason`, where nobody ordered its end."""
        if event in _TOLD:
            own = event is Event.STUCK or event in (Event.GONE, Event.REFUSED) and not self.obeyed
            self.heard(_TOLD[event], self._begun, reason if own else "")
