"""The routes by which a test looks into the scripted engine and steers it: everything under /_scripted/."""

from __future__ import annotations

import asyncio
import json
import os

from aiohttp import web

from local.scripted_faults import Script
from local.scripted_state import Engine


class Control:
    """The handlers over one Engine; `children` are the processes that it started."""

    def __init__(self, engine: Engine, children):
        self.engine, self.children = engine, children

    def add_to(self, router: web.UrlDispatcher) -> None:
        for name, handler in (("requests", self.requests), ("wait", self.wait), ("process", self.process)):
            router.add_get(f"/_scripted/{name}", handler)
        for name, handler in (("script", self.set_script), ("release", self.release)):
            router.add_post(f"/_scripted/{name}", handler)

    async def requests(self, request: web.Request) -> web.Response:
        return web.json_response([r.public() for r in self.engine.matching(request.query)])

    async def wait(self, request: web.Request) -> web.Response:
        count = int(request.query.get("count", 1))
        watch = (request.query, count, asyncio.get_running_loop().create_future())
        self.engine.watchers.append(watch)
        try:
            self.engine.changed()
            await asyncio.wait_for(watch[2], float(request.query.get("timeout", 30)))
        except TimeoutError:
            return web.json_response([r.public() for r in self.engine.records], status=408)
        finally:
            self.engine.watchers.remove(watch)
        return await self.requests(request)

    async def set_script(self, request: web.Request) -> web.Response:
        self.engine.script = Script().updated(json.loads(await request.read()))
        return web.json_response({})

    async def release(self, request: web.Request) -> web.Response:
        hanging = [r for r in self.engine.matching(request.query) if r.state == "hanging"]
        for record in hanging:
            record.released = True
            record.nudge()
        return web.json_response({"released": len(hanging)})

    async def process(self, request: web.Request) -> web.Response:
        states = [r.state for r in self.engine.records]
        return web.json_response({
            "pid": os.getpid(), "children": [child.pid for child, _ in self.children],
            "running": states.count("running") + states.count("hanging"), "queued": states.count("queued"),
            "draining": self.engine.draining})
