"""Jobs are taken when there is room and begin when they are taken: sdk_fast.py on the SDK's own JobScaler."""

import asyncio
import contextlib

import pytest
from runpod.serverless.modules import rp_scale
from runpod.serverless.modules.worker_state import JobsProgress

from front.queue import sdk_fast

pytestmark = [pytest.mark.asyncio, pytest.mark.timeout(30)]
CONCURRENCY = 8


class Shop:
    """A platform of jobs that are handed out when asked for and run until they are released."""

    def __init__(self, scaler_class):
        self.scaler = scaler_class({"handler": None, "concurrency_modifier": lambda _: CONCURRENCY})
        self.scaler.jobs_fetcher, self.scaler.jobs_handler = self.fetch, self.handle
        self.waiting: asyncio.Queue[str] = asyncio.Queue()
        self.asked: list[int] = []
        self.running: dict[str, asyncio.Event] = {}
        self.ended: list[str] = []
        self.change = asyncio.Condition()

    async def fetch(self, _session, count):
        self.asked.append(count)
        jobs = [await self.waiting.get()]
        while len(jobs) < count and not self.waiting.empty():
            jobs.append(self.waiting.get_nowait())
        return [{"id": name, "input": {}} for name in jobs]

    async def handle(self, _session, _config, job):
        self.running[job["id"]] = release = asyncio.Event()
        async with self.change:
            self.change.notify_all()
        try:
            await release.wait()
        finally:
            del self.running[job["id"]]
            self.ended.append(job["id"])

    async def until(self, true):
        async with self.change:
            await self.change.wait_for(true)

    def add(self, *names):
        for name in names:
            self.waiting.put_nowait(name)


@contextlib.asynccontextmanager
async def opened(monkeypatch, scaler_class=None):
    """A shop whose loops run, and the pauses longer than a moment that anything asked for meanwhile."""
    shop, pauses, sleep = Shop(scaler_class or sdk_fast.prompt(rp_scale.JobScaler)), [], asyncio.sleep

    async def noted(seconds, *rest):
        if seconds:
            pauses.append(seconds)
        await sleep(seconds, *rest)

    monkeypatch.setattr(asyncio, "sleep", noted)
    loops = shop.loops = [asyncio.create_task(loop(None)) for loop in (shop.scaler.get_jobs, shop.scaler.run_jobs)]
    try:
        yield shop, pauses
    finally:
        for task in [*loops, *shop.scaler.jobs_tasks.values()]:
            task.cancel()
        await asyncio.gather(*loops, return_exceptions=True)
        JobsProgress().clear()


def names(count, start=0):
    return [f"job-{i}" for i in range(start, start + count)]


async def test_a_burst_is_taken_and_begun_without_a_pause(monkeypatch):
    async with opened(monkeypatch) as (shop, pauses):
        shop.add("job-0")
        await shop.until(lambda: len(shop.running) == 1)
        shop.add(*names(5, 1))  # with these more than half of the concurrency is queued at once
        await shop.until(lambda: len(shop.running) == 6)
        shop.add(*names(2, 6))
        await shop.until(lambda: len(shop.running) == 8)
        assert pauses == []
        assert max(shop.asked) == CONCURRENCY and min(shop.asked) >= 1


async def test_the_sdks_own_loops_do_pause(monkeypatch):
    """What is corrected is there to be corrected; when this fails, sdk_fast.py may go."""
    async with opened(monkeypatch, rp_scale.JobScaler) as (shop, pauses):
        shop.add(*names(5))
        await shop.until(lambda: len(shop.running) == 5)
        assert 1 in pauses or 0.1 in pauses


async def test_a_full_worker_asks_again_when_a_job_ends(monkeypatch):
    async with opened(monkeypatch) as (shop, pauses):
        shop.add(*names(CONCURRENCY + 2))
        await shop.until(lambda: len(shop.running) == CONCURRENCY)
        assert shop.waiting.qsize() == 2
        shop.running["job-3"].set()
        await shop.until(lambda: "job-8" in shop.running)
        shop.running["job-8"].set()
        await shop.until(lambda: "job-9" in shop.running)
        assert pauses == [] and len(shop.running) == CONCURRENCY
        assert shop.ended == ["job-3", "job-8"]


async def test_jobs_that_were_taken_last_are_run_before_the_loops_end(monkeypatch):
    async with opened(monkeypatch) as (shop, _):
        shop.add(*names(3))
        await shop.until(lambda: len(shop.running) == 3)
        shop.scaler.kill_worker()
        shop.add("last")  # answers the poll that was open
        await shop.until(lambda: "last" in shop.running)
        assert shop.loops[0].done() and not shop.loops[1].done()
        for release in list(shop.running.values()):
            release.set()
        await shop.loops[1]
        assert sorted(shop.ended) == ["job-0", "job-1", "job-2", "last"]


async def test_a_full_worker_that_is_told_to_stop_does_not_wait_for_room(monkeypatch):
    async with opened(monkeypatch) as (shop, _):
        shop.add(*names(CONCURRENCY))
        await shop.until(lambda: len(shop.running) == CONCURRENCY)
        shop.scaler.kill_worker()
        await shop.loops[0]


async def test_a_job_that_is_stopped_before_its_first_step_leaves_nothing_behind(monkeypatch):
    async with opened(monkeypatch) as (shop, _):
        create = asyncio.create_task

        def stopped(coroutine, **options):
            task = create(coroutine, **options)
            if "handle_job" in repr(coroutine):
                task.cancel()
            return task

        monkeypatch.setattr(asyncio, "create_task", stopped)
        shop.add("job-0")
        while shop.waiting.qsize() or not shop.asked[1:]:  # noqa: ASYNC110
            await asyncio.sleep(0)
        monkeypatch.setattr(asyncio, "create_task", create)
        shop.add("job-1")
        await shop.until(lambda: "job-1" in shop.running)
        assert shop.scaler.current_occupancy() == 1 and list(shop.scaler.jobs_tasks) == ["job-1"]


async def test_a_failing_job_leaves_room(monkeypatch):
    async with opened(monkeypatch) as (shop, _):
        async def fail(_session, _config, job):
            raise ValueError(job["id"])

        good, shop.scaler.jobs_handler = shop.scaler.jobs_handler, fail
        shop.add(*names(CONCURRENCY))
        while shop.scaler.jobs_queue.qsize() or not shop.asked[1:]:  # noqa: ASYNC110
            await asyncio.sleep(0)
        shop.scaler.jobs_handler = good
        shop.add("good")
        await shop.until(lambda: "good" in shop.running)
        assert shop.scaler.current_occupancy() == 1
