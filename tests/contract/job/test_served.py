"""Names and shapes through a whole worker: what the server says of itself counts, and answers are reshaped."""

import json

import pytest

from local.runpod_platform import Platform
from tests.over_http import OverHttp
from tests.support import say
from tests.worker import WorkerProcess, contract_environ, error_of


def environ_of(folder) -> dict[str, str]:
    """A worker whose model stands in SGLang's own configuration file alone."""
    (folder / "server.yaml").write_text("model-path: org/name\nserved-model-name: my-model\n", encoding="utf-8")
    environ = contract_environ(SGLANG_CONFIG_FILE=str(folder / "server.yaml"), WORKER_LOG_LEVEL="debug")
    for name in ("MODEL_NAME", "SERVED_MODEL_NAME", "DEVICE"):
        environ.pop(name)
    # the scripted engine reads no file
    environ["SGLANG_LAUNCH_COMMAND"] += " --served-model-name my-model --model-path org/name"
    return environ


@pytest.fixture
async def started(tmp_path):
    async with Platform() as stand_in, WorkerProcess(stand_in, environ_of(tmp_path)) as worker:
        yield stand_in, await worker.connected()


async def test_what_the_server_says_of_itself_counts(started):
    platform, worker = started

    async def done(job_input):
        return await (await platform.submit(job_input)).finished()

    listed = (await done({"openai_route": "/v1/models"})).output[0]["data"]
    assert [card["id"] for card in listed] == ["my-model"]
    for name in ("my-model", "org/name", "default", "", None):
        job = await done({"model": name, "messages": say({"text": "Paris."})})
        assert (job.status, job.output[0]["model"]) == ("COMPLETED", "my-model"), name
    for name in ("other", "my-model:adapter", "adapter"):
        job = await done({"model": name, "messages": say({"text": "Paris."})})
        assert job.status == "FAILED" and json.loads(job.error)["code"] == 404, name

    # an answer in another shape than the engine's
    job = await done({"route": "/vertex_generate", "body": {
        "instances": [{"text": "Hi"}], "parameters": {"sampling_params": {"max_tokens": 4}}}})
    assert job.output[0]["predictions"][0]["meta_info"]["completion_tokens"] == 4

    # the scripted engine has no reasoning parser, and the wish to think is left out with a line in the log
    job = await done({"openai_route": "/v1/messages?beta=true", "openai_input": {
        "model": "my-model", "max_tokens": 9, "messages": say({"text": "Paris."}), "thinking": {"type": "adaptive"}}})
    assert job.status == "COMPLETED"
    await worker.line("`thinking` was left out")


TOOLS = [{"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}]


@pytest.fixture(params=["queue", "http"])
async def without_parser(request):
    """(front, worker) of a worker whose server has no parser for tool calls."""
    environ = contract_environ(TOOL_CALL_PARSER="none")
    kind = Platform if request.param == "queue" else OverHttp
    async with kind() as front, WorkerProcess(front, environ) as worker:
        yield front, await worker.connected()


async def test_a_request_with_tools_before_a_server_without_a_parser(without_parser):
    front, worker = without_parser
    assert "--tool-call-parser" not in worker.output
    await worker.line("parsers: none for tool calls, none for reasoning")
    for body in ({}, {"tool_choice": "auto"}, {"tool_choice": "none"}):
        job = await (await front.submit({"messages": say({"text": "Paris."}), "tools": TOOLS, **body})).finished()
        assert job.output[0]["choices"][0]["message"]["content"] == "Paris."
    for choice in ("required", {"type": "function", "function": {"name": "f"}}):
        body = {"messages": say({"text": "Paris."}), "tools": TOOLS, "tool_choice": choice}
        error = error_of(await (await front.submit(body)).finished())
        assert (error["code"], error["param"]) == (400, "tool_choice") and "TOOL_CALL_PARSER" in error["message"]
        error = error_of(await (await front.submit({**body, "stream": True})).finished())
        assert error["code"] == 400 and "TOOL_CALL_PARSER" in error["message"]
    messages = {"max_tokens": 9, "messages": say({"text": "Paris."}), "tool_choice": {"type": "any"},
                "tools": [{"name": "f", "input_schema": {"type": "object"}}]}
    job = await (await front.submit({"openai_route": "/v1/messages", "openai_input": messages})).finished()
    assert "TOOL_CALL_PARSER" in error_of(job)["message"]
    assert worker.output.count("a request brings tools, but the server has no parser") == 1


async def test_the_servers_parser_is_detected_where_nothing_is_set(platform):
    async with WorkerProcess(platform, contract_environ()) as worker:
        await worker.connected()
        await worker.line("parsers: qwen for tool calls (detected), none for reasoning")
        body = {"messages": say({"text": "Paris."}), "tools": TOOLS, "tool_choice": "required"}
        assert (await (await platform.submit(body)).finished()).status == "COMPLETED"
