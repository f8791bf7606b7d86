"""A stream that is refused before it began, through the platform: told by an event of its route, and then failed."""

import json

import pytest

from local.runpod_platform import Platform
from tests.support import say
from tests.worker import WorkerProcess, contract_environ

CHAT = {"messages": say({"text": "Paris."}), "stream": True}
SMALL = {"model": "tiny", "max_tokens": 5, "stream": True}


def routed(route, **body):
    return {"openai_route": route, "openai_input": {"stream": True, **body}}


@pytest.mark.timeout(120)
async def test_every_refusal_of_a_stream_is_told_and_then_fails_the_job():
    refused = {
        "an unknown model": ({**CHAT, "model": "nobody/nothing"}, 404, "error"),
        "a route that is none": (routed("/v1/nowhere"), 404, "error"),
        "no body": ({"messages": [], "stream": True, "prompt": "x"}, 400, "error"),
        "too large": ({**CHAT, "user": "x" * 1_100_000}, 413, "error"),
        "by the engine, with a status": ({"messages": say({"status": 400}), "stream": True}, 400, "error"),
        "by the engine, in its stream": ({"messages": say({"error_at": 0}), "stream": True}, 400, "error"),
        "a message": (routed("/v1/messages", **SMALL, messages=say({"status": 404, "error": "anthropic"})), 404,
                      "error: not_found_error"),
        "a message's model": (routed("/v1/messages", **{**SMALL, "model": "x"}, messages=say({})), 404,
                              "error: not_found_error"),
        "a response's model": (routed("/v1/responses", model="x", input="x"), 404, "response.failed"),
    }
    async with Platform() as platform, WorkerProcess(platform, contract_environ(MAX_INPUT_MB="1")) as worker:
        await worker.connected()
        for name, (job_input, code, shape) in refused.items():
            job = await (await platform.submit(job_input)).finished()
            assert job.status == "FAILED", (name, job.output)
            told = json.loads(job.error)
            assert told["code"] == code, (name, told)
            *_, last = job.text.rstrip("\n").split("\n\n")
            event = json.loads(last.split("data: ", 1)[1])
            if shape == "error":
                assert event["error"]["code"] == code and event["error"]["message"] == told["message"], name
            elif shape == "response.failed":
                assert event["type"] == shape and event["response"]["error"]["message"] == told["message"], name
            else:
                assert f"{event['type']}: {event['error']['type']}" == shape, name
                assert event["error"]["message"] == told["message"], name
            assert job.text.count("data: ") == (2 if shape == "response.failed" else 1), name


async def test_a_job_that_does_not_stream_fails_without_an_event():
    async with Platform() as platform, WorkerProcess(platform, contract_environ()) as worker:
        await worker.connected()
        job = await (await platform.submit({"messages": say({"text": "Paris."}), "model": "nobody/nothing"})).finished()
        assert job.status == "FAILED" and json.loads(job.error)["code"] == 404
        assert job.chunks == []
