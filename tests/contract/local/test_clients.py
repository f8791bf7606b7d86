"""docs/clients.md: what clients show for a refusal, seen with the clients themselves against the platform's stand-in.

The worker's part is mostly played in this process: it refuses every job, a streamed one with its route's own event
first. The last tests have the real worker.
"""

import asyncio
import contextlib
import json

import anthropic
import httpx
import openai
import pytest

from local.platform_records import Unknowns
from local.runpod_platform import Platform
from tests.worker import WorkerProcess, contract_environ

MESSAGE = "The model 'gpt-4' does not exist; this endpoint serves 'tiny'."
ERROR = {"message": MESSAGE, "type": "not_found_error", "param": "model", "code": 404}
HELLO = [{"role": "user", "content": "Hello"}]


def event(route: str) -> str:
    if route.startswith("/v1/messages"):
        return f"event: error\ndata: {json.dumps({'type': 'error', 'error': ERROR})}\n\n"
    if route.startswith("/v1/responses"):
        failed = {"type": "response.failed", "sequence_number": 0, "response": {
            "id": "resp_1", "object": "response", "created_at": 0, "status": "failed", "output": [], "model": "gpt-4",
            "error": {"code": "invalid_prompt", "message": MESSAGE}, "parallel_tool_calls": True,
            "tool_choice": "auto", "tools": []}}
        return f"event: response.failed\ndata: {json.dumps(failed)}\n\n"
    return f"data: {json.dumps({'error': ERROR})}\n\n"


async def refuse_all(platform: Platform) -> None:
    while True:
        await platform.wait_for(lambda: platform.store.queue, None)
        for job in platform.store.take("worker-1", 10):
            if (job.input.get("openai_input") or {}).get("stream"):
                chunk = json.dumps({"output": event(job.input["openai_route"])})
                platform.store.chunk("worker-1", job.id, chunk.encode())
                await asyncio.sleep(0)
            error = json.dumps({**ERROR, "job_id": job.id})
            platform.store.done("worker-1", job.id, json.dumps({"error": error}).encode())


@pytest.fixture
async def platform():
    async with Platform() as stand_in:
        refusing = asyncio.create_task(refuse_all(stand_in))
        yield stand_in
        refusing.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await refusing


def openai_client(platform: Platform, **options) -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(base_url=platform.openai_url, api_key="k", **options)


def claude_client(platform: Platform, **options) -> anthropic.AsyncAnthropic:
    return anthropic.AsyncAnthropic(base_url=platform.url + "/openai", **options)


@pytest.mark.parametrize(("options", "jobs"), [({}, 3), ({"max_retries": 0}, 1)])
async def test_openai_python_hides_the_reason_of_an_unstreamed_refusal(platform, options, jobs):
    async with openai_client(platform, **options) as client:
        with pytest.raises(openai.InternalServerError) as raised:
            await client.chat.completions.create(model="gpt-4", messages=HELLO)
    assert str(raised.value) == "Error code: 500"
    assert json.loads(raised.value.response.json()["error"])["message"] == MESSAGE
    assert json.loads(raised.value.body)["code"] == 404
    assert len(platform.store.jobs) == jobs


@pytest.mark.parametrize(("options", "jobs"), [({}, 3), ({"max_retries": 0}, 1)])
async def test_anthropic_python_shows_the_whole_body_of_an_unstreamed_refusal(platform, options, jobs):
    async with claude_client(platform, auth_token="k", **options) as client:
        with pytest.raises(anthropic.InternalServerError, match="does not exist; this endpoint serves"):
            await client.messages.create(model="gpt-4", messages=HELLO, max_tokens=4)
    assert len(platform.store.jobs) == jobs


@pytest.mark.parametrize("failed_stream", ["cut", "end"])
async def test_openai_python_raises_the_event_of_a_streamed_refusal_at_once(platform, failed_stream):
    platform.unknowns = Unknowns(failed_stream=failed_stream)
    async with openai_client(platform) as client:
        for stream in (await client.chat.completions.create(model="gpt-4", messages=HELLO, stream=True),
                       await client.completions.create(model="gpt-4", prompt="Hello", stream=True)):
            with pytest.raises(openai.APIError, match="this endpoint serves 'tiny'") as raised:
                async for _ in stream:
                    pass
            assert raised.value.body["code"] == 404
    assert len(platform.store.jobs) == 2


