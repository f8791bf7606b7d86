"""A worker whose requests are carried by several processes on one port: what they share, and what becomes of each."""

import asyncio
import contextlib
import json
import os
import resource
import signal

import aiohttp

from bench.process_usage import connections, with_fronts
from meter.catalogue import PREFIX
from tests.contract.front.http_worker import CHAT, KEY, start
from tests.contract.front.test_engine_lost import children, guards_of
from tests.contract.meter.test_metrics import scraped
from tests.support import free_port, say, until

__all__ = ["start"]

LONG = {"tokens": 40, "tps": 400, "hang_at": 2}


def fronts(http) -> list[int]:
    """The front processes of a worker."""
    return with_fronts(http.worker.process.pid)[1:]


def alive(pid: int) -> bool:
    with contextlib.suppress(OSError), open(f"/proc/{pid}/stat", "rb") as f:
        return f.read().rpartition(b")")[2].split()[0] not in (b"Z", b"X")
    return False


def total(samples, name, **labels) -> float:
    """Of all samples with these labels."""
    return sum(value for (known, given), value in samples.items()
               if known == f"{PREFIX}_{name}" and labels.items() <= dict(given).items())


class Stream:
    """A chat stream over a connection of its own."""

    def __init__(self, response: aiohttp.ClientResponse, session: aiohttp.ClientSession):
        self.response, self._session = response, session
        self.port = response.connection.transport.get_extra_info("sockname")[1] if response.connection else 0

    async def text(self) -> str:
        try:
            return (await self.response.read()).decode()
        finally:
            await self._session.close()

    async def close(self) -> None:
        self.response.close()
        await self._session.close()


async def ask(http, script=None, stream=True, **more) -> Stream:
    session = aiohttp.ClientSession()
    body = {"messages": say(LONG if script is None else script), "stream": stream, **more}
    response = await session.post(http.base + CHAT, json=body, headers={"Authorization": f"Bearer {KEY}"})
    return Stream(response, session)


async def status(http, script) -> int:
    stream = await ask(http, script, stream=False)
    await stream.text()
    return stream.response.status


async def ready(start, processes=2, **extra):
    http = await start(HTTP_PROCESSES=str(processes), **extra)
    await http.becomes(200)
    assert len(fronts(http)) == processes
    return http


async def spread(http, count=24, **more):
    """Streams that hang, of which every front process has some: {pid: its streams}."""
    found = {}
    for _ in range(10):
        streams = list(every(found)) + await asyncio.gather(*[ask(http, **more) for _ in range(count)])
        port = int(http.worker.environ["PORT"])
        found = {pid: [s for s in streams if s.port in connections(pid, port)] for pid in fronts(http)}
        if all(found.values()):
            return found
    raise AssertionError({pid: len(streams) for pid, streams in found.items()})


def every(found):
    return [stream for streams in found.values() for stream in streams]


async def release(http, streams):
    """Let all of them go on to their ends; their texts."""
    reading = [asyncio.create_task(stream.text()) for stream in streams]

    async def done():
        with contextlib.suppress(aiohttp.ClientConnectionError):  # it may end with the last of them
            await (await http.session.post(
                f"http://127.0.0.1:{http.worker.environ['SGLANG_PORT']}/_scripted/release")).read()
        return all(task.done() for task in reading)

    await until(done)
    return await asyncio.gather(*reading, return_exceptions=True)


def whole(text) -> bool:
    return isinstance(text, str) and text.endswith("data: [DONE]\n\n") and text.count('"content":"t') == LONG["tokens"]


async def test_never_more_at_the_engine_than_may_be_and_nobody_is_refused_while_there_is_room(start):
    http = await ready(start, 3, MAX_CONCURRENCY="5", HTTP_QUEUE_SECONDS="60")
    for turn in range(1, 4):
        asked = [asyncio.create_task(ask(http)) for _ in range(14)]

        async def refused(asked=asked):
            return sum(task.done() and task.result().response.status == 429 for task in asked) >= 4

        await until(refused)  # five run, as many wait, whichever process each of them came to
        samples = await scraped(http)
        assert total(samples, "requests_in_flight") == 5 and total(samples, "requests_waiting") == 5

        async def at_the_engine():
            return len(await http.engine("/_scripted/requests?state=hanging")) == 5

        await until(at_the_engine)  # what is under way comes there a moment later

        async def all_answered(asked=asked):
            async with http.session.post(f"http://127.0.0.1:{http.worker.environ['SGLANG_PORT']}/_scripted/release"):
                assert len(await http.engine("/_scripted/requests?state=running,hanging")) <= 5
                return all(task.done() for task in asked)

        await until(all_answered)
        streams = [task.result() for task in asked]
        assert sorted(stream.response.status for stream in streams) == [200] * 10 + [429] * 4
        texts = await release(http, [stream for stream in streams if stream.response.status == 200])
        assert all(map(whole, texts))
        for stream in streams:
            await stream.close()
        assert total(await scraped(http), "refusals_total", reason="full") == 4 * turn

    async def counted():
        return total(await scraped(http), "requests_total", outcome="completed") == 30

    await until(counted)


