"""The files of examples/ that the CPU's SGLang cannot serve: on the scripted engine behind a real worker, and against a
load balancer and a speculating server that are played here."""

import base64
import json

import aiohttp
import pytest
from aiohttp import web

from tests.examples import EXAMPLES, on, output_of
from tests.over_http import OverHttp
from tests.support import free_port
from tests.worker import WorkerProcess, contract_environ

SPEECH = b'RIFF\x24\0\0\0WAVE#script {"text": "Paris is the capital."}'
RED = json.dumps({"text": "It is red."})


@pytest.fixture
async def seeing(request, platform):
    """The front of a worker whose engine says that it sees and hears."""
    environ = contract_environ(ENABLE_MULTIMODAL="true", SCRIPTED_ENGINE_SCRIPT=RED)
    if request.param == "queue":
        async with WorkerProcess(platform, environ) as worker:
            yield platform, await worker.connected()
    else:
        async with OverHttp() as front, WorkerProcess(front, environ) as worker:
            yield front, await worker.connected()


@pytest.mark.parametrize("seeing, name", [(front, name) for name, front in on("scripted")], indirect=["seeing"])
async def test_an_example_with_a_picture_or_speech(seeing, name, tmp_path, client_session):
    front, worker = seeing
    speech = tmp_path / "speech.wav"
    speech.write_bytes(SPEECH)
    arguments = [str(speech)] if "transcription" in name else []
    EXAMPLES[name].seen(await output_of(name, front.openai_url, *arguments))
    async with client_session.get(f"http://127.0.0.1:{worker.environ['SGLANG_PORT']}/_scripted/requests") as answer:
        seen = (await answer.json())[-1]
    if "transcription" in name:
        assert (seen["path"], seen["body"]["bytes"], seen["body"]["language"]) == (
            "/v1/audio/transcriptions", len(SPEECH), "en")
    else:
        text, picture = seen["body"]["messages"][0]["content"]
        kind, _, data = picture["image_url"]["url"].partition(",")
        assert kind == "data:image/png;base64" and base64.b64decode(data).startswith(b"\x89PNG\r\n")
        assert text["text"] == "Which colour is this?"


@pytest.fixture
async def client_session():
    async with aiohttp.ClientSession() as session:
        yield session


@pytest.fixture
async def balancer():
    """(base URL, headers of the requests): RunPod's load balancer, as far as it names the worker, and a server that
    speculates, as far as it tells so."""
    asked = []

    async def chat(request):
        asked.append(request.headers)
        reply = {"id": "1", "object": "chat.completion", "created": 0, "model": "m", "choices": [
            {"index": 0, "message": {"role": "assistant", "content": "Paris."}, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 20, "completion_tokens": 3, "total_tokens": 23,
                      "prompt_tokens_details": {"cached_tokens": 16}}}
        return web.json_response(reply, headers={"X-Runpod-Worker-Id": "w-1"})

    async def generate(request):
        return web.json_response({"text": " blue", "meta_info": {"completion_tokens": 64, "spec_verify_ct": 16}})

    app = web.Application()
    app.router.add_post("/v1/chat/completions", chat)
    app.router.add_post("/generate", generate)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    port = free_port()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    yield f"http://127.0.0.1:{port}/v1", asked
    await runner.cleanup()


async def test_a_conversation_asks_for_the_worker_that_it_was_with(balancer):
    url, asked = balancer
    said = await output_of("openai/affinity.py", url)
    assert said == "Paris. worker w-1, 16 of 20 tokens cached\n" * 2
    assert [headers.get("X-Runpod-Worker-Id") for headers in asked] == [None, "w-1"]


async def test_tokens_for_each_step_of_a_server_that_speculates(balancer):
    assert "64 tokens, 4.00 a step" in await output_of("openai/speculative.py", balancer[0])
