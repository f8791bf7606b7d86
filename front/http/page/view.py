"""What the page is told of the worker: one JSON object, from what the worker knows at the moment."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from front.http.page.loads import Loads
from utils import VERSION, redact

if TYPE_CHECKING:
    from engine import Engine
    from job.worker import Worker

ENDED = "ended"


def word(engine: str, life: int, served: bool, leaving: bool) -> str:
    """The worker's state in one word. engine: the name of the engine's state (server/states.py); life: how many engines
    were started; served: one of them has been served; leaving: the process ends."""
    if engine == "GIVEN_UP":
        return ENDED
    if leaving or engine in ("STOPPING", "STOPPED"):
        return "stopping"
    if engine == "UP" and served:
        return "ready"
    return "restarting" if served or life > 1 else "starting"


class View:
    """model: the name that is served, by the settings; start: of the newest start so far, see start/start_report.py
    report(); figures: of the requests, see meter/requests.py `Meter.summary`; limit: how many run at once; leaving:
    whether the process ends; worker: None until there is one."""

    worker: Worker | None = None

    def __init__(self, model: str, engine: Engine, start: Callable[[], dict[str, Any]],
                 figures: Callable[[], dict[str, Any]], limit: Callable[[], int], leaving: Callable[[], bool]):
        self._model, self._engine, self._start, self._figures = model, engine, start, figures
        self._limit, self._leaving = limit, leaving
        self._loads = Loads(engine.get)
        self._life = 0
        self._listening: set[asyncio.Event] = set()

    @contextlib.contextmanager
    def changes(self) -> Iterator[asyncio.Event]:
        """An event that is set when `tag` may have changed, for whoever waits to clear."""
        with self._engine.changes() as changed:
            self._listening.add(changed)
            try:
                yield changed
            finally:
                self._listening.discard(changed)

    def changed(self) -> None:
        """The front is in another state: it serves, or the process ends."""
        for event in self._listening:
            event.set()

    @property
    def state(self) -> str:
        return word(self._engine.state.name, self._engine.life, self.worker is not None, self._leaving())

    @property
    def tag(self) -> str:
        """Changes whenever there is news that the page should not wait for."""
        return f"{self.state}-{self._engine.life}"

    def told(self) -> dict[str, Any]:
        """{"tag", "version": the worker's, "state": see `word`, "why": how the engine ended, "" while all is well,
        "model", "lives": how many engines were started, "start": see start/start_report.py report(), "figures": see
        meter/requests.py `Meter.summary`, with "limit": how many requests run at once, "engine": see loads.read(),
        "takes": what requests may hold, None while that is unknown}."""
        state, worker = self.state, self.worker
        if self._life != self._engine.life:
            self._life = self._engine.life
            self._loads.forget()
        return {
            "tag": self.tag, "version": VERSION, "state": state,
            "why": redact(self._engine.trouble) if state in ("restarting", ENDED) else "",
            "model": worker.context.served_model_name if worker else self._model,
            "lives": self._engine.life, "start": self._start(),
            "figures": {**self._figures(), "limit": self._limit() if worker else None},
            "engine": self._loads.known() if state == "ready" else None,
            "takes": {"chat": worker.facts.generates, "images": worker.facts.images,
                      "reasoning": worker.context.reasoning, "tokens": worker.facts.context} if worker else None}
