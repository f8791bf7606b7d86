"""What the pings of the real SDK name, what becomes of one that is refused, and that they go on whatever happens."""

import asyncio
import contextlib
import io
import multiprocessing
import os
import signal
import threading
import uuid
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import aiohttp
import pytest
import requests
from runpod.serverless.modules import rp_ping

from clock import LONGEST
from front.queue import pings
from front.queue.pings import FITS, Keeper, mend
from front.queue.serve import NAMED_IN_A_PING
from local.forwarder import Forwarder
from local.frost import frozen
from local.runpod_platform import Platform
from server.guard import descendants
from tests.support import say
from tests.worker import WorkerProcess, contract_environ

pytestmark = pytest.mark.timeout(240)
PING = "https://api.runpod.example/v2/0123456789abcd/ping/0123456789abcd?gpu=NVIDIA+H100+80GB+HBM3"
REFUSED = "The platform refused a ping"


def ids(count: int) -> list[str]:
    """As RunPod has them for /runsync and the OpenAI route, which are the longest."""
    return [f"sync-{uuid.uuid4()}-u1" for _ in range(count)]


class Site(requests.adapters.BaseAdapter):
    """In place of a platform: `answer(address)` gives the status, 0 for none. pings: addresses, and what was answered.
    """

    def __init__(self, answer):
        super().__init__()
        self.answer, self.pings = answer, []

    def send(self, request, **_):
        status = self.answer(request.url)
        self.pings.append((request.url, status))
        if not status:
            raise requests.ConnectionError("reset")
        response = requests.Response()
        response.status_code, response.url, response.request = status, request.url, request
        response.raw = io.BytesIO(b"{}")
        return response

    def close(self):
        pass

    def named(self) -> list[list[str]]:
        """What was named since the last call, by each ping that was taken."""
        told = [parse_qs(urlsplit(url).query).get("job_id", [""])[0] for url, status in self.pings
                if status == 200]
        self.pings.clear()
        return [ids.split(",") if ids else [] for ids in told]


class Mirror:
    """The SDK's, without shared memory."""

    def __init__(self, ids):
        self.ids = ids

    def get(self):
        return ",".join(self.ids) or None


@pytest.fixture
def heart(monkeypatch):
    """heart(answer, ids, mended=True): a heartbeat of the SDK's class whose pings a Site answers."""
    monkeypatch.setenv("RUNPOD_WEBHOOK_PING", PING)

    def made(answer, named, mended=True):
        class Heartbeat(rp_ping.Heartbeat):
            pass

        if mended:
            mend(Heartbeat)
        one = Heartbeat()
        one._mirror, site = Mirror(named), Site(answer)
        one._session.mount("https://", site)
        return one, site
    return made


def shorter_than(limit, status):
    return lambda url: 200 if len(url) <= limit else status


@pytest.mark.parametrize("count", [0, 1, 128, NAMED_IN_A_PING, 400, 1000])
def test_a_ping_that_is_taken_is_the_sdks_own(heart, count):
    named = ids(count)
    ours, theirs = (heart(lambda url: 200, named, mended) for mended in (True, False))
    for one, _ in (ours, theirs):
        one._send_ping()
        one._send_ping()
    assert ours[1].pings == theirs[1].pings and len(ours[1].pings) == 2


def test_as_many_as_are_said_to_fit_do_fit(heart):
    one, site = heart(shorter_than(8190, 400), ids(NAMED_IN_A_PING))
    one._send_ping()
    assert len(site.named()) == 1


@pytest.mark.parametrize("status", [400, 413, 414, 431])
@pytest.mark.parametrize("count", [200, 256, 400, 1000])
def test_one_that_is_too_long_is_followed_at_once_by_some_that_name_all(heart, capsys, status, count):
    named = ids(count)
    one, site = heart(shorter_than(8190, status), named)
    one._send_ping()
    assert [answer for _, answer in site.pings][0] == status and len(site.pings[0][0]) > 8190
    assert [job for part in site.named() for job in part] == named
    for _ in range(3):  # and none is refused any more
        one._send_ping()
        assert all(answer == 200 and len(url) <= FITS for url, answer in site.pings)
        parts = site.named()
        assert [job for part in parts for job in part] == named and len(parts) <= 2 + count * 47 // FITS
    said = capsys.readouterr().out
    assert said.count(REFUSED) == 1 and str(status) in said and f"MAX_CONCURRENCY={NAMED_IN_A_PING}" in said


def test_with_fewer_jobs_again_there_is_one_ping(heart):
    one, site = heart(shorter_than(8190, 400), ids(400))
    one._send_ping()
    site.pings.clear()
    for count in (100, 1, 0):
        one._mirror.ids = ids(count)
        one._send_ping()
        assert site.named() == [one._mirror.ids]


@pytest.mark.parametrize("status", [414, 431])
def test_a_platform_that_takes_less_than_most_is_heeded(heart, status):
    named = ids(100)
    one, site = heart(shorter_than(1000, status), named)
    one._send_ping()
    assert [job for part in site.named() for job in part] == named
    one._send_ping()
    assert {answer for _, answer in site.pings} == {200}
    assert [job for part in site.named() for job in part] == named


