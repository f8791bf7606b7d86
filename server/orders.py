"""What the owner of a server is told whose server is a part of one that stands on several machines.

Alone, an owner decides itself when the next server is started (restarts.py). Here whoever speaks for all nodes does:
each start is allowed by its number, and a server has to go when another node's has ended. From any thread.
"""

from __future__ import annotations

import threading
from collections.abc import Callable


class Orders:
    """heard: called in the owner's thread with what became of the server ("begun", "up", "gone", "stuck"), the number
    of its start, and how it ended, "" where it was told to; wake: has the owner look at its orders."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._allowed = self._begun = self._doomed = 0
        self._why = ""
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
            self._begun = self._allowed
            return True

    def doomed(self) -> str:
        """Why the newest server has to go; "" while it may stay."""
        with self._lock:
            return self._why if self._doomed >= self._begun else ""

    def tell(self, what: str, text: str = "") -> None:
        """What became of the newest server."""
        self.heard(what, self._begun, text)
