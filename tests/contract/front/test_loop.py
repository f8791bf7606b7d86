"""Jobs are taken when there is room, begin when they are taken, and end in order: JobLoop on a scripted platform.

What is taken, run and heard here is scripted; tests/contract/front/test_worker.py and test_faults.py run the same class
with the SDK's own functions against the platform's stand-in.
"""

import asyncio
import contextlib

import pytest
from runpod.http_client import TooManyRequests
from runpod.serverless.modules.rp_logger import RunPodLogger
from runpod.serverless.modules.worker_state import JobsProgress

from clock import awake
from front.queue import loop, polls
from front.queue.delivery import Delivery
from front.queue.loop import JobLoop

pytestmark = [pytest.mark.asyncio, pytest.mark.timeout(60)]
CONCURRENCY = 8


class Posts(Delivery):
    """Takes every result at once."""

    def __init__(self):
        super().__init__()
        self.results: list[tuple[str, dict]] = []
        self.hurried: float | None = None

    async def result(self, session, job_data, job, is_stream=False):
        self.results.append((job["id"], job_data))
        self._answered[asyncio.current_task()] = awake()

    def hurry(self, limit):
        self.hurried = limit


class Shop:
    """A platform of jobs that are handed out when asked for and run until they are released."""

    def __init__(self):
        self.posts = Posts()
        self.failed = self.ended_in_order = False
        self.loop = JobLoop({}, limit=CONCURRENCY, ending=None, delivery=self.posts,
                            fail_all=self.fail_all, on_poll=lambda: None, on_end=self.on_end,
                            take=self.take, run=self.run, hear=self.hear)
        self.waiting: asyncio.Queue = asyncio.Queue()
        self.stops: asyncio.Queue = asyncio.Queue()
        self.asked: list[int] = []
        self.running: dict[str, asyncio.Event] = {}
        self.began: list[str] = []
        self.ended: list[str] = []
        self.cancelled: list[str] = []
        self.surplus = 0  # handed out beyond what was asked for
        self.deaf: set[str] = set()  # jobs that do not heed fail_all
        self.change = asyncio.Condition()

    async def take(self, _session, count):
        self.asked.append(count)
        jobs = [await self.waiting.get()]
        if isinstance(jobs[0], Exception):
            raise jobs[0]
        while len(jobs) < count + self.surplus and not self.waiting.empty():
            jobs.append(self.waiting.get_nowait())
        return [job if not isinstance(job, str) else {"id": job, "input": {}} for job in jobs]

    async def hear(self, _session):
        return [await self.stops.get()]

    async def run(self, session, _config, job):
        name = job["id"]
        self.began.append(name)
        self.running[name] = release = asyncio.Event()
        await self.changed()
        try:
            await release.wait()
            await self.posts.result(session, {"output": []}, job)
        except asyncio.CancelledError:
            self.cancelled.append(name)
            raise
        finally:
            del self.running[name]
            self.ended.append(name)

    def fail_all(self):
        self.failed = True
        for name, release in self.running.items():
            if name not in self.deaf:
                release.set()

    async def on_end(self):
        self.ended_in_order = True

    async def changed(self):
        async with self.change:
            self.change.notify_all()

    async def until(self, true):
        async with self.change:
            await self.change.wait_for(true)

    async def settled(self):
        """Every step that can be taken now was taken."""
        for _ in range(20):
            await asyncio.sleep(0)

    def add(self, *names):
        for name in names:
            self.waiting.put_nowait(name)

    def release(self, *names):
        for name in names:
            self.running[name].set()


@contextlib.asynccontextmanager
async def opened(monkeypatch=None):
    """A shop whose loop runs, and the pauses that the loop itself made meanwhile."""
    shop, pauses, sleep = Shop(), [], asyncio.sleep

    async def noted(seconds, *rest):
        if seconds:
            pauses.append(seconds)
        await sleep(seconds, *rest)

    if monkeypatch:
        monkeypatch.setattr(asyncio, "sleep", noted)
    shop.task = asyncio.create_task(shop.loop.run())
    try:
        yield shop, pauses
    finally:
        for task in [shop.task, *shop.loop.running]:
            task.cancel()
        await asyncio.wait({shop.task})
        await sleep(0)
        JobsProgress().clear()


