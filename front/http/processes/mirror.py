"""How the engine stands, in a process that is told so by its owner. Pure."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping

from engine import State


class Mirror:
    """What engine.py `Served` needs to know."""

    def __init__(self) -> None:
        self.state, self.life = State.NEW, 0
        self._endings: dict[int, str] = {}
        self._listeners: set[Callable[[], None]] = set()

    @property
    def up(self) -> bool:
        return self.state is State.UP

    def ending_of(self, life: int) -> str | None:
        """How that life ended, in words; None while it lives, or is dying."""
        return self._endings.get(life)

    @contextlib.contextmanager
    def listening(self, listener: Callable[[], None]) -> Iterator[None]:
        """Meanwhile `listener` is called after every change."""
        self._listeners.add(listener)
        try:
            yield
        finally:
            self._listeners.discard(listener)

    def told(self, state: str, life: int, endings: Mapping[str, str]) -> None:
        """It stands so. state: the name of a State; endings: by numbers of lives."""
        self.state, self.life = State[state], life
        self._endings = {int(number): words for number, words in endings.items()}
        for listener in list(self._listeners):
            listener()
