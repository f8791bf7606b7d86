"""A server that answers what a real one once answered: the worker's launch command where exchanges are replayed.

    REPLAY_FOLDER=tests/recorded/GROUP python -m local.replay_engine FLAGS…      (of the flags only --port counts)

A request gets the answer of the recorded exchange that is most like it, in the pieces that `GET /_replay?cut=` chose
last: "recorded" as they arrived then, "whole" at once, a number of bytes each, or "utf8" (inside every character of
several bytes and every event's end). What was never recorded is 404, and POST /abort_request is always 200.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from pathlib import Path

from aiohttp import web

from local.recorded import Exchange, Group
from local.scripted_faults import pieces_of


class Replay:
    """The routes over one group."""

    def __init__(self, group: Group):
        self.group, self.cut = group, "recorded"
        self.app = web.Application(client_max_size=2**26)
        self.app.router.add_get("/_replay", self._set_cut)
        self.app.router.add_route("*", "/{path:.*}", self._answer)

    async def _set_cut(self, request: web.Request) -> web.Response:
        self.cut = request.query["cut"]
        return web.json_response({"cut": self.cut})

    def _pieces(self, exchange: Exchange) -> list[bytes]:
        if self.cut == "recorded" or not exchange.answer:
            return list(exchange.pieces)
        if self.cut == "whole":
            return [exchange.answer]
        return pieces_of(exchange.answer, int(self.cut) if self.cut.isdigit() else self.cut)

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        raw = await request.read()
        path = request.raw_path.replace("/get_", "/")  # the server's older names for its state
        exchange = self.group.find(request.method, path, json.loads(raw) if raw else None)
        if exchange is None:
            known = path in ("/abort_request", "/ready", "/health")
            return web.Response() if known else web.json_response({"detail": "Not Found"}, status=404)
        if not exchange.streamed:
            return web.Response(status=exchange.status, body=exchange.answer,
                                headers={"Content-Type": exchange.content_type} if exchange.content_type else {})
        response = web.StreamResponse(status=exchange.status, headers={"Content-Type": exchange.content_type})
        await response.prepare(request)
        for piece in self._pieces(exchange):
            await response.write(piece)
            await asyncio.sleep(0.0005)  # two writes in one turn would reach the reader as one segment
        await response.write_eof()
        return response


async def run(port: int, folder: Path) -> int:
    """Until SIGTERM."""
    runner = web.AppRunner(Replay(Group.read(folder)).app, access_log=None, shutdown_timeout=1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    print("The server is fired up and ready to roll!", file=sys.stderr, flush=True)
    stopping = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopping.set)
    await stopping.wait()
    await runner.cleanup()
    return 0


if __name__ == "__main__":
    sys.exit(asyncio.run(run(int(sys.argv[sys.argv.index("--port") + 1]), Path(os.environ["REPLAY_FOLDER"]))))
