"""A worker that is frozen and thawed, its connections to the platform kept, closed, or vanished without a word."""

import asyncio
import contextlib
import functools
import os
import signal
from collections.abc import Awaitable, Callable

import pytest

from clock import LONGEST
from local.forwarder import Forwarder
from local.frost import freeze, frozen, thaw
from local.runpod_platform import Platform
from server.guard import descendants
from tests.contract.front.test_faults import ask, spoken, whole
from tests.support import say
from tests.worker import WorkerProcess, contract_environ

pytestmark = [pytest.mark.asyncio, pytest.mark.timeout(240)]
FROST = LONGEST + 1.0  # seconds: enough to be noticed
WAYS = ["kept", "closed", "vanished", "vanished for both"]
WAITS = 50.0  # seconds; a long poll and its limit are longer than that


@contextlib.asynccontextmanager
async def stack(**environ: str):
    """A platform whose long polls outlast every test, a worker, and the forwarder between them."""
    async with Platform(long_poll=600) as platform, Forwarder(platform.port) as forwarder:
        worker = WorkerProcess(platform, contract_environ(**environ))
        worker.environ = forwarder.environ(worker.environ)
        async with worker:
            await worker.connected()
            await platform.wait_for(lambda: platform.begun["job-stop"])
            yield platform, worker, forwarder


async def frost(worker: WorkerProcess, forwarder: Forwarder, way: str, seconds: float = FROST) -> None:
    """Freeze the worker for a while, and do to its connections what `way` says."""
    with frozen(worker.process.pid):
        if way == "closed":
            forwarder.close()
        elif way != "kept":
            forwarder.swallow(told=way == "vanished")
        await asyncio.sleep(seconds)


async def each(case: Callable[[str], Awaitable[None]], ways: list[str]) -> None:
    """A worker for each of the ways, all at the same time: most of it they are frozen."""
    async with asyncio.TaskGroup() as group:
        for way in ways:
            group.create_task(case(way), name=way)


def polls(platform: Platform) -> int:
    return platform.begun["job-take"] + platform.begun["job-take-batch"]


async def test_an_idle_worker_asks_anew():
    await each(idle, WAYS)


async def idle(way: str) -> None:
    async with stack() as (platform, worker, forwarder):
        before, stops = polls(platform), platform.begun["job-stop"]
        await frost(worker, forwarder, way)
        await platform.wait_for(lambda: polls(platform) > before and platform.begun["job-stop"] > stops, WAITS)
        if way == "vanished for both":
            # What the platform hands out to a connection that is none is lost to the worker. It puts it back.
            lost = await platform.submit({"messages": say({"text": "Lost."})})
            await lost.until(lambda job: job.status == "IN_PROGRESS")
            if not lost.is_final:
                platform.requeue(lost.id)
        jobs = [await platform.submit({"messages": say({"text": "Paris."})}) for _ in range(3)]
        for job in jobs:
            await job.finished(WAITS)
            assert job.output[0]["choices"][0]["message"]["content"] == "Paris."
        await worker.line("thawed after ")
        assert worker.output.count("thawed after ") == 1 and "restarting" not in worker.output


async def test_a_stream_goes_on_where_it_was():
    await each(streaming, WAYS)


async def streaming(way: str) -> None:
    async with stack() as (platform, worker, forwarder):
        job = await platform.submit({"messages": say({"tokens": 60, "tps": 30}), "stream": True})
        await job.chunk(0)
        await frost(worker, forwarder, way)
        await job.finished(WAITS)
        assert job.status == "COMPLETED", job.error
        assert spoken(job) == whole(60)
        assert worker.output.count("thawed after ") == 1 and job.attempts == 1


@pytest.mark.parametrize("kind", ["job-stream", "job-done"])
async def test_a_post_under_way_is_delivered_once(kind):
    await each(functools.partial(posting, kind), WAYS)


async def posting(kind: str, way: str) -> None:
    async with stack() as (platform, worker, forwarder):
        # Held by the platform meanwhile; one whose connection lives is taken after all, and its answer may be lost.
        platform.faults.slow(kind, FROST / 2, times=1)
        job = await platform.submit({"messages": say({"tokens": 9}), "stream": True})
        await platform.wait_for(lambda: platform.begun[kind])
        await frost(worker, forwarder, way)
        await job.finished(WAITS)
        assert job.status == "COMPLETED", job.error
        assert spoken(job) == whole(9)
        assert [call.status for call in platform.calls_of("job-done", job.id)].count(200) >= 1


