"""The HTTP front of a node that is not the first: it says how its part of the engine stands, and where requests go."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

from aiohttp import web

import utils
from clock import awake
from front import process
from front.http import listening, shapes
from front.http.manners import Stage
from front.http.serve import in_a_thread
from front.http.server import later
from utils import JobError

if TYPE_CHECKING:
    from engine import Engine
    from settings.config import Settings


class Others(Protocol):
    """The other nodes (cluster/links.py). over: done when all of them end."""

    over: concurrent.futures.Future[None]

    def leave(self) -> None: ...


class NodeFront:
    """Serves until `ending` says that the process has to end; others: who are told of that."""

    def __init__(self, settings: Settings, ending: process.Ending, engine: Engine, others: Others):
        self._http, self._nodes = settings.http, settings.nodes
        self._ending, self._engine, self._others = ending, engine, others
        self._leaving = False

    def stage(self) -> Stage:
        """What is said of this node where its health is asked."""
        if self._leaving or self._ending.status:
            return Stage.LEAVING
        return Stage.READY if self._engine.up else Stage.STARTING

    def run(self, prepare: Callable[[], None]) -> None:
        """Serve until the end. `prepare` waits until the engine is up for the first time. Raises what it raises."""
        self._prepare = prepare
        self._ending.run(self._serve, self._stop)

    def _stop(self, patience: float) -> None:
        self._leaving = True
        if not self._stopping.done():
            self._stopping.set_result(awake() + patience)

    async def _serve(self) -> None:
        self._stopping: asyncio.Future[float] = asyncio.get_running_loop().create_future()
        http = self._http
        async with contextlib.AsyncExitStack() as stack:
            for port in dict.fromkeys((http.port, http.health_port)):
                app = web.Application()
                app.router.add_get(http.health_path, self.health)
                app.router.add_route("*", "/{path:.*}", self.elsewhere, expect_handler=later)
                await listening.serve(stack, app, listening.bound(http.host, port))
            utils.log(f"listening on {http.host}:{http.port}: node {self._nodes.rank} of {self._nodes.count}, for its "
                      "health alone")
            preparing = in_a_thread(self._prepare)
            first: set[asyncio.Future[Any]] = {preparing, self._stopping}
            await asyncio.wait(first, return_when=asyncio.FIRST_COMPLETED)
            if preparing.done():
                preparing.result()
                self._engine.watch(last_sign=lambda: 0.0, on_give_up=self._ending.give_up)
            deadline = await self._stopping
            if not self._ending.status:
                # Node 0 has running requests, which need this node's part of the engine.
                self._others.leave()
                over = asyncio.wrap_future(self._others.over)
                await asyncio.wait([over], timeout=max(0.0, deadline - awake()))

    async def health(self, _request: web.Request) -> web.Response:
        """200 while this node's part of the engine is up, 204 while it starts, 503 when it ends."""
        return web.Response(status=self.stage().value)

    async def elsewhere(self, request: web.Request) -> web.Response:
        """Anything else."""
        error = JobError(f"This is node {self._nodes.rank} of {self._nodes.count}: requests go to node 0 "
                         f"({self._nodes.host}).", type="invalid_request_error", code=421)
        return web.json_response(shapes.body(error, request.path, ""), status=error.code)


def serve(settings: Settings, ending: process.Ending, engine: Engine, others: Others,
          prepare: Callable[[], None]) -> int:
    """A node's life over HTTP; returns the worker's exit status. Raises what `prepare` does, see NodeFront.run."""
    NodeFront(settings, ending, engine, others).run(prepare)
    return ending.status
