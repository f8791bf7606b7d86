"""A reference design: whatever a read of the engine's connection brings is one chunk of the job.

    BENCH_ENGINE_URL=http://… BENCH_CONCURRENCY=256 python -m bench.design_raw_chunks

aiohttp's `iter_any` gives everything that has arrived since the last read, so what comes during a POST leaves with the
next one, without a look at what it is: chunks end where reads end, be it inside an event. Characters are kept whole,
since a chunk is text. The runpod SDK is used as published.
"""

from __future__ import annotations

import codecs

from bench.design_every_event import ENGINE, session, start


async def handler(job):
    route, body = job["input"]["openai_route"], job["input"]["openai_input"]
    async with session().post(ENGINE + route, json=body) as response:
        if response.status != 200:
            yield {"error": await response.text()}
            return
        decoder = codecs.getincrementaldecoder("utf-8")()
        async for data in response.content.iter_any():
            if text := decoder.decode(data):
                yield text


if __name__ == "__main__":
    start(handler)
