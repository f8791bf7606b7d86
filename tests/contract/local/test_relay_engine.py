"""A worker before another's engine: what is sent arrives, who goes away is noticed, and its end ends nothing else."""

import asyncio
import signal

import pytest

from local.relay_engine import launch_relay
from tests.over_http import OverHttp
from tests.support import Scripted, free_port, say
from tests.worker import WorkerProcess, contract_environ


@pytest.fixture(scope="module")
def engine():
    with Scripted() as scripted:
        yield scripted


@pytest.fixture
async def pair(engine):
    environ = contract_environ(SGLANG_PORT=str(free_port()), SGLANG_LAUNCH_COMMAND=launch_relay(engine.engine.port))
    async with OverHttp() as front, WorkerProcess(front, environ) as worker:
        yield front, await worker.connected()


async def test_answers_come_from_the_engine_behind_it(engine, pair):
    front, _ = pair
    whole = await (await front.submit({"messages": say({"text": "Paris."})})).finished()
    assert whole.output[0]["choices"][0]["message"]["content"] == "Paris."
    stream = await (await front.submit({"messages": say({"tokens": 50, "tps": 500}), "stream": True})).finished()
    assert stream.status == "COMPLETED" and stream.output[-1].endswith("data: [DONE]\n\n")
    assert sum(one["path"] == "/v1/chat/completions" for one in engine.seen()) >= 2


async def test_who_goes_away_is_noticed_behind_it(engine, pair):
    front, _ = pair
    job = await front.submit({"messages": say({"tokens": 5000, "tps": 20}, "leaving "), "stream": True})
    await job.chunk(0)
    await front.cancel(job.id)
    assert job.status == "CANCELLED"
    assert await asyncio.to_thread(engine.wait, state="disconnected")


async def test_its_end_is_not_the_engines(engine, pair):
    _, worker = pair
    worker.process.send_signal(signal.SIGTERM)
    assert await worker.ended(60) == 0
    assert engine.engine.get("/ready")[0] == 200
