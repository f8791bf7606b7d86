"""A reference design: every server-sent event of the engine is one chunk of the job, posted as it comes.

    BENCH_ENGINE_URL=http://… BENCH_CONCURRENCY=256 python -m bench.design_every_event

The plain way to write a streaming handler with the runpod SDK, which is used as published: an async generator that
yields each event. The SDK posts one before it asks for the next.
"""

from __future__ import annotations

import os

import aiohttp
import runpod

ENGINE = os.environ["BENCH_ENGINE_URL"]
KEY = os.environ.get("BENCH_ENGINE_KEY", "none")
_sessions: list[aiohttp.ClientSession] = []


def session() -> aiohttp.ClientSession:
    """One for all jobs, made on the SDK's event loop."""
    if not _sessions:
        _sessions.append(aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0),
                                               timeout=aiohttp.ClientTimeout(total=None),
                                               headers={"Authorization": f"Bearer {KEY}"}))
    return _sessions[0]


def start(handler) -> None:
    """Run the SDK's loop."""
    limit = int(os.environ["BENCH_CONCURRENCY"])
    runpod.serverless.start({"handler": handler, "concurrency_modifier": lambda _current: limit,
                             "return_aggregate_stream": True})


async def handler(job):
    route, body = job["input"]["openai_route"], job["input"]["openai_input"]
    async with session().post(ENGINE + route, json=body) as response:
        if response.status != 200:
            yield {"error": await response.text()}
            return
        event = b""
        async for line in response.content:
            event += line
            if line == b"\n":
                yield event.decode()
                event = b""


if __name__ == "__main__":
    start(handler)
