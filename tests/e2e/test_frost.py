"""The real SGLang, frozen with its worker and thawed: at rest and in the middle of an answer."""

import asyncio

import pytest

from clock import LONGEST
from local import corpus
from local.frost import frozen
from tests.e2e.test_serving import run, sse, user

pytestmark = pytest.mark.asyncio(loop_scope="session")

LONG = {"messages": user("Count."), "stream": True,
        "sampling_params": {"temperature": 0, "max_new_tokens": 600, "ignore_eos": True}}
PARIS, PARIS_ANSWER = corpus.EXCHANGES[0]


async def heard(platform) -> None:
    """Wait until the worker gets jobs. While tests with a loop of their own ran, nobody answered the stand-in's polls:
    the worker gave them up, and the first job may be handed out to one of those."""
    job = await platform.submit({"openai_route": "/v1/models"})
    while True:
        try:
            await job.finished(10)
            break
        except TimeoutError:
            if job.status == "IN_PROGRESS":
                platform.requeue(job.id)


async def test_it_goes_on_where_it_was(behind_queue):
    platform, worker = behind_queue
    await heard(platform)
    thawed, restarts = worker.output.count("thawed after "), worker.output.count("restarting the engine")
    job = await platform.submit(LONG)
    await job.chunk(0, 300)
    with frozen(worker.process.pid) as stopped:
        assert not job.is_final and len(stopped) >= 5
        await asyncio.sleep(LONGEST + 2.0)
    await job.finished(300)
    assert job.status == "COMPLETED", job.error
    assert sse(job)[-1]["choices"][0]["finish_reason"] == "length"
    with frozen(worker.process.pid):
        await asyncio.sleep(LONGEST + 2.0)
    answer = await run(platform, {"messages": user(PARIS), "sampling_params": {"temperature": 0}})
    assert answer.output[0]["choices"][0]["message"]["content"] == PARIS_ANSWER
    assert worker.output.count("thawed after ") == thawed + 2
    assert worker.output.count("restarting the engine") == restarts