def test_a_long_one_without_an_answer_is_suspected_after_the_second_time(heart, capsys):
    named = ids(256)
    one, site = heart(shorter_than(8190, 0), named)
    for tries in (1, 1, 0, 0):
        one._send_ping()
        assert [answer for _, answer in site.pings].count(0) == tries
        assert [job for part in site.named() for job in part] == named
    assert capsys.readouterr().out.count(REFUSED) == 1


def test_long_ones_that_are_taken_meanwhile_take_the_suspicion_away(heart):
    one, site = heart(None, ids(256))
    for limit in (8190, 32_000) * 3:
        site.answer = shorter_than(limit, 0)
        site.pings.clear()
        one._send_ping()
        assert len(site.pings[0][0]) > 8190


@pytest.mark.parametrize("status", [0, 400, 413])
def test_one_of_an_ordinary_length_that_fails_is_left_to_the_next(heart, status):
    one, site = heart(shorter_than(1000, status), ids(100))
    for _ in range(3):
        one._send_ping()
    assert [answer for _, answer in site.pings] == [status] * 3


@pytest.mark.parametrize("status", [0, 400, 401, 404, 500])
def test_a_platform_that_refuses_everything_is_not_thought_to_mind_the_length(heart, capsys, status):
    named = ids(256)
    one, site = heart(lambda url: status, named)
    for _ in range(3):
        one._send_ping()
    said = capsys.readouterr().out
    assert said.count(REFUSED) == (1 if status else 0)
    assert said.count("Ping Request Error") == (0 if status else len(site.pings))
    site.answer = lambda url: 200
    site.pings.clear()
    one._send_ping()
    assert site.named() == [named]


@pytest.mark.parametrize("status", [401, 404, 410])
def test_a_short_one_that_is_refused_is_said_once(heart, capsys, status):
    one, site = heart(lambda url: status, ids(3))
    for _ in range(3):
        one._send_ping()
    assert len(site.pings) == 3
    said = capsys.readouterr().out
    assert said.count(REFUSED) == 1 and str(status) in said


def test_they_begin_anew_with_their_connections_after_a_thaw(heart, monkeypatch):
    thaws = [0]
    monkeypatch.setattr(pings, "thaws", lambda: thaws[0])
    one, site = heart(lambda url: 200, [])
    did = []
    monkeypatch.setattr(one._session, "close", lambda: did.append("close"))
    site.answer = lambda url: did.append("ping") or 200
    one._send_ping()
    one._send_ping()
    thaws[0] += 1
    one._send_ping()
    one._send_ping()
    assert did == ["ping", "ping", "close", "ping", "ping"]


# --------------------------------------------------------------------- the process of them
class Counter:
    value = 0


@contextlib.contextmanager
def kept(target, *args):
    """A process whose pings are kept, the thread that does, and an event of its having taken over."""
    process = multiprocessing.get_context("fork").Process(target=target, args=args, daemon=True)
    process.start()
    keeper, taken = Keeper(Counter()), threading.Event()
    thread = threading.Thread(target=keeper.watch, args=(process, 0.05, taken.set), daemon=True)
    thread.start()
    try:
        yield keeper, process, thread, taken
    finally:
        keeper.over.set()
        process.kill()
        thread.join(30)


def test_a_process_that_ends_is_replaced(capsys):
    with kept(os._exit, 3) as (_, _, _, taken):
        assert taken.wait(30)
    assert "ended with status 3" in capsys.readouterr().out


def test_a_process_that_hangs_is_killed_and_replaced(capsys, monkeypatch):
    monkeypatch.setattr(pings, "_HUNG_SECONDS", 0.1)
    with kept(signal.pause) as (_, process, _, taken):
        assert taken.wait(30)
        process.join(30)
        assert process.exitcode == -signal.SIGKILL
    assert "hung for" in capsys.readouterr().out


def test_a_process_that_gets_on_is_left_alone(monkeypatch):
    monkeypatch.setattr(pings, "_HUNG_SECONDS", 0.0)
    monkeypatch.setattr(pings, "_HUNG_INTERVALS", 0)
    asked = threading.Event()

    class Moving:
        count = 0

        @property
        def value(self):
            self.count += 1
            if self.count > 50:
                asked.set()
            return self.count

    monkeypatch.setattr(Counter, "value", Moving.value)
    monkeypatch.setattr(Counter, "count", 0, raising=False)
    with kept(signal.pause) as (keeper, process, thread, taken):
        assert asked.wait(30) and process.is_alive() and not taken.is_set()
        keeper.over.set()
        process.kill()  # as at the end of the worker
        thread.join(30)
        assert not thread.is_alive() and not taken.is_set()


def test_a_successor_that_fails_is_followed_by_another(capsys):
    keeper, tries = Keeper(Counter()), []

    def successor():
        tries.append(1)
        if len(tries) < 3:
            raise OSError("no")

    process = multiprocessing.get_context("fork").Process(target=os._exit, args=(0,), daemon=True)
    process.start()
    keeper.watch(process, 0.05, successor)
    assert len(tries) == 3 and capsys.readouterr().out.count("OSError") == 2