def names(count, start=0):
    return [f"job-{i}" for i in range(start, start + count)]


# ------------------------------------------------------------------ taking
async def test_a_burst_is_taken_and_begun_without_a_pause(monkeypatch):
    async with opened(monkeypatch) as (shop, pauses):
        shop.add("job-0")
        await shop.until(lambda: len(shop.running) == 1)
        shop.add(*names(5, 1))
        await shop.until(lambda: len(shop.running) == 6)
        shop.add(*names(2, 6))
        await shop.until(lambda: len(shop.running) == 8)
        assert pauses == []
        assert max(shop.asked) == CONCURRENCY and min(shop.asked) >= 1


async def test_a_full_worker_asks_again_when_a_job_ends(monkeypatch):
    async with opened(monkeypatch) as (shop, pauses):
        shop.add(*names(CONCURRENCY + 2))
        await shop.until(lambda: len(shop.running) == CONCURRENCY)
        await shop.settled()
        assert shop.waiting.qsize() == 2
        asked = len(shop.asked)
        shop.release("job-3")
        await shop.until(lambda: "job-8" in shop.running)
        shop.release("job-8")
        await shop.until(lambda: "job-9" in shop.running)
        assert pauses == [] and len(shop.running) == CONCURRENCY
        assert shop.ended == ["job-3", "job-8"] and shop.asked[asked:] == [1, 1]


@pytest.mark.parametrize("surplus", [1, 5, 3 * CONCURRENCY])
async def test_what_is_handed_out_beyond_what_was_asked_for_runs_as_well(surplus):
    async with opened() as (shop, _):
        shop.surplus = surplus
        shop.add(*names(CONCURRENCY + surplus))
        await shop.until(lambda: len(shop.running) == CONCURRENCY + surplus)
        await shop.settled()
        assert JobsProgress().get_job_count() == CONCURRENCY + surplus
        shop.add("later")
        shop.release(*names(surplus))
        await shop.settled()
        assert "later" not in shop.running  # still as many as the worker may run
        shop.release(f"job-{surplus}")
        await shop.until(lambda: "later" in shop.running)


async def test_what_the_ping_says_is_what_runs():
    async with opened() as (shop, _):
        shop.add("a", "b")
        await shop.until(lambda: len(shop.running) == 2)
        assert set(JobsProgress().get_job_list().split(",")) == {"a", "b"}
        shop.release("a")
        await shop.settled()
        assert JobsProgress().get_job_list() == "b"


@pytest.mark.parametrize("failure", [ConnectionResetError("gone"), TypeError("odd"), TimeoutError(),
                                     Exception("Job has missing field(s): id or input.")])
async def test_a_poll_that_fails_is_followed_by_another(failure):
    async with opened() as (shop, _):
        shop.add(failure)
        shop.add("job-0")
        await shop.until(lambda: "job-0" in shop.running)


async def test_polls_that_fail_at_once_do_not_become_a_busy_loop(monkeypatch):
    async with opened(monkeypatch) as (shop, pauses):
        shop.add(*[ConnectionRefusedError() for _ in range(4)], "job-0")
        await shop.until(lambda: "job-0" in shop.running)
        assert pauses == sorted(pauses) and len(pauses) == 3 and pauses[-1] > pauses[0] > 0


async def test_too_many_requests_is_heeded(monkeypatch):
    monkeypatch.setattr(loop, "DEBOUNCE", 0.01)
    async with opened(monkeypatch) as (shop, pauses):
        shop.add(TooManyRequests(None, (), status=429), "job-0")
        await shop.until(lambda: "job-0" in shop.running)
        assert pauses == [0.01]


async def test_a_poll_that_hangs_is_closed_and_made_again(monkeypatch):
    monkeypatch.setattr(polls, "LIMIT", 0.05)
    async with opened() as (shop, _):
        while len(shop.asked) < 3:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        shop.add("job-0")
        await shop.until(lambda: "job-0" in shop.running)


