"""The record of a request over HTTP, with a function in place of the worker."""

import asyncio
import threading

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from front.http.keys import Keys
from front.http.manners import Stage
from front.http.measured import heading, measuring
from front.http.metrics import Figures, add
from meter.prometheus import Prometheus
from meter.record import current
from meter.requests import Meter
from utils import JobError

CHAT = "/v1/chat/completions"


class Seen:
    def __init__(self):
        self.records, self.news = [], asyncio.Event()

    def planned(self, record):
        pass

    def ended(self, record):
        self.records.append(record)
        self.news.set()


class Served:
    """`async with Served(handler) as served`: a client of it, with what is seen."""

    def __init__(self, handler, stage=Stage.READY):
        self.seen = Seen()
        self.app = web.Application(middlewares=[measuring(Meter([self.seen]), lambda: stage, ("/mine",))])
        self.app.on_response_prepare.append(heading)
        self.app.router.add_get("/ping", self.health)
        self.app.router.add_route("*", "/{path:.*}", handler)

    async def health(self, _request):
        return web.Response()

    async def __aenter__(self):
        self.client = TestClient(TestServer(self.app, handler_cancellation=True))
        await self.client.__aenter__()
        return self

    async def __aexit__(self, *_):
        await self.client.__aexit__(None, None, None)

    async def record(self):
        async with asyncio.timeout(30):
            await self.seen.news.wait()
        [record] = self.seen.records
        return record


async def test_a_request_has_a_record_and_health_and_preflights_have_none():
    async def handler(_request):
        current().id = "id-1"
        return web.Response(status=201)

    async with Served(handler) as served:
        await served.client.get("/ping")
        await served.client.options(CHAT)
        assert served.seen.records == []
        await served.client.post(f"{CHAT}?a=b", headers={"X-Request-Id": "mine", "traceparent": "nonsense"})
        record = await served.record()
    assert (record.id, record.request_id, record.trace_id, record.route, record.status, record.outcome) == (
        "id-1", "mine", None, CHAT, 201, "completed")


@pytest.mark.parametrize(("state", "kept"), [("a=b", "a=b"), ("a=" + "x" * 600, None), ("a=\udcff", None)])
async def test_a_trace_is_kept_in_its_proper_form_alone(state, kept):
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

    async def handler(_request):
        assert current().carrier == {"traceparent": trace, **({"tracestate": kept} if kept else {})}
        return web.Response()

    async with Served(handler) as served:
        request = f"GET {CHAT} HTTP/1.1\r\nHost: x\r\ntraceparent: {trace}\r\ntracestate: {state}\r\n\r\n"
        reader, writer = await asyncio.open_connection("127.0.0.1", served.client.port)
        writer.write(request.encode("utf-8", "surrogateescape"))
        assert b" 200 " in await reader.readline()
        writer.close()
        record = await served.record()
    assert (record.traceparent, record.tracestate) == (trace, kept)


@pytest.mark.parametrize("name", ["a caller's own words", "x" * 129])
async def test_what_is_no_id_is_none_and_the_answer_s_own_takes_its_place(name):
    async def handler(_request):
        return web.Response(headers={"X-Request-Id": "ours"})

    async with Served(handler) as served:
        await served.client.post("/mine", headers={"X-Request-Id": name})
        record = await served.record()
    assert (record.request_id, record.id, record.route) == (None, "ours", "/mine")


@pytest.mark.parametrize(("stage", "status", "reason"), [
    (Stage.STARTING, 503, "starting"), (Stage.LEAVING, 503, "leaving"), (Stage.READY, 503, "unavailable"),
    (Stage.STARTING, 401, "key")])
async def test_a_refusal_says_what_the_worker_was_at(stage, status, reason):
    async def handler(_request):
        current().failed(JobError("no", type="overloaded_error", code=status))
        return web.Response(status=status)

    async with Served(handler, stage) as served:
        await served.client.post(CHAT)
        record = await served.record()
    assert (record.outcome, record.why, record.error_type) == ("refused", reason, "overloaded_error")


async def test_a_fault_of_the_worker_is_a_failure():
    async def handler(_request):
        raise ZeroDivisionError("what the caller wrote")

    async with Served(handler) as served:
        await served.client.post(CHAT)
        record = await served.record()
    assert (record.outcome, record.error.code, record.error_type) == ("failed", 500, "server_error")
    assert "caller" not in record.error.message


async def test_a_session_is_called_by_its_path():
    async def handler(_request):
        return web.Response(status=426)

    async with Served(handler) as served:
        await served.client.get("/v1/realtime?model=tiny")
        record = await served.record()
    assert (record.route, record.status) == ("/v1/realtime", 426)


async def test_an_answer_that_is_raised_is_an_answer():
    async def handler(_request):
        raise web.HTTPNotFound

    async with Served(handler) as served:
        await served.client.post(CHAT)
        record = await served.record()
    assert (record.outcome, record.status, record.why) == ("refused", 404, "not_found")


@pytest.mark.parametrize("begun", [True, False])
async def test_who_goes_away_was_told_a_status_or_was_not(begun):
    inside = asyncio.Event()

    async def handler(request):
        response = web.StreamResponse()
        if begun:
            await response.prepare(request)
        inside.set()
        await asyncio.sleep(3600)

    async with Served(handler) as served:
        asking = asyncio.create_task(served.client.post(CHAT))
        await inside.wait()
        if begun:
            (await asking).close()
        asking.cancel()
        record = await served.record()
    assert (record.outcome, record.status) == ("cancelled", 200 if begun else None)


@pytest.mark.parametrize(("answer", "behind"), [
    ((200, b"sglang:a 1\n"), b"sglang:a 1\n"), ((404, b"nothing"), b""), ((None, b""), b"# The engine's own metrics")])
async def test_the_engine_s_metrics_stand_behind_the_worker_s(answer, behind):
    asked = []

    def engine(path, seconds):
        asked.append((path, seconds > 0))
        return answer

    figures, app = Figures(Prometheus(Meter())), web.Application()
    add(app, figures.text, Keys(["sesame"]))
    async with TestClient(TestServer(app)) as client:
        assert (await client.get("/metrics")).status == 401
        alone = await (await client.get("/metrics", headers={"x-api-key": "sesame"})).read()
        figures.engine = engine
        both = await (await client.get("/metrics", headers={"x-api-key": "sesame"})).read()
    assert asked == [("/metrics", True)]
    assert alone.endswith(b"\n") and both.startswith(alone) and both[len(alone):].startswith(behind)
    assert len(both) == len(alone) or behind


async def test_an_engine_that_does_not_answer_is_asked_once_at_a_time_however_many_scrape():
    called, go, at_once = threading.Event(), threading.Event(), [0, 0]

    def engine(path, seconds):
        at_once[0] += 1
        at_once[1] = max(at_once)
        called.set()
        go.wait(30)
        at_once[0] -= 1
        return None, b""

    figures, app = Figures(Prometheus(Meter())), web.Application()
    add(app, figures.text, None)
    figures.engine = engine
    async with TestClient(TestServer(app, handler_cancellation=True)) as client:
        scrapes = [asyncio.create_task(client.get("/metrics")) for _ in range(50)]
        await asyncio.to_thread(called.wait, 30)
        scrapes.pop(0).cancel()  # whoever leaves takes nobody's answer along
        assert (await client.post("/metrics")).status == 405  # what came before has been begun
        go.set()
        for answer in await asyncio.gather(*scrapes):
            assert answer.status == 200 and b"did not answer" in await answer.read()
    assert at_once == [0, 1]