async def test_a_job_can_be_stopped_after_a_thaw():
    async with stack() as (platform, worker, forwarder):
        job = await platform.submit({"messages": say({"tokens": 9, "hang_at": 2}), "stream": True})
        await job.chunk(0)
        stops = platform.begun["job-stop"]
        await frost(worker, forwarder, "vanished")
        await platform.wait_for(lambda: platform.begun["job-stop"] > stops, WAITS)
        await platform.cancel(job.id)
        await worker.line(f'"{job.id}", "message": "Job stopped."', WAITS)


async def test_an_engine_that_is_restarting_is_waited_for():
    async with stack(SCRIPTED_ENGINE_LIFE='{"ready_delay": 1.0}') as (platform, worker, forwarder):
        asked = polls(platform)
        await platform.submit({"messages": say({"die_at": 0, "die_code": 7})})
        await worker.line("restarting the engine")
        await platform.wait_for(lambda: polls(platform) > asked)
        job = await platform.submit({"messages": say({"text": "Paris."})})
        await platform.wait_for(lambda: polls(platform) > asked + 1)  # so the worker has what it asked for before
        await frost(worker, forwarder, "vanished")
        await job.finished(WAITS)
        assert job.output[0]["choices"][0]["message"]["content"] == "Paris."
        assert worker.output.count("restarting the engine") == 1


async def test_frozen_time_is_no_sign_that_the_engine_hangs():
    hang = 8.0
    async with stack(SGLANG_HANG_TIMEOUT=str(hang)) as (platform, worker, _):
        engine = (await ask(worker, "/_scripted/process"))["pid"]
        os.kill(engine, signal.SIGSTOP)
        await asyncio.sleep(hang / 4)  # the search for hangs has begun to ask
        with frozen(worker.process.pid):
            await asyncio.sleep(hang + 1)
        job = await platform.submit({"messages": say({"text": "Paris."})})
        await job.finished(WAITS)
        assert job.output[0]["choices"][0]["message"]["content"] == "Paris."
        assert "no sign of life" not in worker.output and (await ask(worker, "/_scripted/process"))["pid"] == engine


async def test_an_engine_that_did_not_come_through_is_restarted_before_the_first_job():
    async with stack() as (platform, worker, _):
        engine = (await ask(worker, "/_scripted/process"))["pid"]
        stopped = freeze(worker.process.pid)
        await asyncio.sleep(FROST)
        os.kill(engine, signal.SIGKILL)
        job = await platform.submit({"messages": say({"text": "Paris."})})
        thaw(stopped)
        await job.finished(WAITS)
        assert job.output[0]["choices"][0]["message"]["content"] == "Paris." and job.attempts == 1
        assert "restarting the engine" in worker.output


async def test_a_worker_that_was_told_to_end_still_has_its_time():
    async with stack(DRAIN_TIMEOUT="4") as (platform, worker, forwarder):
        job = await platform.submit({"messages": say({"tokens": 30, "tps": 20}), "stream": True})
        await job.chunk(0)
        worker.process.terminate()
        await worker.line("stopping: ")
        await frost(worker, forwarder, "kept", 25.0)  # longer than all that the end may take
        await job.finished(WAITS)
        assert job.status == "COMPLETED" and spoken(job) == whole(30)
        assert await worker.ended(WAITS) == 0


async def stopped_for_good(pid: int) -> None:
    """Return once the kernel says that the process is stopped; fails with the test's own limit."""
    while True:
        with open(f"/proc/{pid}/stat") as stat:
            if stat.read().rpartition(")")[2].split()[0] == "T":
                return
        await asyncio.sleep(0)


async def test_every_process_of_a_worker_is_frozen():
    async with stack() as (_, worker, _forwarder):
        with frozen(worker.process.pid) as stopped:
            assert set(stopped) == {worker.process.pid, *descendants(worker.process.pid)} and len(stopped) >= 4
            for pid in stopped:
                await stopped_for_good(pid)
