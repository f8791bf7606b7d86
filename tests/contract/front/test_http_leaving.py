"""Callers who leave at any moment, whatever they were at: nothing of theirs is left behind."""

import asyncio
import contextlib
import json
import random

from tests.contract.front.http_worker import CHAT, KEY, http, start
from tests.contract.meter.test_metrics import scraped, value
from tests.support import say

__all__ = ["http", "start"]

PLACES = 8


def whole_body(chance) -> bytes:
    script = {"tokens": chance.choice([1, 50, 1000]), "hang_at": chance.choice([0, 3, 2000])}
    return json.dumps({"messages": say(script), "stream": chance.random() < 0.5,
                       "pad": "x" * chance.choice([0, 100, 700_000])}).encode()


async def halfway(wire, chance):
    """One of the things that callers do, up to the moment at which they leave."""
    body, kind = whole_body(chance), chance.randrange(6)
    if kind == 0:
        await wire.head(Content_Length=str(len(body)), Expect="100-continue")
        await wire.send(body)
    elif kind == 1:
        await wire.head(Content_Length=str(len(body) + 1))
        await wire.send(body)
    elif kind == 2:
        await wire.head("/v1/audio/transcriptions", Transfer_Encoding="chunked",
                        Content_Type="multipart/form-data; boundary=x")
        await wire.send(b"3\r\n--x\r\n")
    elif kind == 3:
        await wire.head("/-/state?seen=x", "GET")
    else:
        await wire.head(CHAT, Content_Length=str(len(body)))
        await wire.send(body)
    await wire.reader.read()


async def test_two_hundred_who_leave_at_any_moment_leave_every_place_and_all_memory(start):
    http = await start(MAX_CONCURRENCY=str(PLACES), HTTP_BODY_MEMORY_MB="3", HTTP_QUEUE_SECONDS="2")
    await http.becomes(200)
    chance = random.Random(1)

    async def caller():
        async with http.raw() as wire:
            with contextlib.suppress(TimeoutError, ConnectionError):
                async with asyncio.timeout(chance.random()):
                    await halfway(wire, chance)

    for _ in range(4):
        await asyncio.gather(*[caller() for _ in range(50)])
    async with asyncio.timeout(60):
        samples = await scraped(http)
        while value(samples, "requests_in_flight") or value(samples, "requests_waiting"):
            samples = await scraped(http)

    # As many as there are places run at once, and bodies find all the memory that there is.
    rids = [f"place-{number}-0123456789abcdef" for number in range(PLACES)]
    held = [asyncio.create_task(read(http, {"messages": say({"hang_at": 0}), "rid": rid})) for rid in rids]
    for rid in rids:
        await http.engine(f"/_scripted/wait?rid={rid}&state=hanging")
    for task in held:
        task.cancel()
    await asyncio.gather(*held, return_exceptions=True)
    async with asyncio.timeout(60):
        while await read(http, {"messages": say({}), "pad": "x" * 2_900_000}) != 200:
            pass
    for word in ("internal error", "Traceback", "the HTTP server: ", KEY):
        assert word not in http.worker.output


async def read(http, body) -> int:
    async with http.post(body=body) as response:
        await response.read()
        return response.status
