"""The HTTP front as a whole: up before the engine is, ready with it, drained before it ends."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from aiohttp import web

import utils
from clock import awake
from front import process
from front.http import balancers, listening, metrics
from front.http.gate import Gate
from front.http.keys import Keys
from front.http.manners import Manners, Stage
from front.http.measured import heading, measuring
from front.http.page.news import News
from front.http.page.routes import Page
from front.http.page.view import View
from front.http.server import Front
from meter.prometheus import Prometheus
from meter.requests import Meter

if TYPE_CHECKING:
    from engine import Engine
    from job.worker import Worker
    from settings.config import Settings

AT_ONCE = 256    # requests, where the server does not say how many it runs
CLOSING = 5.0    # seconds for answers that were cut off to be sent

Ready = TypeVar("Ready")


class Passage(Protocol):
    """What is told of how many requests run at once, and wait."""

    @property
    def limit(self) -> int: ...

    @property
    def waiting(self) -> int: ...


class HttpFront:
    """One worker's HTTP server, which serves until `ending` says that the process has to end. meter: is told of every
    request; engine: which loads meanwhile; start: how far it is, see start/start_report.py report()."""

    def __init__(self, settings: Settings, ending: process.Ending, meter: Meter, engine: Engine,
                 start: Callable[[], dict[str, Any]]):
        self._settings, self._ending, self.meter = settings.http, ending, meter
        self._model = settings.served_model_name
        self._engine_measures = settings.telemetry.engine_metrics is not False
        self._worker: Worker | None = None
        self._leaving = False
        self._keys = Keys(settings.http.keys)
        self.gate = Gate(1, settings.http.queue_seconds)
        self._opened, self._manners = settings.allowed_routes, Manners.of(settings.http)
        self.front = Front(self._keys, self.gate, self._manners, self.stage)
        self._measuring = measuring(meter, self.stage, self._opened)
        figures = Prometheus(meter)
        self._figures = metrics.Figures(figures)
        meter.sinks.append(figures)
        meter.waiting = lambda: self.passage.waiting
        self._view = View(settings.served_model_name, engine, start, meter.summary, lambda: self.passage.limit,
                          lambda: self.stage() is Stage.LEAVING)
        self._news = News(self._view)

    @property
    def passage(self) -> Passage:
        return self.gate

    @property
    def running(self) -> int:
        """Requests under way."""
        return len(self.front.running)

    def stage(self) -> Stage:
        """What is said of this worker where its health is asked."""
        if self._leaving or self._ending.status:
            return Stage.LEAVING
        return Stage.READY if self._worker and self._worker.engine.up else Stage.STARTING

    def run(self, prepare: Callable[[], tuple[Worker, int | None]]) -> None:
        """Serve until the end. `prepare` waits until the engine is ready, and gives the worker and how many requests
        it runs at once, None if that is unknown; it is called in a thread, for it blocks. Raises what it raises."""
        self._prepare = prepare
        self._ending.run(self._serve, self._stop)

    def _stop(self, patience: float) -> None:
        self._leaving = True
        self._view.changed()
        if not self._stopping.done():
            self._stopping.set_result(awake() + patience)
            utils.log(f"stopping: {self.running} running requests have {patience:.0f} s to finish (DRAIN_TIMEOUT)")

    async def _serve(self) -> None:
        self._stopping: asyncio.Future[float] = asyncio.get_running_loop().create_future()
        settings = self._settings
        async with contextlib.AsyncExitStack() as stack:
            app = self.front.app([*Page(self._keys, self._news.told).routes(),
                                  *balancers.routes(self._keys, self.stage, self._model, self._manners, self._opened)])
            app.middlewares.append(self._measuring)
            app.on_response_prepare.append(heading)
            apart = settings.health_port != settings.port
            health = self.front.health_app() if apart else app
            metrics.add(health, self._figures.text, None if apart else self._keys)
            await self._begin(stack, app, listening.bound(settings.host, settings.port))
            if apart:
                await listening.serve(stack, health, listening.bound(settings.host, settings.health_port))
            stack.push_async_callback(self._news.farewell)
            utils.log(f"listening on {settings.host}:{settings.port}, because {settings.reason}")
            preparing = in_a_thread(self._prepare)
            first: set[asyncio.Future[Any]] = {preparing, self._stopping}
            await asyncio.wait(first, return_when=asyncio.FIRST_COMPLETED)
            if not preparing.done():  # told to stop while the engine loads: whoever called `run` stops the engine
                return
            worker, limit = preparing.result()
            self._figures.engine = worker.engine.get if self._engine_measures else None
            await self._open(stack, worker, limit or AT_ONCE)
            self._worker = self._view.worker = worker
            self._view.changed()
            if not self._leaving:
                utils.log(f"serving over HTTP with up to {self.passage.limit} requests at once")
            await self._drain(worker, await self._stopping)

    # ------------------------------------------------------------ where requests are carried, here in this process
    async def _begin(self, stack: contextlib.AsyncExitStack, app: web.Application, listener: socket.socket) -> None:
        """Listen, while the engine loads."""
        await listening.serve(stack, app, listener)

    async def _open(self, stack: contextlib.AsyncExitStack, worker: Worker, limit: int) -> None:
        """Requests are carried from now on."""
        process.allow_files(limit)
        self.gate.limit = limit
        stack.push_async_callback(worker.close)
        self.front.answer, self.front.dial = worker.answer, worker.dial

    async def _drain(self, worker: Worker, deadline: float) -> None:
        """Until nothing runs any more, or was cut off after `deadline` (clock.awake)."""
        if running := set(self.front.running):
            await asyncio.wait(running, timeout=max(0.0, deadline - awake()))
        await self.front.cut_off(worker.fail_all, CLOSING)


def in_a_thread(prepare: Callable[[], Ready]) -> asyncio.Future[Ready]:
    """What `prepare` gives or raises, called in a thread that nothing waits for."""
    # Not one of the loop's own threads: its end would wait for this one, which waits for the engine.
    loop = asyncio.get_running_loop()
    done: asyncio.Future[Ready] = loop.create_future()

    def settle(ready: list[Ready], error: BaseException | None) -> None:
        if done.done():
            return
        if error is not None:
            done.set_exception(error)
        else:
            done.set_result(ready[0])

    def run() -> None:
        ready: list[Ready] = []
        error: BaseException | None = None
        try:
            ready.append(prepare())
        except BaseException as raised:
            error = raised
        with contextlib.suppress(RuntimeError):  # the loop has ended meanwhile
            loop.call_soon_threadsafe(settle, ready, error)

    threading.Thread(target=run, name="http-prepare", daemon=True).start()
    return done


def front_of(settings: Settings, ending: process.Ending, meter: Meter, engine: Engine,
             start: Callable[[], dict[str, Any]]) -> HttpFront:
    """The front that the settings want: requests are carried by this process, or by several others."""
    if settings.http.processes == 1:
        return HttpFront(settings, ending, meter, engine, start)
    from front.http.processes.serve import ManyFronts
    return ManyFronts(settings, ending, meter, engine, start)