async def test_what_is_no_job_is_left_out_and_its_neighbours_run(monkeypatch):
    said = []
    monkeypatch.setattr(RunPodLogger, "error", lambda self, message, *_: said.append(message))
    async with opened() as (shop, _):
        shop.add("a", {"input": {}}, None, {"id": 7}, {"id": ""}, ["x"], "b")
        await shop.until(lambda: set(shop.running) == {"a", "b"})
        assert len(said) == 5 and JobsProgress().get_job_count() == 2


# ------------------------------------------------------------------ jobs that fail
async def test_a_job_whose_run_fails_is_answered_and_leaves_room():
    async with opened() as (shop, _):
        async def fail(_session, _config, job):
            raise ValueError(job["id"])

        good, shop.loop._handle = shop.loop._handle, fail
        shop.add(*names(CONCURRENCY))
        while len(shop.posts.results) < CONCURRENCY:  # noqa: ASYNC110
            await asyncio.sleep(0)
        shop.loop._handle = good
        shop.add("good")
        await shop.until(lambda: "good" in shop.running)
        assert {name for name, _ in shop.posts.results} == set(names(CONCURRENCY))
        assert all('"code": 500' in data["error"] for _, data in shop.posts.results)
        assert len(shop.loop.running) == 1


# ------------------------------------------------------------------ stops
async def test_a_stop_reaches_a_running_job_alone():
    async with opened() as (shop, _):
        shop.add("a", "b")
        await shop.until(lambda: len(shop.running) == 2)
        shop.stops.put_nowait("a")
        await shop.settled()
        assert shop.cancelled == ["a"] and list(shop.running) == ["b"] and JobsProgress().get_job_list() == "b"


async def test_a_stop_reaches_a_job_before_its_first_step():
    async with opened() as (shop, _):
        shop.loop._begin({"id": "a", "input": {}})
        shop.loop.stop_job("a")
        shop.add("b")
        await shop.until(lambda: "b" in shop.running)
        assert shop.began == ["b"] and JobsProgress().get_job_list() == "b" and len(shop.loop.running) == 1


async def test_a_stop_that_overtakes_the_hand_out_reaches_the_job():
    async with opened() as (shop, _):
        await shop.settled()
        shop.stops.put_nowait("a")
        await shop.settled()
        shop.add("a", "b")
        await shop.until(lambda: "b" in shop.running)
        await shop.settled()
        assert shop.began == ["b"] and shop.loop.running and len(shop.loop.running) == 1


async def test_a_stop_of_nothing_is_forgotten_with_the_poll():
    async with opened() as (shop, _):
        await shop.settled()
        shop.stops.put_nowait("a")
        await shop.settled()
        shop.add("b")  # what that poll brought
        await shop.until(lambda: "b" in shop.running)
        shop.add("a")
        await shop.until(lambda: "a" in shop.running)


async def test_a_stop_of_nothing_is_forgotten_in_time(monkeypatch):
    monkeypatch.setattr(loop, "STOP_KEPT", 0.0)
    async with opened() as (shop, _):
        await shop.settled()
        shop.stops.put_nowait("a")
        await shop.settled()
        shop.add("a")
        await shop.until(lambda: "a" in shop.running)


@pytest.mark.parametrize("ends", ["stopped", "released"])
async def test_a_late_stop_does_not_reach_the_job_that_comes_again(ends):
    async with opened() as (shop, _):
        shop.add("a")
        await shop.until(lambda: "a" in shop.running)
        if ends == "stopped":
            shop.stops.put_nowait("a")
        else:
            shop.release("a")
        await shop.settled()
        assert shop.ended == ["a"]
        shop.stops.put_nowait("a")  # late, or told twice
        await shop.settled()
        shop.add("a")
        await shop.until(lambda: shop.began == ["a", "a"])
        await shop.settled()
        assert "a" in shop.running
        shop.stops.put_nowait("a")  # and this one is meant
        await shop.settled()
        assert shop.cancelled.count("a") == (2 if ends == "stopped" else 1) and not shop.running


