"""One front process: everything of a worker that carries requests, and nothing that may be there only once."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import dataclasses
import itertools
import os
import pickle
import socket
import traceback
from typing import TYPE_CHECKING, Any

from aiohttp import web

import utils
from clock import awake
from engine import Served
from front import process
from front.http import balancers, listening, metrics
from front.http.keys import Keys
from front.http.manners import Manners, Stage
from front.http.measured import heading, measuring
from front.http.page.routes import Page
from front.http.processes import rooms
from front.http.processes.channel import Channel
from front.http.processes.lease import Lease
from front.http.processes.mirror import Mirror
from front.http.processes.reports import Reporting
from front.http.processes.rooms import FarRoom
from front.http.processes.wire import Message
from front.http.serve import CLOSING
from front.http.server import Front
from job.worker import Worker
from meter import setup

if TYPE_CHECKING:
    from settings.config import Settings

_BEAT = 1.0      # seconds between two reports


class FrontProcess:
    """channel: to the owner; listener: the socket on which it accepts connections."""

    def __init__(self, channel: socket.socket, listener: socket.socket):
        self._end, self._listener = channel, listener
        self._numbers = itertools.count(1)
        self._asked: dict[int, asyncio.Future[Any]] = {}  # questions and memory, by number
        self._mirror = Mirror()
        self._leaving = False
        self._settings: Settings | None = None
        self._worker: Worker | None = None
        self._tasks: set[asyncio.Task[Any]] = set()

    async def run(self) -> None:
        """Until the owner says so."""
        self._closing = asyncio.Event()
        self._stack = contextlib.AsyncExitStack()
        self._channel = Channel(self._heard, self._orphaned)
        await self._channel.open(self._end)
        await self._closing.wait()
        await self._stack.aclose()
        await asyncio.to_thread(self._meter.close_now)

    def _orphaned(self) -> None:
        if not self._closing.is_set():  # nobody is there for whom this would be carried on
            os._exit(1)

    # ------------------------------------------------------------ what it is made of
    def _made(self, settings: Settings) -> None:
        utils.hide(settings.secrets)
        utils.set_log_level(settings.log_level)
        http, send = settings.http, self._channel.send
        # What all streams of a worker share is shared out evenly.
        settings = self._settings = dataclasses.replace(settings, stream_posts=settings.stream_posts / http.processes)
        self._meter = Reporting(send)
        self._meter.tokens_an_event = settings.telemetry.interval
        setup.export(self._meter, settings.telemetry, metrics=False)
        self._lease = Lease(http.queue_seconds, send)
        keys = Keys(http.keys)
        manners = Manners.of(http)
        self._front = Front(keys, self._lease, manners, self._stage)
        self._front.bodies.room = self._room(rooms.BODIES)
        page = Page(keys, lambda seen: self._ask("state", seen))
        app = self._front.app([*page.routes(), *balancers.routes(keys, self._stage, settings.served_model_name, manners,
                                                                 settings.allowed_routes)])
        app.middlewares.append(measuring(self._meter, self._stage, settings.allowed_routes))
        app.on_response_prepare.append(heading)
        if http.health_port == http.port:
            metrics.add(app, lambda: self._ask("metrics", None), keys)
        self._app: web.Application = app
        engine = Served(settings.port, settings.api_key, self._mirror)
        worker = self._worker = Worker(settings, engine, comments=True, meter=self._meter)
        worker.media.room = self._room(rooms.MEDIA)
        worker.share = self._share
        self._stack.push_async_callback(worker.close)
        process.settle_memory()
        self._keep(self._beating())
        send(["up"])

    def _room(self, which: str) -> FarRoom:
        return FarRoom(which, self._channel.send, lambda: next(self._numbers), self._asked)

    def _stage(self) -> Stage:
        if self._leaving:
            return Stage.LEAVING
        return Stage.READY if self._mirror.up else Stage.STARTING

    # ------------------------------------------------------------ what the owner says
    def _heard(self, message: Message) -> None:
        try:
            self._obey(*message)
        except Exception:  # whatever that leaves, another process begins anew
            utils.log("a front process fails\n" + traceback.format_exc(), "error")
            os._exit(1)

    def _obey(self, word: str, *about: Any) -> None:
        if word == "grant":
            self._lease.granted(*about)
        elif word == "refuse":
            self._lease.refused(*about)
        elif word == "pressed":
            self._lease.pressed(*about)
        elif word == "full":
            self._lease.full(*about)
        elif word == "seen":
            self._lease.seen(*about)
        elif word == "room":
            number, got, which = about
            rooms.settle(self._asked, number, got, self._room(which))
        elif word == "reply":
            number, text = about
            if (asked := self._asked.pop(number, None)) and not asked.done():
                if text is None:
                    asked.set_exception(RuntimeError("The worker's own process could not answer."))
                else:
                    asked.set_result(text)
        elif word == "stand":
            self._mirror.told(*about)
        elif word == "deaths":
            assert self._worker is not None
            self._worker.quarantine.learn(*about)
        elif word == "hello":
            self._made(pickle.loads(base64.b64decode(about[0])))
        elif word == "serve":
            self._keep(self._serve(pickle.loads(base64.b64decode(about[0])), about[1]))
        elif word == "leave":
            self._leaving = True
            self._keep(self._drained())
        elif word == "fail":
            self._keep(self._fail())
        elif word == "end":
            self._closing.set()

    async def _serve(self, learned: tuple[Any, ...], limit: int) -> None:
        assert self._worker is not None
        process.allow_files(limit)
        self._lease.limit = limit
        self._worker.learn_from(learned)
        self._front.answer, self._front.dial = self._worker.answer, self._worker.dial
        await listening.serve(self._stack, self._app, self._listener)

    async def _drained(self) -> None:
        if running := set(self._front.running):
            await asyncio.wait(running)
        self._channel.send(["drained"])

    async def _fail(self) -> None:
        assert self._worker is not None
        await self._front.cut_off(self._worker.fail_all, CLOSING)
        self._channel.send(["drained"])

    # ------------------------------------------------------------ what it says
    async def _beating(self) -> None:
        assert self._worker is not None
        while True:
            await asyncio.sleep(_BEAT)
            events, ttfts = self._meter.figures()
            self._channel.send(["figures", events, ttfts, awake() - self._worker.upstream.last_sign])

    async def _ask(self, what: str, about: Any) -> bytes:
        number, asked = next(self._numbers), asyncio.get_running_loop().create_future()
        self._asked[number] = asked
        self._channel.send(["question", number, what, about])
        try:
            text: str = await asked
            return text.encode()
        finally:
            self._asked.pop(number, None)

    async def _share(self, life: int, key: str) -> None:
        await self._ask("death", [life, key])

    def _keep(self, what: Any) -> None:
        task = asyncio.get_running_loop().create_task(what)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()):
            utils.log("a front process fails\n" + "".join(traceback.format_exception(error)), "error")
            os._exit(1)
