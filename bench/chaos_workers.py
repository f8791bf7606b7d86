"""The workers of a chaos run: started, told to stop in order, and asked what their engines know."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import time

import aiohttp

from bench import chaos_plan
from bench.chaos_engine import EngineWatch, gone, tree
from bench.chaos_report import Report
from local.platform_records import Job
from local.runpod_platform import Platform
from tests.worker import WorkerProcess, contract_environ

_PING = 1000  # milliseconds, of which the SDK takes whole seconds
_STOP_WITHIN = 5.0  # seconds; it takes milliseconds on an idle machine


class Workers:
    """all: (process, its engine watched, the watching), in the order of their start; stopping: when each was told to
    stop (time.monotonic). What is not in order goes to `report`."""

    def __init__(self, platform: Platform, report: Report, jobs: dict[int, Job], concurrency: int):
        self._platform, self._report, self._jobs, self._concurrency = platform, report, jobs, concurrency
        self.all: list[tuple[WorkerProcess, EngineWatch, asyncio.Task]] = []
        self.stopping: dict[str, float] = {}

    async def begin(self, stack: contextlib.AsyncExitStack) -> None:
        """`stack` ends what is started from now on."""
        self._stack = stack
        self._session = await stack.enter_async_context(aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(10)))

    async def start(self) -> None:
        name = f"worker-{len(self.all) + 1}"
        environ = contract_environ(**chaos_plan.ENVIRON, MAX_CONCURRENCY=str(self._concurrency))
        worker = WorkerProcess(self._platform, environ)
        worker.environ |= self._platform.worker_environ(name) | {"RUNPOD_PING_INTERVAL": str(_PING)}
        await self._stack.enter_async_context(worker)
        watch = EngineWatch(worker.process.pid)
        following = asyncio.create_task(watch.run())
        self._stack.callback(following.cancel)
        self.all.append((worker, watch, following))
        await worker.line("serving tiny", 120)

    async def stop(self, number: int) -> None:
        """SIGTERM, and an orderly end."""
        worker, watch, following = self.all[number]
        name = f"worker-{number + 1}"
        children = set(await asyncio.to_thread(tree, worker.process.pid))
        await self.measure_stops(worker)
        following.cancel()  # its engine is about to be stopped on purpose
        self.stopping[name] = time.monotonic()
        worker.process.send_signal(signal.SIGTERM)
        try:
            status = await worker.ended(120)
        except TimeoutError:
            self._report.problems.append(f"{name} did not end within 120 s of SIGTERM")
            return
        if status != 0:
            self._report.problems.append(f"{name} ended with {status}:\n" + "\n".join(worker.lines[-30:]))
        left = [pid for pid in children if not gone(pid)]
        if left:
            self._report.problems.append(f"{name} left processes behind: {left}")

    async def settled(self) -> frozenset[str]:
        """The jobs that the second worker still reports once there is nothing left to do."""
        record = self._platform.store.workers["worker-2"]
        seen = record.last_ping
        with contextlib.suppress(TimeoutError):
            await self._platform.wait_for(lambda: record.last_ping != seen and not record.jobs, 15)
        if record.jobs:
            self._report.problems.append(f"worker-2 still holds {len(record.jobs)} jobs: {', '.join(record.jobs[:5])}")
        return frozenset(record.jobs)

    async def ask(self, worker: WorkerProcess, path: str):
        """What the engine itself says, None when there is no answer."""
        url = f"http://127.0.0.1:{worker.environ['SGLANG_PORT']}{path}"
        try:
            async with self._session.get(url) as response:
                return await response.json() if response.content_type == "application/json" else response.status
        except (aiohttp.ClientError, TimeoutError):
            return None

    async def ready(self, worker: WorkerProcess) -> None:
        while True:
            if await self.ask(worker, "/ready") == 200:
                return
            await asyncio.sleep(0.1)

    async def measure_stops(self, worker: WorkerProcess) -> None:
        """How long the present engine went on with jobs that were cancelled or out of time."""
        seen = await self.ask(worker, "/_scripted/requests") or []
        to_wall = time.time() - time.monotonic()
        stopped = {job.id: job.ended + to_wall for job in self._jobs.values()
                   if job.status in ("CANCELLED", "TIMED_OUT") and job.taken is not None}
        for request in seen:
            at = stopped.get(request["rid"])
            if at is not None:
                delay = (request["ended"] or time.time()) - at
                self._report.slowest_stop = max(self._report.slowest_stop, delay)
                if delay > _STOP_WITHIN:
                    self._report.problems.append(f"the engine went on with {request['rid']} for {delay:.1f} s after it "
                                                "was cancelled or out of time")
