"""What the server is at the moment and how its lives ended, and whoever is told when that changes."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator

from server.states import FINAL, Event, State, after

_ENDINGS_KEPT = 16


class Record:
    """Read by any thread, changed by the owner's alone (supervisor.py): `state` in `enter` only, under the lock, and
    every change of it wakes all who wait for one."""

    def __init__(self) -> None:
        self.state, self.life = State.NEW, 0  # life: how many servers were started
        self.was_up = False                   # one of them was
        self._changed = threading.Condition()
        self._listeners: set[Callable[[], None]] = set()
        self._endings: dict[int, str] = {}

    @property
    def up(self) -> bool:
        return self.state is State.UP

    def ending_of(self, life: int) -> str | None:
        """How a server ended, in words; None while it lives, or is dying."""
        return self._endings.get(life)

    @property
    def endings(self) -> dict[int, str]:
        """The same of the newest lives that have ended, by their numbers."""
        return dict(self._endings)

    @contextlib.contextmanager
    def listening(self, listener: Callable[[], None]) -> Iterator[None]:
        """Meanwhile `listener` is called after every change of state, in the owner's thread."""
        with self._changed:
            self._listeners.add(listener)
        try:
            yield
        finally:
            with self._changed:
                self._listeners.discard(listener)

    def over(self, seconds: float | None = None) -> bool:
        """Wait until there is no further change, at most so long; returns whether that is so."""
        with self._changed:
            return self._changed.wait_for(lambda: self.state in FINAL, seconds)

    def enter(self, event: Event, ending: str | None = None) -> None:
        """Into the state that follows; ending: how the newest life ended, if it is `event` that it did."""
        with self._changed:
            self.state = after(self.state, event)
            self.was_up = self.was_up or self.up
            if ending is not None:
                self._endings[self.life] = ending
                self._endings.pop(self.life - _ENDINGS_KEPT, None)
            self._changed.notify_all()
            listeners = list(self._listeners)
        for listener in listeners:
            listener()
