"""What a real SGLang's own settings and decisions make of an answer: native streams of deltas, and time limits."""

import contextlib
import itertools
import json

import pytest

from local.runpod_platform import Platform
from tests.e2e.fronts import http_beside
from tests.support import free_port
from tests.worker import WorkerProcess

pytestmark = pytest.mark.timeout(900)

UP = 300  # seconds within which an engine is up, on a machine that is busy with other things
TOKENS = 60
TEXT = {"text": "The capital of France", "sampling_params": {"max_new_tokens": TOKENS, "temperature": 0,
                                                             "ignore_eos": True}}
LONG = "word " * 20_000
ASK = [{"role": "user", "content": LONG}]


@contextlib.asynccontextmanager
async def started(environ, **extra):
    settings = {**environ, "SGLANG_PORT": str(free_port()), **extra}
    async with Platform() as platform, WorkerProcess(platform, settings, ready_within=UP) as worker:
        await worker.connected()
        yield platform, worker


def native_events(job) -> list[dict]:
    return [json.loads(event.removeprefix("data: ")) for event in job.text.split("\n\n") if event.startswith("data: {")]


def last_event(job) -> dict:
    return json.loads(job.text.rstrip("\n").split("\n\n")[-1].split("data: ", 1)[1])


async def done(platform, job_input):
    return await (await platform.submit(job_input)).finished(UP)


async def test_native_deltas_all_arrive_whoever_asked_the_engine_for_them(real_environ, tmp_path):
    config = tmp_path / "engine.yaml"
    config.write_text("incremental-streaming-output: true\n")
    async with started(real_environ, SGLANG_CONFIG_FILE=str(config)) as (platform, worker):
        whole = await done(platform, TEXT)
        platform.post_delay_ms = 60  # so that several events wait for each delivery
        one = native_events(await done(platform, {**TEXT, "stream": True}))
        assert "".join(event["text"] for event in one) == whole.output[0]["text"]
        assert sum(len(event["output_ids"]) for event in one) == TOKENS
        batch = native_events(await done(platform, {**TEXT, "text": [TEXT["text"]] * 2, "stream": True,
                                                    "return_logprob": True}))
        platform.post_delay_ms = 0
        for index in (0, 1):
            events = [event for event in batch if event["index"] == index]
            assert sum(len(event["output_ids"]) for event in events) == TOKENS
            assert sum(len(event["meta_info"]["output_token_logprobs"]) for event in events) == TOKENS

        # The same worker, for what is told of errors.
        chat = await done(platform, {"messages": ASK, "stream": True})
        assert last_event(chat)["error"]["code"] == json.loads(chat.error)["code"] == 400
        message = await done(platform, {"openai_route": "/v1/messages", "openai_input": {
            "model": real_environ["SERVED_MODEL_NAME"], "max_tokens": 5, "messages": ASK, "stream": True}})
        assert json.loads(message.error)["code"] == 400
        assert last_event(message)["error"]["type"] == "invalid_request_error"
        response = await done(platform, {"openai_route": "/v1/responses", "openai_input": {
            "input": LONG, "stream": True}})
        assert json.loads(response.error)["code"] == 400
        assert last_event(response)["type"] == "response.failed"
        stored = await done(platform, {"openai_route": "/v1/responses", "openai_input": {
            "input": "Hello", "previous_response_id": "resp_none"}})
        assert "ENABLE_RESPONSE_STORE" in stored.error and "--" not in stored.error
        embedded = await done(platform, {"openai_route": "/v1/embeddings", "openai_input": {"input": "Hello"}})
        assert "IS_EMBEDDING=true" in embedded.error
        parts = [{"role": "user", "content": [{"type": "text"}]}]
        wrong = await done(platform, {"openai_route": "/v1/messages", "openai_input": {
            "model": real_environ["SERVED_MODEL_NAME"], "max_tokens": 5, "messages": parts}})
        assert json.loads(wrong.error)["message"] == "messages.0.content.0.text: Field required"


async def test_what_the_engine_ended_by_its_own_time_limit_is_run_once(real_environ):
    # So short a limit would end the server's own warm-up too.
    async with started(real_environ, SGLANG_REQ_RUNNING_TIMEOUT="0.001", SKIP_SERVER_WARMUP="true",
                       RETRY_TIMEOUT=str(UP)) as (platform, worker), http_beside(worker) as (http, _):
        served = {"model": real_environ["SERVED_MODEL_NAME"]}
        asked = [{"role": "user", "content": "Name a city."}]
        routes = {"/v1/chat/completions": {"messages": asked, "max_tokens": 30},
                  "/v1/messages": {**served, "messages": asked, "max_tokens": 30},
                  "/v1/responses": {"input": "Name a city.", "max_output_tokens": 30}, "/generate": TEXT}

        def runs():
            return [sum(f'"POST {route} ' in line for line in worker.lines) for route in routes]

        await done(platform, {"openai_route": "/v1/embeddings", "openai_input": {"input": "Hello"}})
        await worker.line('"POST /v1/embeddings ', UP)  # what was asked before this, by the worker itself, is logged
        begun = runs()
        for (route, body), stream, front in itertools.product(routes.items(), (True, False), (platform, http)):
            before = sum(runs())
            job = await done(front, {"openai_route": route, "openai_input": {**body, "stream": stream}})
            assert job.status == "FAILED", (route, stream)
            error = json.loads(job.error)
            # What ends a stream over HTTP is an event alone, and Anthropic's and those of Responses have no status;
            # where the engine's limit was faster than its first event, no stream had begun, and the status is told.
            silent = front is http and stream and route in ("/v1/messages", "/v1/responses")
            assert error["code"] in ((None, 503) if silent else (503,)), (route, stream, error)
            assert not silent or "timeout" in error["message"], (route, error)
            await worker.found(lambda _, before=before: True if sum(runs()) > before else None, UP)  # it logs it later
        assert [now - then for now, then in zip(runs(), begun, strict=True)] == [4, 4, 4, 4]