async def test_who_may_not_wait_is_refused_only_when_all_of_it_is_taken(start):
    http = await ready(start, 3, MAX_CONCURRENCY="4", HTTP_QUEUE_SECONDS="0")
    for _ in range(3):
        streams = [await ask(http) for _ in range(4)]  # one after the other, to whichever process
        assert [stream.response.status for stream in streams] == [200] * 4
        assert [await status(http, {}) for _ in range(3)] == [429] * 3
        assert all(map(whole, await release(http, streams)))

        async def room():
            return await status(http, {}) == 200

        await until(room)


async def test_a_process_that_is_killed_takes_its_own_requests_along_and_nothing_else(start):
    http = await ready(start, 2, MAX_CONCURRENCY="64", HTTP_QUEUE_SECONDS="0")
    assert await status(http, {"text": "Paris."}) == 200
    before = await scraped(http)
    found = await spread(http, 12)
    lost, kept = found
    os.kill(lost, signal.SIGKILL)
    broken = await asyncio.gather(*[stream.text() for stream in found[lost]], return_exceptions=True)
    assert all(isinstance(error, aiohttp.ClientError) for error in broken)  # none of them looks complete
    for stream in found[lost]:
        await stream.close()
    await http.worker.line("ended (killed by signal 9)")

    async def again():
        return len(fronts(http)) == 2 and lost not in fronts(http)

    await until(again)
    texts = await release(http, found[kept])
    assert all(map(whole, texts))

    async def counted():
        samples = await scraped(http)
        return total(samples, "requests_total", outcome="failed") == len(broken) and samples

    after = await until(counted)
    assert total(after, "front_process_ends_total") == 1 and total(after, "requests_in_flight") == 0
    assert total(after, "requests_total", outcome="completed") >= total(
        before, "requests_total", outcome="completed") + len(texts)
    lines = [json.loads(line) for line in http.worker.lines if line.startswith('{"message": "request"')]
    assert sum(line["outcome"] == "failed" and line["code"] == 502 for line in lines) == len(broken)
    streams = await asyncio.gather(*[ask(http) for _ in range(64)])  # every place is free again
    assert {stream.response.status for stream in streams} == {200}
    assert all(map(whole, await release(http, streams)))


async def test_processes_that_do_not_stay_alive_end_the_worker_with_the_reason(start):
    http = await ready(start, 2)
    async with asyncio.timeout(60):
        while http.worker.process.returncode is None:
            for pid in fronts(http):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            await asyncio.sleep(0.05)
    assert await http.worker.ended() == 1
    assert "Front processes ended" in http.worker.output


async def test_health_on_a_port_of_its_own_is_not_ready_while_nobody_carries_requests(start):
    port = str(free_port())
    http = await start(HTTP_PROCESSES="2", PORT_HEALTH=port)
    await http.becomes(200, port=port)
    for pid in fronts(http):
        os.kill(pid, signal.SIGKILL)
    assert set(await http.becomes(204, port=port)) <= {200, 204}
    assert await status(http, {"text": "Paris."}) == 200  # it waits to be accepted
    await http.becomes(200, port=port)


async def test_a_worker_that_is_killed_leaves_nothing_behind(start):
    http = await ready(start, 2)
    found = await spread(http, 8)
    [guard] = guards_of(http.worker)
    left = [*found, guard, *children(guard)]
    http.worker.process.kill()

    async def gone():
        return not any(map(alive, left))

    await until(gone)
    for stream in every(found):
        await stream.close()


async def test_what_runs_anywhere_is_finished_at_the_end_and_nothing_new_begins(start):
    http = await ready(start, 2)
    found = await spread(http, 8)
    for pid in found:
        os.kill(pid, signal.SIGTERM)  # the owner's business, not theirs
    http.worker.process.send_signal(signal.SIGTERM)
    assert set(await http.becomes(503)) <= {200, 503}
    assert {await status(http, {}) for _ in range(8)} == {503}
    texts = await release(http, every(found))
    assert all(map(whole, texts))
    assert await http.worker.ended(30) == 0
    assert not any(map(alive, found)) and "Traceback" not in http.worker.output


async def test_an_end_before_all_processes_are_up_waits_for_none_of_them(start):
    http = await start(HTTP_PROCESSES="2", DRAIN_TIMEOUT="0.5")

    async def one():
        return fronts(http)

    os.kill((await until(one))[0], signal.SIGSTOP)
    await http.worker.line("start report")  # all that the worker still waits for is that process
    for _ in range(50):
        assert await http.stage() == 204
    http.worker.process.send_signal(signal.SIGTERM)
    assert await http.worker.ended(60) == 0
    assert "Traceback" not in http.worker.output and "serving over HTTP" not in http.worker.output


