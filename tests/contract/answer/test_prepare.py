"""A request whose body has to be made ready first: what its client sees meanwhile, and how it ends."""

import asyncio
import contextlib
import dataclasses
import json

import pytest

from answer.request import Pieces
from answer.upstream import KEEPALIVE, Patience, Upstream
from job.routes import Context, plan
from tests.support import Scripted, say
from utils import JobError

BODY = {"messages": say({"text": "as prepared"}), "model": "tiny"}


@pytest.fixture(scope="module")
def scripted():
    with Scripted() as engine:
        yield engine


@pytest.fixture
async def upstream(scripted):
    client = Upstream(scripted.url, patience=Patience(idle=20, request=20, retry=20, keepalive=0.05))
    yield client
    await client.close()


class Slow:
    """Gives BODY once it is let; knows how often it was asked, and whether it was cancelled."""

    def __init__(self, error=None):
        self.let, self.asked, self.begun, self.cancelled = asyncio.Event(), 0, asyncio.Event(), asyncio.Event()
        self.error = error

    async def __call__(self):
        self.asked += 1
        self.begun.set()
        try:
            await self.let.wait()
        except asyncio.CancelledError:
            self.cancelled.set()
            raise
        if self.error:
            raise self.error
        return Pieces([b'{"messages": ', json.dumps(BODY["messages"]).encode(), self.rest])

    def request(self, rid: str, stream: bool = True):
        given = plan({"openai_route": "/v1/chat/completions", "openai_input": {
            "messages": say({"text": "as given"}), "stream": stream}}, Context("tiny", "tiny"), rid)
        self.rest = b", " + json.dumps({"model": "tiny", "stream": stream, "rid": rid}).encode()[1:]
        return dataclasses.replace(given, prepare=self, openai=True)


async def test_a_stream_is_kept_alive_until_its_body_is_ready(upstream, scripted):
    slow = Slow()
    async with contextlib.aclosing(upstream.run(slow.request("kept"))) as stream:
        assert [await anext(stream) for _ in range(3)] == [KEEPALIVE] * 3
        assert scripted.seen(rid="kept") == []
        slow.let.set()
        text = "".join([chunk async for chunk in stream])
    assert text.endswith("data: [DONE]\n\n") and slow.asked == 1
    assert scripted.seen(rid="kept")[0]["body"]["messages"] == BODY["messages"]


async def test_what_is_wrong_with_it_fails_the_job_and_is_not_tried_again(upstream, scripted):
    slow = Slow(JobError("`m` cannot be fetched.", param="m"))
    slow.let.set()
    with pytest.raises(JobError) as caught:
        async for _ in upstream.run(slow.request("wrong", stream=False)):
            pass
    assert (caught.value.code, caught.value.param, slow.asked) == (400, "m", 1)
    assert scripted.seen(rid="wrong") == []


async def test_a_stream_that_was_kept_alive_hears_of_the_failure(upstream):
    slow = Slow(JobError("`m` cannot be fetched.", param="m"))
    chunks = []
    with pytest.raises(JobError):
        async for chunk in upstream.run(slow.request("late")):
            chunks.append(chunk)
            slow.let.set()
    assert chunks[0] == KEEPALIVE and "`m` cannot be fetched." in chunks[-1]


@pytest.mark.parametrize("way", ["cancelled", "failed"])
async def test_a_job_that_ends_meanwhile_ends_the_preparation(upstream, way):
    slow = Slow()

    async def run():
        async for _ in upstream.run(slow.request("gone", stream=False)):
            pass

    task = asyncio.create_task(run())
    await slow.begun.wait()
    if way == "cancelled":
        task.cancel()
    else:
        upstream.fail_all(JobError("The worker was stopped.", code=503))
    with pytest.raises(asyncio.CancelledError if way == "cancelled" else JobError):
        await task
    await asyncio.wait_for(slow.cancelled.wait(), 30)
