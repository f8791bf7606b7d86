"""The HTTP front as a whole, where several processes carry the requests."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from aiohttp import web

import utils
from front import process
from front.http import listening
from front.http.manners import Stage
from front.http.processes.owner import Fronts
from front.http.serve import HttpFront, Passage
from meter.requests import Meter

if TYPE_CHECKING:
    from engine import Engine
    from job.worker import Worker
    from settings.config import Settings


class ManyFronts(HttpFront):
    """While the engine loads this process answers, and has nothing to give but the worker's state; then the front
    processes take over on the same port. Health on a port of its own stays here."""

    def __init__(self, settings: Settings, ending: process.Ending, meter: Meter, engine: Engine,
                 start: Callable[[], dict[str, Any]]):
        super().__init__(settings, ending, meter, engine, start)
        self._all, self._engine = settings, engine
        self._early = contextlib.AsyncExitStack()
        self._fronts: Fronts | None = None

    @property
    def passage(self) -> Passage:
        return self._fronts.ledger if self._fronts else self.gate

    @property
    def running(self) -> int:
        return self.meter.open

    def stage(self) -> Stage:
        """Ready as long as a process is there that carries requests."""
        stage = super().stage()
        return stage if stage is not Stage.READY or self._fronts and self._fronts.serving else Stage.STARTING

    def _stop(self, patience: float) -> None:
        super()._stop(patience)
        if self._fronts:
            self._fronts.leave()

    async def _begin(self, stack: contextlib.AsyncExitStack, app: web.Application, listener: socket.socket) -> None:
        fronts = self._fronts = Fronts(self._all, listener, self.meter, self._engine, {
            "metrics": self._told_metrics, "state": self._told_state}, self._ending.give_up)
        self.meter.falls = lambda: fronts.falls
        stack.push_async_callback(fronts.close)
        stack.callback(listener.close)  # before: whoever connects now is refused, and does not wait for an answer
        stack.push_async_callback(self._early.aclose)
        app.on_response_prepare.append(_last)
        await listening.serve(self._early, app, listener.dup())
        await fronts.start()

    async def _open(self, stack: contextlib.AsyncExitStack, worker: Worker, limit: int) -> None:
        assert self._fronts is not None
        stack.push_async_callback(worker.close)
        if not await self._fronts.serve(worker, limit):
            return
        await self._early.aclose()
        utils.log(f"{self._settings.processes} front processes carry the requests (HTTP_PROCESSES)")

    async def _drain(self, worker: Worker, deadline: float) -> None:
        assert self._fronts is not None
        await self._fronts.drain(deadline)

    async def _told_metrics(self, _about: Any) -> str:
        return (await self._figures.text()).decode("utf-8", "replace")

    async def _told_state(self, seen: Any) -> str:
        return (await self._news.told(seen)).decode()


async def _last(_request: web.Request, response: web.StreamResponse) -> None:
    """No connection outlives the answer: the next one belongs to a process that can carry requests."""
    response.force_close()