async def test_what_is_not_done_in_time_is_failed_everywhere(start):
    http = await ready(start, 2, DRAIN_TIMEOUT="0.5")
    found = await spread(http, 8)
    http.worker.process.send_signal(signal.SIGTERM)
    for text in await asyncio.gather(*[stream.text() for stream in every(found)]):
        assert json.loads(text.split("\n\n")[-2].removeprefix("data: "))["error"]["code"] == 503
    assert await http.worker.ended(30) == 0


async def test_the_engine_s_end_and_its_return_are_seen_by_all(start):
    http = await ready(start, 2)
    found = await spread(http, 8)
    assert await status(http, {"die_at": 0, "die_code": 7}) == 502
    for text in await asyncio.gather(*[stream.text() for stream in every(found)]):
        assert "exit status 7" in json.loads(text.split("\n\n")[-2].removeprefix("data: "))["error"]["message"]
    assert await asyncio.gather(*[status(http, {"text": "Paris."}) for _ in range(16)]) == [200] * 16


async def test_what_the_engine_died_of_twice_is_refused_by_all(start):
    http = await ready(start, 2, SGLANG_MAX_RESTARTS="5")
    deadly = {"die_at": 0, "die_code": 9, "text": "the one"}
    for _ in range(2):
        assert await status(http, deadly) == 502
        assert await status(http, {"text": "Paris."}) == 200
    seen = set()
    body = json.dumps({"messages": say(deadly), "stream": False}).encode()
    while len(seen) < 2:
        async with contextlib.AsyncExitStack() as stack:
            wires = [await stack.enter_async_context(http.raw()) for _ in range(8)]
            for wire in wires:
                await wire.head(Content_Length=str(len(body)))
                await wire.send(body)
            for wire in wires:
                code, _headers, told = await wire.answer()
                assert code == 422 and b"died twice" in told
            port = int(http.worker.environ["PORT"])
            ports = {wire.writer.get_extra_info("sockname")[1] for wire in wires}
            seen |= {pid for pid in fronts(http) if ports & connections(pid, port)}
    assert await asyncio.gather(*[status(http, deadly) for _ in range(24)]) == [422] * 24
    assert len(await http.engine("/_scripted/requests")) > 0  # it lives


async def test_who_leaves_stops_the_engine_whichever_process_carries_it(start):
    http = await ready(start, 2)
    found = await spread(http, 8)
    count = len(every(found))
    for stream in every(found):
        await stream.close()
    assert len(await http.engine(f"/_scripted/wait?state=aborted,disconnected&count={count}")) == count

    async def free():
        samples = await scraped(http)
        return total(samples, "requests_in_flight") == 0 and samples

    samples = await until(free)
    assert total(samples, "requests_total", outcome="cancelled") == count


async def test_large_bodies_wait_for_room_that_all_share(start):
    """Room for one and a half: the second waits unread, whichever process it came to."""
    http = await ready(start, 2, HTTP_BODY_MEMORY_MB="0.3", HTTP_QUEUE_SECONDS="0.5")
    pad = "x" * 200_000
    first = await ask(http, pad=pad)
    assert first.response.status == 200
    for _ in range(6):
        second = await ask(http, pad=pad)
        told = await second.text()
        assert second.response.status == 429 and "HTTP_BODY_MEMORY_MB" in told
    [text] = await release(http, [first])
    assert whole(text)
    third = await ask(http, {"text": "Paris."}, stream=False, pad=pad)
    assert third.response.status == 200, await third.text()
    await third.close()


async def test_health_is_there_before_the_processes_and_metrics_and_the_page_are_the_same_for_all(start):
    http = await start(HTTP_PROCESSES="2")
    assert (await http.becomes(204, 200))[0] in (None, 204)
    await http.becomes(200)
    headers = {"x-api-key": KEY}
    for _ in range(6):  # a connection each: any process
        async with aiohttp.ClientSession() as session:
            async with session.get(f"{http.base}/metrics") as response:
                assert response.status == 401
            async with session.get(f"{http.base}/metrics", headers=headers) as response:
                assert "sglang_worker_engine_up 1.0" in await response.text()
            async with session.get(f"{http.base}/-/state", headers=headers) as response:
                told = await response.json()
                assert (told["state"], told["model"], told["takes"]["chat"]) == ("ready", "tiny", True)
            async with session.get(f"{http.base}/-/state?seen={told['tag']}", headers=headers) as response:
                assert (await response.json())["tag"] == told["tag"]


async def test_each_may_have_the_files_that_its_connections_need(start):
    http = await start(HTTP_PROCESSES="2", MAX_CONCURRENCY="1000")
    _, hard = resource.prlimit(http.worker.process.pid, resource.RLIMIT_NOFILE)
    resource.prlimit(http.worker.process.pid, resource.RLIMIT_NOFILE, (1024, hard))  # before it starts the others
    await http.worker.line("front processes carry the requests", 60)

    def allowed():
        return [resource.prlimit(pid, resource.RLIMIT_NOFILE)[0] for pid in fronts(http)]

    # The line comes with the first of them that carries requests.
    assert await until(lambda: len(limits := allowed()) == 2 and min(limits) >= min(3 * 1000, hard))
