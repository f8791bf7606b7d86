"""One request to the engine over HTTP, against a scripted engine: framing, pacing, errors, ends."""

import asyncio
import contextlib
import json

import pytest

from answer.upstream import Patience, Upstream
from job.routes import Context, plan
from tests.support import Scripted, say
from utils import JobError

CONTEXT = Context("tiny", "tiny")


@pytest.fixture(scope="module")
def scripted():
    with Scripted() as engine:
        yield engine


@pytest.fixture
async def upstream(scripted):
    client = Upstream(scripted.url, patience=Patience(idle=20, request=20, retry=0))
    yield client
    await client.close()


def chat(script: dict, rid: str = "job", stream: bool = True, **fields):
    return plan({"messages": say(script), "stream": stream, **fields}, CONTEXT, rid)


async def collect(client: Upstream, request) -> list:
    return [chunk async for chunk in client.run(request)]


def events(chunks: list[str]) -> list[str]:
    text = "".join(chunks)
    assert text.endswith("\n\n")
    return text.split("\n\n")[:-1]


def spoken(chunks: list[str]) -> str:
    parts = []
    for event in events(chunks):
        data = event.removeprefix("data: ")
        if data != "[DONE]":
            parts += [choice["delta"].get("content") or "" for choice in json.loads(data)["choices"]]
    return "".join(parts)


async def test_an_answer_is_one_json_object(upstream):
    [answer] = await collect(upstream, chat({"text": "Paris."}, stream=False))
    assert answer["choices"][0]["message"]["content"] == "Paris."


@pytest.mark.parametrize("kilobytes", range(100, 900, 50))
async def test_a_stream_whose_end_arrived_while_nobody_read_comes_out_whole(scripted, kilobytes):
    client, name = Upstream(scripted.url, chunk_bytes=2**16), f"unread-{kilobytes}"
    chunks = []
    async for chunk in client.run(chat({"tokens": kilobytes, "token_bytes": 1000}, rid=name)):
        if not chunks:  # from here on all of it waits in buffers
            await asyncio.to_thread(scripted.wait, rid=name, state="finished")
        chunks.append(chunk)
    assert len(spoken(chunks)) == kilobytes * 1000 and events(chunks)[-1] == "data: [DONE]"
    await client.close()


@pytest.mark.parametrize("cut", [1, 7, "utf8", None])
async def test_a_stream_cut_anywhere_comes_out_whole(upstream, cut):
    text = "Café Ünïcode 🦜 naïve 東京"
    chunks = await collect(upstream, chat({"text": text, "cut": cut, "cut_ms": 0}))
    assert spoken(chunks) == text
    assert events(chunks)[-1] == "data: [DONE]"
    assert all(chunk.endswith("\n\n") for chunk in chunks)


async def test_events_with_crlf_and_comments_pass_unaltered(upstream):
    chunks = await collect(upstream, chat({"text": "a b", "eol": "crlf", "comments": True}))
    text = "".join(chunks)
    assert "\r\n\r\n" in text and "\n:" in text and "[DONE]\r\n\r\n" in text


async def test_the_first_event_leaves_while_the_rest_is_still_to_come(upstream, scripted):
    request = chat({"tokens": 3, "hang_at": 1}, rid="first")
    async with contextlib.aclosing(upstream.run(request)) as stream:
        first = await anext(stream)
        assert first.startswith("data: ")
        await asyncio.to_thread(scripted.wait, rid="first", state="hanging")


async def test_what_arrives_during_a_delivery_is_one_chunk(upstream, scripted):
    request = chat({"tokens": 200}, rid="coalesce")
    chunks = []
    async with contextlib.aclosing(upstream.run(request)) as stream:
        async for chunk in stream:
            chunks.append(chunk)
            if len(chunks) == 1:  # a delivery that takes as long as the whole answer
                await asyncio.to_thread(scripted.wait, rid="coalesce", state="finished")
    assert spoken(chunks) == "".join(f"t{i} " for i in range(200))
    assert len(chunks) <= 3


