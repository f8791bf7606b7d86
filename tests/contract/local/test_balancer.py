"""The stand-in for RunPod's load balancer: which worker gets a request, before servers that say who they are."""

import asyncio
import contextlib

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from local.balancer import AFFINITY, Balancer, wanted
from tests.support import until


class Worker:
    """A server: health says `health`; "/" says its name, "/slow" when `go` is set, "/stream" two pieces of which the
    second waits for `go`."""

    def __init__(self, name):
        self.name, self.health, self.go, self.asked = name, 200, asyncio.Event(), []
        app = web.Application()
        app.router.add_get("/ping", self.ping)
        app.router.add_route("*", "/{path:.*}", self.answer)
        self.server = TestServer(app)

    async def ping(self, _request):
        return web.Response(status=self.health)

    async def answer(self, request):
        self.asked.append((request.method, request.raw_path, dict(request.headers), await request.text()))
        if request.path == "/slow":
            await self.go.wait()
        if request.path != "/stream":
            return web.Response(text=self.name, status=418 if request.path == "/teapot" else 200)
        response = web.StreamResponse(headers={"X-Kept": "yes"})
        await response.prepare(request)
        await response.write(b"first ")
        await self.go.wait()
        await response.write(b"second")
        return response


@pytest.fixture
async def two():
    """start(**how): (workers by name, balancer, session)."""
    async with contextlib.AsyncExitStack() as stack:
        async def run(**how):
            workers = {name: Worker(name) for name in ("w-1", "w-2")}
            for worker in workers.values():
                await stack.enter_async_context(worker.server)
            balancer = await stack.enter_async_context(Balancer(
                {name: f"http://127.0.0.1:{worker.server.port}" for name, worker in workers.items()}, **how))
            session = await stack.enter_async_context(aiohttp.ClientSession(balancer.url))
            await turns(balancer, "w-1", "w-2")
            return workers, balancer, session
        yield run


async def turns(balancer, *ready):
    """Wait until these are the ones that it takes for ready."""
    await until(lambda: {each.id for each in balancer.backends.values() if each.ready} == set(ready))


async def ask(session, affinity=None, path="/"):
    async with session.get(path, headers={} if affinity is None else {AFFINITY: affinity}) as response:
        return response.status, response.headers.get(AFFINITY), await response.text()


@pytest.mark.parametrize(("header", "meant"), [
    ("", ("", "")), ("w-1", ("soft", "w-1")), ("strict w-1", ("strict", "w-1")),
    ("strict-resume w-1", ("strict-resume", "w-1")), ("soft w-1", ("soft", "soft w-1"))])
def test_what_the_header_says(header, meant):
    assert wanted(header) == meant


async def test_without_the_header_each_gets_its_turn_and_every_answer_names_its_worker(two):
    _, _, session = await two()
    told = [await ask(session) for _ in range(4)]
    assert {name for _, name, _ in told[:2]} == {name for _, name, _ in told[2:]} == {"w-1", "w-2"}
    assert all(status == 200 and name == text for status, name, text in told)


async def test_an_id_alone_is_a_wish_and_soft_is_no_word_of_the_header(two):
    workers, balancer, session = await two()
    assert [(await ask(session, "w-2"))[1] for _ in range(4)] == ["w-2"] * 4
    assert {(await ask(session, "soft w-2"))[1] for _ in range(2)} == {"w-1", "w-2"}
    workers["w-2"].health = 503
    await turns(balancer, "w-1")
    assert (await ask(session, "w-2"))[:2] == (200, "w-1")


async def test_a_worker_at_capacity_is_left_by_a_wish_and_waited_for_by_strict(two):
    workers, balancer, session = await two(places=1)
    slow = asyncio.create_task(ask(session, "w-1", "/slow"))
    await until(lambda: workers["w-1"].asked)
    assert (await ask(session, "w-1"))[1] == "w-2"
    waits = asyncio.create_task(ask(session, "strict w-1"))
    assert (await ask(session, "w-2"))[1] == "w-2" and not waits.done()
    workers["w-1"].go.set()
    assert (await slow)[1] == (await waits)[1] == "w-1"


async def test_strict_is_refused_where_its_worker_is_not(two):
    workers, balancer, session = await two(places=1, strict_patience=0.2)
    assert (await ask(session, "strict w-9"))[::2] == (404, '{"error": "affinity_worker_gone"}')
    slow = asyncio.create_task(ask(session, "w-1", "/slow"))
    await until(lambda: workers["w-1"].asked)
    assert (await ask(session, "strict w-1"))[::2] == (400, '{"error": "worker_timeout"}')
    workers["w-1"].go.set()
    await slow
    workers["w-1"].health = 204
    await turns(balancer, "w-2")
    assert (await ask(session, "strict w-1"))[0] == 404


async def test_strict_resume_brings_a_worker_back_and_waits_for_it(two):
    workers, balancer, session = await two()
    workers["w-1"].health = 503
    await turns(balancer, "w-2")
    waits = asyncio.create_task(ask(session, "strict-resume w-1"))
    await until(lambda: balancer.resumed)
    workers["w-1"].health = 200
    assert (await waits)[:2] == (200, "w-1") and balancer.resumed == ["w-1"]


async def test_where_no_worker_is_ready_a_call_waits_and_is_told_so(two):
    workers, balancer, session = await two(patience=0.2)
    for worker in workers.values():
        worker.health = 204
    await turns(balancer)
    assert (await ask(session))[::2] == (400, '{"error": "no workers available"}')


async def test_requests_and_streams_are_carried_as_they_are(two):
    workers, _, session = await two()
    async with session.post("/teapot?a=%20b", data="body", headers={"X-More": "1", AFFINITY: "w-1"}) as response:
        assert (response.status, await response.text()) == (418, "w-1")
    method, path, headers, body = workers["w-1"].asked[0]
    assert (method, path, body, headers["X-More"]) == ("POST", "/teapot?a=%20b", "body", "1")
    async with session.get("/stream", headers={AFFINITY: "w-1"}) as response:
        assert response.headers["X-Kept"] == "yes"
        assert await response.content.readany() == b"first "
        workers["w-1"].go.set()
        assert await response.content.read() == b"second"