async def test_a_job_that_comes_again_while_it_runs_waits_for_its_stop():
    async with opened() as (shop, _):
        shop.add("a")
        await shop.until(lambda: "a" in shop.running)
        shop.add("a")  # stopped and sent again; the stop is the slower one
        await shop.settled()
        assert shop.began == ["a"] and len(shop.loop.running) == 2
        shop.stops.put_nowait("a")
        await shop.until(lambda: shop.began == ["a", "a"])
        await shop.settled()
        assert "a" in shop.running and shop.cancelled == ["a"] and JobsProgress().get_job_list() == "a"
        shop.release("a")
        await shop.settled()
        assert [name for name, _ in shop.posts.results] == ["a"] and JobsProgress().get_job_count() == 0


async def test_a_job_that_comes_again_while_it_runs_is_answered_once():
    async with opened() as (shop, _):
        shop.add("a")
        await shop.until(lambda: "a" in shop.running)
        shop.add("a")  # given up for lost, because a ping did not arrive
        await shop.settled()
        shop.release("a")
        await shop.settled()
        assert shop.began == ["a"] and len(shop.posts.results) == 1 and not shop.loop.running


async def test_a_job_that_comes_again_after_its_answer_was_posted_runs():
    """That answer may have come too late for the platform: it was not for this hand-out."""
    async with opened() as (shop, _):
        answered, over = asyncio.Event(), asyncio.Event()

        async def slow(session, _config, job):
            shop.began.append("a")
            await shop.posts.result(session, {"output": []}, job)
            answered.set()
            await over.wait()

        shop.loop._handle = slow
        shop.add("a")
        await answered.wait()
        shop.loop._handle = shop.run
        shop.add("a")
        await shop.settled()
        assert len(shop.loop.running) == 2
        over.set()
        await shop.until(lambda: "a" in shop.running)


# ------------------------------------------------------------------ the end
async def test_jobs_that_were_taken_last_are_run_before_the_end():
    async with opened() as (shop, _):
        shop.add(*names(3))
        await shop.until(lambda: len(shop.running) == 3)
        await shop.settled()
        asked = len(shop.asked)
        shop.loop.stop(30.0)
        shop.add("last")  # answers the poll that is open
        await shop.until(lambda: "last" in shop.running)
        for name in list(shop.running):
            shop.release(name)
        await shop.task
        assert sorted(shop.ended) == ["job-0", "job-1", "job-2", "last"]
        assert len(shop.asked) == asked and shop.ended_in_order and not shop.failed


async def test_a_full_worker_that_is_told_to_stop_does_not_wait_for_room():
    async with opened() as (shop, _):
        shop.add(*names(CONCURRENCY))
        await shop.until(lambda: len(shop.running) == CONCURRENCY)
        shop.loop.stop(0.0)
        await shop.task
        assert shop.failed and shop.ended_in_order and len(shop.posts.results) == CONCURRENCY
        assert shop.posts.hurried == loop.LAST_POST


async def test_a_job_is_stopped_also_while_the_worker_drains():
    async with opened() as (shop, _):
        shop.add("a")
        await shop.until(lambda: "a" in shop.running)
        shop.loop.stop(30.0)
        shop.stops.put_nowait("a")
        await shop.task
        assert shop.cancelled == ["a"] and not shop.failed


async def test_what_cannot_be_delivered_does_not_hold_the_end_up(monkeypatch):
    monkeypatch.setattr(loop, "LAST_DELIVERY", 0.05)
    monkeypatch.setattr(loop, "LAST_POLL", 0.05)
    async with opened() as (shop, _):
        shop.add("a", "b")
        shop.deaf = {"b"}
        await shop.until(lambda: len(shop.running) == 2)
        shop.loop.stop(0.0)
        await shop.task
        assert shop.cancelled == ["b"] and [name for name, _ in shop.posts.results] == ["a"]
        assert shop.ended_in_order


