"""A server in front of a real one that writes down what passes: the launch command while exchanges are recorded.

    RECORD_TO=FILE RECORD_COMMAND="PYTHON -m sglang.launch_server" python -m local.recording_engine FLAGS…

Starts RECORD_COMMAND with the same flags on a port of its own, carries every request to it, and appends one JSON line
for each to FILE when its answer has ended: {"method", "path", "body", "status", "content_type", "pieces", "ended"},
where `pieces` are the bytes of the answer as they arrived (see recorded.as_json) and `ended` is false when the
connection broke before the answer's end. GET /_recording tells the address of the server behind, once none is open.
"""

from __future__ import annotations

import asyncio
import json
import os
import shlex
import signal
import sys

import aiohttp
from aiohttp import web

from local import recorded
from local.ports import free_port

_MAX_BODY = 64 * 2**20


class Recorder:
    """`url`: of the server behind; `out`: where the lines go."""

    def __init__(self, url: str, out):
        self.url, self.out = url, out
        self._open, self._quiet = 0, asyncio.Event()
        self._quiet.set()
        self.app = web.Application(client_max_size=_MAX_BODY)
        self.app.router.add_get("/_recording", self._told)
        self.app.router.add_route("*", "/{path:.*}", self._carry)
        self._session: aiohttp.ClientSession | None = None

    async def _told(self, _request: web.Request) -> web.Response:
        await self._quiet.wait()
        return web.json_response({"url": self.url})

    async def _carry(self, request: web.Request) -> web.StreamResponse:
        if self._session is None:
            self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=None), auto_decompress=False)
        self._open += 1
        self._quiet.clear()
        raw = await request.read()
        headers = {k: v for k, v in request.headers.items() if k in ("Authorization", "Content-Type")}
        line = {"method": request.method, "path": request.raw_path, "body": json.loads(raw) if raw else None}
        pieces: list[bytes] = []
        try:
            async with self._session.request(request.method, self.url + request.raw_path, data=raw or None,
                                             headers=headers) as answer:
                line |= {"status": answer.status, "content_type": answer.headers.get("Content-Type", "")}
                response = web.StreamResponse(status=answer.status, headers={
                    "Content-Type": line["content_type"]} if line["content_type"] else {})
                await response.prepare(request)
                async for piece, _ in answer.content.iter_chunks():
                    pieces.append(piece)
                    await response.write(piece)
                await response.write_eof()
                line["ended"] = True
                return response
        except aiohttp.ClientConnectorError:
            request.transport.abort()  # the server behind does not listen yet: nobody does
            raise asyncio.CancelledError from None
        finally:
            if "status" in line:
                line = {**line, "pieces": recorded.as_json(pieces), "ended": line.get("ended", False)}
                self.out.write(json.dumps(line, ensure_ascii=False) + "\n")
                self.out.flush()
            self._open -= 1
            if not self._open:
                self._quiet.set()


async def run(flags: list[str]) -> int:
    """Until the server behind has ended; returns its status."""
    place, behind = flags.index("--port") + 1, free_port()
    port, flags[place] = int(flags[place]), str(behind)
    server = await asyncio.create_subprocess_exec(*shlex.split(os.environ["RECORD_COMMAND"]), *flags)
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, server.terminate)
    with open(os.environ["RECORD_TO"], "a", encoding="utf-8") as out:
        runner = web.AppRunner(Recorder(f"http://127.0.0.1:{behind}", out).app, access_log=None,
                               handler_cancellation=True, shutdown_timeout=1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", port).start()
        status = await server.wait()
        await runner.cleanup()
    return status if status >= 0 else 128 - status


if __name__ == "__main__":
    sys.exit(asyncio.run(run(sys.argv[1:])))
