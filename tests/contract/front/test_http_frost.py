"""A worker over HTTP that is frozen and thawed: what was under way goes on, and no limit counts the time between."""

import asyncio

from clock import LONGEST
from local.frost import frozen
from tests.contract.front.http_worker import http, start
from tests.support import say

__all__ = ["http", "start"]


async def test_a_frozen_worker_goes_on_where_it_was(start):
    http = await start(MAX_CONCURRENCY="1", HTTP_QUEUE_SECONDS="2.5")
    await http.becomes(200)
    async with http.post(body={"messages": say({"tokens": 40, "tps": 20}), "stream": True}) as running:
        await running.content.readany()
        # Waits at the gate, for less than the worker is frozen.
        waits = asyncio.create_task(answered(http.post(body={"messages": say({"text": "Paris."})})))
        with frozen(http.worker.process.pid):
            await asyncio.sleep(LONGEST + 1.0)
        assert (await running.text()).endswith("data: [DONE]\n\n")
    assert await waits == 200
    assert await http.stage() == 200  # over the connection that was idle meanwhile
    await http.worker.line("thawed after ")


async def answered(request) -> int:
    async with request as response:
        await response.read()
        return response.status


async def test_a_drain_that_is_frozen_has_its_time(start):
    http = await start(DRAIN_TIMEOUT="3")
    await http.becomes(200)
    async with http.post(body={"messages": say({"tokens": 30, "tps": 20}), "stream": True}) as running:
        await running.content.readany()
        http.worker.process.terminate()
        await http.worker.line("stopping: ")
        with frozen(http.worker.process.pid):
            await asyncio.sleep(LONGEST + 2.0)
        assert (await running.text()).endswith("data: [DONE]\n\n")
    assert await http.worker.ended() == 0
