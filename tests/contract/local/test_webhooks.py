"""Webhooks of the platform's stand-in: a finished job comes to the address that was given with it."""

import asyncio
import json

import aiohttp
import pytest
from aiohttp import web

from local.platform_webhooks import TRIES
from local.runpod_platform import Platform
from tests.support import free_port


class Receiver:
    """What came, and the statuses with which it is answered, the last for all that follow."""

    def __init__(self, *statuses: int):
        self.statuses, self.came = list(statuses), asyncio.Queue()
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}/done"

    async def __aenter__(self):
        app = web.Application()
        app.router.add_post("/done", self.take)
        self.runner = web.AppRunner(app, access_log=None)
        await self.runner.setup()
        await web.TCPSite(self.runner, "127.0.0.1", self.port).start()
        return self

    async def __aexit__(self, *_):
        await self.runner.cleanup()

    async def take(self, request):
        self.came.put_nowait(await request.json())
        return web.Response(status=self.statuses.pop(0) if len(self.statuses) > 1 else self.statuses[0])


async def finished(platform: Platform, **body) -> dict:
    """A job that was sent with this body and is done; what /status says of it."""
    async with aiohttp.ClientSession(headers={"Authorization": "Bearer k"}) as session:
        async with session.post(platform.url + "/run", json={"input": {"n": 1}, **body}) as answer:
            assert answer.status == 200, await answer.text()
            job_id = (await answer.json())["id"]
        platform.store.take("worker-1", 1)
        platform.store.done("worker-1", job_id, json.dumps({"output": [1]}).encode())
        async with session.get(f"{platform.url}/status/{job_id}") as answer:
            return await answer.json()


async def test_a_finished_job_is_posted_once(platform):
    async with Receiver(200) as receiver:
        status = await finished(platform, webhook=receiver.url)
        assert await asyncio.wait_for(receiver.came.get(), 30) == status
        assert status["status"] == "COMPLETED" and status["output"] == [1]
    assert receiver.came.empty()


@pytest.mark.parametrize(("statuses", "posts"), [((500, 200), 2), ((500,), TRIES)])
async def test_it_is_tried_again_where_it_was_not_taken(platform, statuses, posts):
    platform.webhooks.pause = 0
    async with Receiver(*statuses) as receiver:
        await finished(platform, webhook=receiver.url)
        for _ in range(posts):
            await asyncio.wait_for(receiver.came.get(), 30)
        await platform.webhooks.settled()
    assert receiver.came.empty()


async def test_nobody_there_is_no_fault_of_the_job(platform):
    platform.webhooks.pause = 0
    status = await finished(platform, webhook=f"http://127.0.0.1:{free_port()}/")
    await platform.webhooks.settled()
    assert status["status"] == "COMPLETED"


async def test_what_is_no_address_is_refused(platform):
    async with aiohttp.ClientSession(headers={"Authorization": "Bearer k"}) as session, session.post(
            platform.url + "/run", json={"input": {"n": 1}, "webhook": 3}) as answer:
        assert answer.status == 400 and "webhook" in await answer.text()