async def test_a_chunk_has_a_limit(scripted):
    client = Upstream(scripted.url, chunk_bytes=64 * 1024)
    chunks = await collect(client, chat({"tokens": 40, "token_bytes": 10_000}))
    await client.close()
    assert max(len(chunk) for chunk in chunks) <= 64 * 1024
    assert len(spoken(chunks)) == 40 * 10_000


async def test_a_slow_delivery_slows_the_engine_down(scripted):
    """Back-pressure: the engine cannot run ahead of the reader by more than the buffers hold."""
    client = Upstream(scripted.url, chunk_bytes=64 * 1024)
    request = chat({"tokens": 3000, "token_bytes": 20_000}, rid="pressure")
    async with contextlib.aclosing(client.run(request)) as stream:
        await anext(stream)
        await asyncio.to_thread(scripted.wait, rid="pressure", state="running", tokens=10)
        [record] = await asyncio.to_thread(scripted.seen, rid="pressure")
        assert record["state"] == "running"
    await asyncio.to_thread(scripted.wait, rid="pressure", state="aborted,disconnected")
    await client.close()


@pytest.mark.parametrize("shape", ["openai", "generate", "string", "detail", "anthropic"])
async def test_an_error_status_in_any_shape_fails_the_job(upstream, shape):
    with pytest.raises(JobError) as raised:
        await collect(upstream, chat({"status": 422, "error": shape, "error_message": "no such thing"}))
    assert raised.value.code == 422
    assert "no such thing" in raised.value.message


async def test_an_error_event_before_any_token_fails_without_a_chunk(upstream):
    chunks = []
    with pytest.raises(JobError) as raised:
        async for chunk in upstream.run(chat({"error_at": 0, "error": "generate", "error_code": 400})):
            chunks.append(chunk)
    assert raised.value.code == 400
    assert chunks == []


@pytest.mark.parametrize("stream", [True, False])
async def test_what_the_engine_decided_is_not_run_again(scripted, stream):
    client, rid = Upstream(scripted.url, patience=Patience(retry=60)), f"decided-{stream}"
    script = {"error_at": 0, "error_code": 503, "error_message": "Request running timeout reached."}
    with pytest.raises(JobError) as raised:
        await collect(client, chat(script, rid=rid, stream=stream))
    assert (raised.value.code, raised.value.message) == (503, script["error_message"])
    assert len(await asyncio.to_thread(scripted.seen, rid=rid)) == 1
    await client.close()


async def test_an_error_in_the_middle_ends_the_stream_with_an_error_event(upstream):
    chunks = []
    with pytest.raises(JobError) as raised:
        async for chunk in upstream.run(chat({"tokens": 9, "error_at": 3, "error": "openai", "error_code": 503})):
            chunks.append(chunk)
    assert raised.value.code == 503
    last = events(chunks)[-1]
    assert json.loads(last.removeprefix("data: "))["error"]["code"] == 503
    assert "[DONE]" not in "".join(chunks)


async def test_a_dropped_connection_is_never_a_complete_answer(upstream):
    chunks = []
    with pytest.raises(JobError) as raised:
        async for chunk in upstream.run(chat({"tokens": 9, "tps": 50, "drop_at": 4})):
            chunks.append(chunk)
    assert raised.value.code == 502
    assert "error" in json.loads(events(chunks)[-1].removeprefix("data: "))


async def test_silence_in_a_stream_fails_and_frees_the_engine(scripted):
    client = Upstream(scripted.url, patience=Patience(idle=0.3))
    with pytest.raises(JobError) as raised:
        await collect(client, chat({"tokens": 9, "hang_at": 2}, rid="silent"))
    assert raised.value.code == 504 and "ENGINE_IDLE_TIMEOUT" in raised.value.message
    await asyncio.to_thread(scripted.wait, rid="silent", state="aborted,disconnected")
    await client.close()