# --------------------------------------------------------------------- a whole worker
@contextlib.asynccontextmanager
async def busy(count: int, platform: Platform, forwarder: Forwarder | None = None):
    """A worker with `count` jobs that run until `end()`. Gives the worker, the jobs, what each ping named, and `end`.
    """
    worker = WorkerProcess(platform, contract_environ(MAX_CONCURRENCY=str(count), MAX_RUNNING_REQUESTS=str(count)))
    worker.environ["RUNPOD_PING_INTERVAL"] = "1000"
    if forwarder:
        worker.environ = forwarder.environ(worker.environ)
    named, ping = [], platform.store.ping

    def heard(worker_id, query):
        ping(worker_id, query)
        named.append(platform.store.workers[worker_id].jobs)
    platform.store.ping = heard

    async def end():
        url = f"http://127.0.0.1:{worker.environ['SGLANG_PORT']}/_scripted/release"
        async with aiohttp.ClientSession() as session, session.post(url) as response:
            assert (await response.json())["released"] == count

    async with worker:
        await worker.connected()
        await platform.wait_for(lambda: named)
        jobs = [await platform.submit({"messages": say({"tokens": 5, "hang_at": 2}), "stream": True},
                                      source="runsync") for _ in range(count)]
        await platform.wait_for(lambda: all(job.chunks for job in jobs), 120)
        yield worker, jobs, named, end


async def rounds(platform: Platform, named: list[tuple[str, ...]], parts: int, count: int = 2) -> list[set[str]]:
    """What is named by each `parts` pings in a row, from now on."""
    await platform.wait_for(lambda: named and len(named[-1]) > 0)
    named.clear()
    await platform.wait_for(lambda: len(named) >= (count + 1) * parts, 60)
    return [set().union(*named[first:first + parts]) for first in range(count * parts)]


async def ended(platform: Platform, jobs, named) -> None:
    """All jobs end, each done once, and then the pings name none."""
    for job in jobs:
        await job.finished(60)
        assert job.status == "COMPLETED" and job.attempts == 1, job.error
    await platform.wait_for(lambda: named[-1] == (), 60)
    named.clear()
    await platform.wait_for(lambda: len(named) >= 3, 60)
    assert set(named) == {()}


@pytest.mark.parametrize("count, parts", [(256, 2), (400, 3)])
async def test_all_jobs_are_named_within_an_interval_however_many(platform, count, parts):
    async with busy(count, platform) as (worker, jobs, named, end):
        await worker.line(REFUSED)
        everything = {job.id for job in jobs}
        assert all(told == everything for told in await rounds(platform, named, parts))
        assert all(job.record.named for job in jobs) and {call.status for call in platform.calls_of("ping")} == {200}
        await end()
        await ended(platform, jobs, named)
        assert worker.output.count(REFUSED) == 1


async def test_a_platform_that_takes_long_addresses_gets_all_jobs_in_one():
    async with Platform(longest_address=32_000) as platform, busy(400, platform) as (worker, jobs, named, end):
        assert all(told == {job.id for job in jobs} for told in await rounds(platform, named, 1))
        await end()
        await ended(platform, jobs, named)
        assert REFUSED not in worker.output


async def test_the_jobs_of_many_pings_are_named_after_a_thaw():
    async with Platform(long_poll=600) as platform, Forwarder(platform.port) as forwarder, \
            busy(256, platform, forwarder) as (worker, jobs, named, end):
        await worker.line(REFUSED)
        with frozen(worker.process.pid):
            forwarder.swallow(told=True)
            await asyncio.sleep(LONGEST + 1)
        named.clear()
        assert all(told == {job.id for job in jobs} for told in await rounds(platform, named, 2))
        await end()
        await ended(platform, jobs, named)
        assert worker.output.count(REFUSED) == 1


def pinging(worker: WorkerProcess) -> int:
    """The process of its pings: the one that looks like the worker itself."""
    def command(pid: int) -> bytes:
        with contextlib.suppress(OSError):
            return Path(f"/proc/{pid}/cmdline").read_bytes()
        return b""
    [pid] = [pid for pid in descendants(worker.process.pid) if command(pid) == command(worker.process.pid)]
    return pid


async def test_pings_go_on_when_their_process_is_killed(platform):
    async with busy(200, platform) as (worker, jobs, named, end):
        os.kill(pinging(worker), signal.SIGKILL)
        await worker.line("the process of the SDK's pings ended with status -9")
        assert all(told == {job.id for job in jobs} for told in await rounds(platform, named, 2))
        await end()
        await ended(platform, jobs, named)
        worker.process.send_signal(signal.SIGTERM)
        assert await worker.ended() == 0


async def test_an_ordinary_end_says_nothing_of_them(platform):
    async with WorkerProcess(platform, contract_environ()) as worker:
        await worker.connected()
        await platform.wait_for(lambda: platform.begun["ping"])
        worker.process.send_signal(signal.SIGTERM)
        assert await worker.ended() == 0
        assert "SDK's pings" not in worker.output
