"""The soak over HTTP: many short requests to one real worker process, some of whose clients go away in the middle."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable

import aiohttp

from bench.chaos_checks import READERS, Corrupt
from bench.soak import Report, fed, question
from tests.support import free_port
from tests.worker import WorkerProcess, contract_environ

_ROUTES = {"messages": "/v1/chat/completions", "text": "/generate", "prompt": "/v1/completions"}
_LEAVES = 25  # one in so many goes away after the first bytes of an endless stream


async def run(jobs: int, concurrency: int, every: int, progress: Callable[[str], None]) -> Report:
    """Send the requests, `concurrency` at a time, and sample the worker. A request that runs has a connection on each
    side, and either is closed when its client goes away: their number breathes."""
    report, started = Report(jobs, concurrency, breath=concurrency // 2), time.monotonic()
    environ = contract_environ(MAX_CONCURRENCY=str(concurrency), WORKER_MODE="http", HOST="127.0.0.1",
                               PORT=str(free_port()))
    async with WorkerProcess(None, environ) as worker, aiohttp.ClientSession(
            f"http://127.0.0.1:{environ['PORT']}", connector=aiohttp.TCPConnector(limit=0)) as session:
        await worker.line("serving over HTTP", 120)

        async def ask(index: int) -> None:
            async with asyncio.timeout(120):
                await (_left(session, index) if index % _LEAVES == 0 else _asked(session, index))

        await fed(report, worker, concurrency, every, progress, ask)
    report.seconds = time.monotonic() - started
    return report


async def _asked(session: aiohttp.ClientSession, index: int) -> None:
    body, reading, text = question(index)
    route = next(path for field, path in _ROUTES.items() if field in body)
    async with session.post(route, json=body) as response:
        output = [await response.text() if reading.endswith("stream") else await response.json()]
        if response.status != 200 or READERS[reading](output) != [text]:
            raise Corrupt(f"{response.status} {output}")


async def _left(session: aiohttp.ClientSession, index: int) -> None:
    script = json.dumps({"tokens": 9, "hang_at": 3})
    body = {"messages": [{"role": "user", "content": f"Answer {index}. #script {script}"}], "stream": True}
    async with session.post(_ROUTES["messages"], json=body) as response:
        if response.status != 200 or not await response.content.readany():
            raise Corrupt(f"{response.status}, and no beginning")
        response.close()