async def test_a_stream_that_goes_on_has_no_limit_of_its_own(scripted):
    client = Upstream(scripted.url, patience=Patience(idle=0.5, request=0.5))
    chunks = await collect(client, chat({"tokens": 15, "tps": 15}))
    assert spoken(chunks) == "".join(f"t{i} " for i in range(15))
    await client.close()


async def test_a_request_that_takes_too_long_fails_and_frees_the_engine(scripted):
    client = Upstream(scripted.url, patience=Patience(request=0.3))
    with pytest.raises(JobError) as raised:
        await collect(client, chat({"tokens": 9, "hang_at": 2}, rid="slow", stream=False))
    assert raised.value.code == 504 and "REQUEST_TIMEOUT" in raised.value.message
    await asyncio.to_thread(scripted.wait, rid="slow", state="aborted,disconnected")
    await client.close()


@pytest.mark.parametrize("stream", [True, False])
async def test_cancelling_the_task_stops_the_engine(upstream, scripted, stream):
    rid = f"cancel-{stream}"
    task = asyncio.create_task(collect(upstream, chat({"tokens": 9, "hang_at": 2}, rid=rid, stream=stream)))
    await asyncio.to_thread(scripted.wait, rid=rid, state="hanging")
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await asyncio.to_thread(scripted.wait, rid=rid, state="aborted,disconnected")


async def test_cancelling_during_a_delivery_stops_the_engine_though_the_generator_lives_on(upstream, scripted):
    generators = []

    async def deliver():
        stream = upstream.run(chat({"tokens": 9, "hang_at": 2}, rid="posting"))
        generators.append(stream)  # as a traceback would: nobody closes it
        async for _ in stream:
            await asyncio.Event().wait()

    task = asyncio.create_task(deliver())
    await asyncio.to_thread(scripted.wait, rid="posting", state="hanging")
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await asyncio.to_thread(scripted.wait, rid="posting", state="aborted,disconnected")
    await generators[0].aclose()


async def test_a_finished_request_is_not_aborted(upstream, scripted):
    await collect(upstream, chat({"tokens": 2}, rid="done"))
    await collect(upstream, chat({"tokens": 2}, rid="done-whole", stream=False))
    with pytest.raises(JobError):
        await collect(upstream, chat({"status": 400}, rid="refused"))
    assert upstream._aborts == set()


async def test_native_text_in_the_chat_template(upstream):
    templated = plan({"text": "Hello", "apply_chat_template": True}, CONTEXT, "t1")
    bare = plan({"text": "Hello"}, CONTEXT, "t2")
    [one], [two] = await collect(upstream, templated), await collect(upstream, bare)
    assert one["meta_info"]["prompt_tokens"] > two["meta_info"]["prompt_tokens"]
    assert set(one) == set(two)  # the native shape either way
    [batch] = await collect(upstream, plan({"text": ["Hello", "Hi"], "apply_chat_template": True}, CONTEXT, "t3"))
    assert [answer["meta_info"]["prompt_tokens"] > two["meta_info"]["prompt_tokens"] for answer in batch] == [True] * 2


async def test_a_read_has_no_body(upstream):
    [models] = await collect(upstream, plan({"openai_route": "/v1/models", "openai_input": {}}, CONTEXT, "m"))
    assert models["data"][0]["id"] == "tiny"
    assert await collect(upstream, plan({"openai_route": "/health"}, CONTEXT, "h"))


async def test_the_api_key_is_sent():
    with Scripted("--api-key", "sesame-open") as engine:
        for key, code in (("sesame-open", None), ("wrong-key", 401)):
            client = Upstream(engine.url, api_key=key)
            if code is None:
                assert await collect(client, chat({"tokens": 1}))
            else:
                with pytest.raises(JobError) as raised:
                    await collect(client, chat({"tokens": 1}))
                assert raised.value.code == code
            await client.close()


async def test_nan_is_refused_before_it_is_sent(upstream):
    with pytest.raises(JobError) as raised:
        await collect(upstream, chat({}, temperature=float("nan")))
    assert raised.value.code == 400