@pytest.mark.parametrize("failed_stream", ["cut", "end"])
async def test_openai_python_gives_the_failed_response_and_does_not_raise_it(platform, failed_stream):
    platform.unknowns = Unknowns(failed_stream=failed_stream)
    async with openai_client(platform) as client:
        seen = []
        stream = await client.responses.create(model="gpt-4", input="Hello", stream=True)
        with contextlib.suppress(openai.APIConnectionError, httpx.HTTPError):
            async for one in stream:
                seen.append(one)
    assert [one.type for one in seen] == ["response.failed"] and seen[0].response.error.message == MESSAGE
    assert len(platform.store.jobs) == 1


@pytest.mark.parametrize("failed_stream", ["cut", "end"])
async def test_anthropic_python_raises_the_event_of_a_streamed_refusal_at_once(platform, failed_stream):
    platform.unknowns = Unknowns(failed_stream=failed_stream)
    async with claude_client(platform, auth_token="k") as client:
        stream = await client.messages.create(model="gpt-4", messages=HELLO, max_tokens=4, stream=True)
        with pytest.raises(anthropic.APIStatusError) as raised:
            async for _ in stream:
                pass
    assert raised.value.body["error"]["message"] == MESSAGE
    assert len(platform.store.jobs) == 1


async def test_anthropic_python_may_send_its_key_in_a_header_of_its_own(platform):
    async with claude_client(platform, api_key="k", max_retries=0) as client:
        with pytest.raises(anthropic.InternalServerError):
            await client.messages.create(model="gpt-4", messages=HELLO, max_tokens=4)


@pytest.mark.parametrize("header", ["first-chunk", "at-once"])
async def test_a_client_that_will_not_wait_for_the_header_gives_up_and_its_job_is_cancelled(header):
    async with Platform(unknowns=Unknowns(stream_header=header)) as platform:
        limits = httpx.Timeout(5, read=0.5)
        async with openai_client(platform, max_retries=0, timeout=limits) as client:
            asking = asyncio.create_task(client.chat.completions.create(model="m", messages=HELLO, stream=True))
            job = (await platform.wait_for(lambda: platform.store.take("worker-1", 1)))[0]
            if header == "at-once":
                stream = await asking  # the header is there; nothing else is
                await stream.close()
            else:
                with pytest.raises(openai.APITimeoutError):
                    await asking
            await platform.job(job.id).finished()
            assert job.status == "CANCELLED"


async def test_the_refusals_of_the_real_worker_reach_the_clients_that_stream():
    async with Platform() as platform, WorkerProcess(platform, contract_environ()) as worker:
        await worker.connected()
        async with openai_client(platform) as client, claude_client(platform, auth_token="k") as claude:
            for stream in (await client.chat.completions.create(model="gpt-4", messages=HELLO, stream=True),
                           await claude.messages.create(model="gpt-4", messages=HELLO, max_tokens=4, stream=True)):
                with pytest.raises((openai.APIError, anthropic.APIStatusError)) as raised:
                    async for _ in stream:
                        pass
                assert MESSAGE in str(raised.value)
            failed = []
            stream = await client.responses.create(model="gpt-4", input="Hello", stream=True)
            with contextlib.suppress(openai.APIConnectionError, httpx.HTTPError):
                async for one in stream:
                    failed.append(one)
            assert failed[-1].type == "response.failed" and failed[-1].response.error.message == MESSAGE
            assert len(platform.store.jobs) == 3
            with pytest.raises(openai.InternalServerError, match="^Error code: 500$"):
                await client.with_options(max_retries=0).chat.completions.create(model="gpt-4", messages=HELLO)


async def test_a_short_keepalive_brings_the_header_to_a_client_that_waits_for_it_in_vain_otherwise():
    script = [{"role": "user", "content": '#script {"text": "Paris.", "first_delay_ms": 4000}'}]
    async with Platform() as platform, WorkerProcess(platform, contract_environ(STREAM_KEEPALIVE="0.5")) as worker:
        await worker.connected()
        async with openai_client(platform, max_retries=0, timeout=httpx.Timeout(30, read=3)) as client:
            stream = await client.chat.completions.create(model="tiny", messages=script, stream=True)
            text = "".join([chunk.choices[0].delta.content or "" async for chunk in stream if chunk.choices])
    assert text == "Paris."
