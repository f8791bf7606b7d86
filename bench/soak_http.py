"""The soak over HTTP: many short requests to one real worker process, some of whose clients go away in the middle."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable

import aiohttp

from bench.chaos_checks import READERS, Corrupt
from bench.soak import Report, question, sample
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
        room, ended = asyncio.Semaphore(concurrency), 0

        async def one(index: int) -> None:
            nonlocal ended
            try:
                async with asyncio.timeout(120):
                    await (_left(session, index) if index % _LEAVES == 0 else _asked(session, index))
            except (Corrupt, aiohttp.ClientError, TimeoutError, ValueError) as error:
                report.wrong.append(f"request {index}: {type(error).__name__} {error}"[:500])
            ended += 1
            if ended % every == 0:
                report.samples.append(sample(worker.process.pid, ended))
            if ended % (20 * every) == 0:
                progress(f"{time.monotonic() - started:5.0f} s: {ended} of {jobs}, {report.samples[-1].values}")
                worker.lines.clear()
            room.release()

        async with asyncio.TaskGroup() as group:
            for index in range(jobs):
                await room.acquire()
                group.create_task(one(index))
        report.idle = sample(worker.process.pid, ended)
        worker.process.terminate()
        report.status = await worker.ended(60)
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
