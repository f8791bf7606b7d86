"""Requests to the platform go over connections that a thaw has not made doubtful; what is under way is left alone."""

import asyncio

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from front.queue import connections
from front.queue.connections import Connections


class Site:
    """Answers each request with the number of its connection; /held once it is released."""

    def __init__(self):
        self.transports, self.release, self.held = [], asyncio.Event(), asyncio.Event()

    async def answer(self, request):
        if request.transport not in self.transports:
            self.transports.append(request.transport)
        if request.path == "/held":
            self.held.set()
            await self.release.wait()
        return web.Response(text=str(self.transports.index(request.transport)))


@pytest.fixture
async def site():
    site = Site()
    app = web.Application()
    app.router.add_route("*", "/{path}", site.answer)
    server = TestServer(app)
    await server.start_server()
    site.url = str(server.make_url("/"))
    yield site
    await server.close()


@pytest.fixture
def frost(monkeypatch):
    """frost() lets a thaw be noticed."""
    thaws = [0]
    monkeypatch.setattr(connections, "thaws", lambda: thaws[0])

    def noticed():
        thaws[0] += 1
    return noticed


async def number(made):
    async with made as response:
        return int(await response.text())


async def test_connections_are_used_again_until_a_thaw(site, frost):
    async with Connections() as platform:
        assert [await number(platform.get(site.url + "a")) for _ in range(3)] == [0, 0, 0]
        frost()
        assert [await number(platform.post(site.url + "a", data=b"x")) for _ in range(3)] == [1, 1, 1]
        frost()
        frost()
        assert await number(platform.get(site.url + "a")) == 2


async def test_what_is_under_way_ends_where_it_began_and_the_old_are_closed_then(site, frost):
    made = []

    def make():
        made.append(aiohttp.ClientSession())
        return made[-1]

    async with Connections(make) as platform:
        held = asyncio.create_task(number(platform.get(site.url + "held")))
        await site.held.wait()
        frost()
        assert await number(platform.get(site.url + "a")) == 1
        assert [session.closed for session in made] == [False, False]
        site.release.set()
        assert await held == 0
        await asyncio.gather(*platform._closing)
        assert [session.closed for session in made] == [True, False]
    assert all(session.closed for session in made)


async def test_idle_ones_are_closed_at_once(site, frost):
    async with Connections() as platform:
        assert await number(platform.get(site.url + "a")) == 0
        old = platform._pool.session
        frost()
        assert await number(platform.get(site.url + "a")) == 1
        await asyncio.gather(*platform._closing)
        assert old.closed


async def test_what_is_still_under_way_at_the_end_is_closed(site, frost):
    async with Connections() as platform:
        held = asyncio.create_task(number(platform.get(site.url + "held")))
        await site.held.wait()
        frost()
        assert await number(platform.get(site.url + "a")) == 1
    with pytest.raises(aiohttp.ClientError):
        await held


async def test_an_answer_that_is_an_error_reaches_whoever_asked(site, frost):
    async with Connections() as platform:
        with pytest.raises(aiohttp.ClientResponseError):
            async with platform.get(site.url + "a/b") as response:
                response.raise_for_status()
        assert platform._pool.users == 0