async def test_an_end_that_hangs_is_left_alone(monkeypatch):
    monkeypatch.setattr(loop, "LAST_DELIVERY", 0.05)
    monkeypatch.setattr(loop, "LAST_POLL", 0.05)
    async with opened() as (shop, _):
        shop.loop._on_end = lambda: asyncio.Event().wait()
        await shop.settled()
        shop.loop.stop(30.0)
        await shop.task


async def test_the_memory_of_ended_jobs_is_bounded(monkeypatch):
    monkeypatch.setattr(loop, "_ENDED_KEPT", 3)
    async with opened() as (shop, _):
        for name in names(6):
            shop.add(name)
            await shop.until(lambda name=name: name in shop.running)
            shop.release(name)
            await shop.settled()
        assert list(shop.loop._ended) == names(3, 3)


# ------------------------------------------------------------------ a thaw
@pytest.fixture
def frost(monkeypatch):
    """frost(shop) lets a thaw be noticed."""
    thaws = [0]
    monkeypatch.setattr(polls, "thaws", lambda: thaws[0])

    def noticed(shop):
        thaws[0] += 1
        shop.loop._thawed()
    return noticed


async def test_a_thaw_begins_a_poll_at_once_and_what_the_old_one_brings_runs_too(frost):
    async with opened() as (shop, _):
        await shop.settled()
        assert shop.asked == [CONCURRENCY]
        frost(shop)
        await shop.settled()
        assert shop.asked == [CONCURRENCY] * 2
        shop.add("old")  # the first to wait gets it
        await shop.until(lambda: "old" in shop.running)
        shop.add("new")
        await shop.until(lambda: "new" in shop.running)
        shop.release("old", "new")
        await shop.settled()
        assert sorted(name for name, _ in shop.posts.results) == ["new", "old"]


async def test_a_poll_that_began_after_the_thaw_is_not_overtaken(frost):
    async with opened() as (shop, _):
        await shop.settled()
        shop.loop._thawed()  # the news of a thaw before it
        await shop.settled()
        assert shop.asked == [CONCURRENCY]


async def test_many_thaws_make_no_pause(frost, monkeypatch):
    async with opened(monkeypatch) as (shop, pauses):
        for _ in range(2):
            await shop.settled()
            frost(shop)
        await shop.settled()
        assert len(shop.asked) == 3 and pauses == []


async def test_stops_are_heard_over_the_old_poll_and_the_new_one(frost):
    async with opened() as (shop, _):
        shop.add("a", "b")
        await shop.until(lambda: len(shop.running) == 2)
        frost(shop)
        await shop.settled()
        shop.stops.put_nowait("a")
        shop.stops.put_nowait("b")
        await asyncio.wait(shop.loop.running)
        assert shop.cancelled == ["a", "b"]


async def test_what_overtaken_polls_bring_at_the_end_still_runs(frost):
    async with opened() as (shop, _):
        await shop.settled()
        frost(shop)
        await shop.settled()
        shop.loop.stop(60)
        await shop.settled()
        shop.add("old", "new")
        await shop.until(lambda: len(shop.running) == 2)
        shop.release("old", "new")
        await asyncio.wait_for(shop.task, 30)
        assert sorted(shop.ended) == ["new", "old"] and not shop.failed


async def test_an_overtaken_poll_that_fails_disturbs_nothing(frost):
    async with opened() as (shop, _):
        await shop.settled()
        frost(shop)
        await shop.settled()
        shop.waiting.put_nowait(ConnectionResetError("gone"))
        await shop.settled()
        assert len(shop.asked) == 2
        shop.add("a")
        await shop.until(lambda: "a" in shop.running)


async def test_a_stop_that_overtakes_a_job_of_an_overtaken_poll_is_heeded(frost):
    async with opened() as (shop, _):
        await shop.settled()
        frost(shop)
        await shop.settled()
        shop.loop.stop_job("old")
        shop.add("old")
        await shop.settled()
        assert shop.loop.running == [] and "old" not in shop.running
