"""Requests of real clients, through the platform stand-in, the real SDK and the worker, to a real SGLang."""

import asyncio
import json
import re
from pathlib import Path

import openai
import pytest

from local import corpus
from server.guard import descendants
from server.processes import started_at
from start import start_report
from tests.e2e.fronts import JOB_FORM, OWN_ENGINE

pytestmark = pytest.mark.asyncio(loop_scope="session")

PARIS, PARIS_ANSWER = corpus.EXCHANGES[0]
NON_ASCII, NON_ASCII_ANSWER = next((q, a) for q, a in corpus.EXCHANGES if "🦜" in a)
MODEL = corpus.SERVED_NAME


def user(text: str) -> list[dict]:
    return [{"role": "user", "content": text}]


async def run(platform, job_input):
    return await (await platform.submit(job_input)).finished(120)


def error_of(job) -> dict:
    assert job.status == "FAILED", job.output
    assert "Traceback" not in job.error
    error = json.loads(job.error)
    assert set(error) == {"message", "type", "param", "code", "job_id"} and error["job_id"] == job.id
    return error


def sse(job) -> list[dict]:
    """The events of a streamed job, parsed; the closing [DONE] is checked and left out."""
    text = "".join(job.output)
    assert text.endswith("data: [DONE]\n\n")
    return [json.loads(event.removeprefix("data: ")) for event in text.split("\n\n")[:-2]]


# ------------------------------------------------------------------ OpenAI
async def test_models(client):
    listed = [model async for model in await client.models.list()]
    assert [model.id for model in listed] == [MODEL]
    assert (await client.models.retrieve(MODEL)).id == MODEL


@pytest.mark.parametrize("question, answer", corpus.EXCHANGES)
async def test_chat(client, question, answer):
    whole = await client.chat.completions.create(model=MODEL, messages=user(question), temperature=0)
    assert whole.choices[0].message.content == answer
    assert whole.choices[0].finish_reason == "stop"
    assert whole.usage.completion_tokens > 0


@pytest.mark.parametrize("question, answer", [(PARIS, PARIS_ANSWER), (NON_ASCII, NON_ASCII_ANSWER),
                                              (corpus.LONG_PROMPT, corpus.LONG_ANSWER)])
async def test_chat_streamed_with_usage(client, question, answer):
    stream = await client.chat.completions.create(model=MODEL, messages=user(question), temperature=0, stream=True,
                                                  max_tokens=1000, stream_options={"include_usage": True})
    chunks = [chunk async for chunk in stream]
    assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices) == answer
    assert [c.choices[0].finish_reason for c in chunks if c.choices][-1] == "stop"
    assert chunks[-1].usage.completion_tokens > 0


async def test_completions(client):
    prompt, continuation = corpus.COMPLETIONS[0]
    whole = await client.completions.create(model=MODEL, prompt=prompt, temperature=0, max_tokens=20)
    assert whole.choices[0].text == continuation
    stream = await client.completions.create(model=MODEL, prompt=prompt, temperature=0, max_tokens=20, stream=True,
                                             stream_options={"include_usage": True})
    chunks = [chunk async for chunk in stream]
    assert "".join(c.choices[0].text for c in chunks if c.choices) == continuation
    assert chunks[-1].usage.total_tokens > 0


async def test_tool_call(client):
    arguments = dict(model=MODEL, messages=user(corpus.WEATHER_PROMPT), tools=[corpus.WEATHER_TOOL], temperature=0)
    whole = await client.chat.completions.create(**arguments)
    assert whole.choices[0].finish_reason == "tool_calls"
    [call] = whole.choices[0].message.tool_calls
    assert call.function.name == "get_weather" and json.loads(call.function.arguments) == corpus.WEATHER_ARGUMENTS
    pieces = ""
    async for chunk in await client.chat.completions.create(**arguments, stream=True):
        for delta in (chunk.choices[0].delta.tool_calls or []) if chunk.choices else []:
            pieces += delta.function.arguments or ""
    assert json.loads(pieces) == corpus.WEATHER_ARGUMENTS


async def test_json_schema(client):
    schema = {"type": "object", "properties": {"city": {"type": "string", "maxLength": 8},
                                               "country": {"type": "string", "maxLength": 8}},
              "required": ["city", "country"], "additionalProperties": False}
    whole = await client.chat.completions.create(
        model=MODEL, messages=user("Give Paris and its country as JSON."), temperature=0, max_tokens=200,
        response_format={"type": "json_schema", "json_schema": {"name": "place", "schema": schema, "strict": True}})
    assert json.loads(whole.choices[0].message.content) == {"city": "Paris", "country": "France"}


async def test_embeddings_are_refused_clearly_by_a_generating_model(platform, worker):
    job = await run(platform, {"openai_route": "/v1/embeddings", "openai_input": {"model": MODEL, "input": "Hello"}})
    error = error_of(job)
    assert error["code"] == 400 and "IS_EMBEDDING=true" in error["message"]


async def test_tokenize_and_back(platform, worker):
    tokens = (await run(platform, {"openai_route": "/v1/tokenize", "openai_input": {"prompt": "Paris."}})).output[0]
    assert tokens["count"] == len(tokens["tokens"]) > 0
    back = await run(platform, {"openai_route": "/v1/detokenize", "openai_input": {"tokens": tokens["tokens"]}})
    assert back.output[0]["text"] == "Paris."


async def test_responses(client):
    answer = await client.responses.create(model=MODEL, input=PARIS, temperature=0)
    assert answer.output_text == PARIS_ANSWER


# ------------------------------------------------------------------ Anthropic
async def test_anthropic_messages(claude_client):
    greedy = {"temperature": 0}
    whole = await claude_client.messages.create(model=MODEL, max_tokens=64, messages=user(PARIS), extra_body=greedy)
    assert whole.content[0].text == PARIS_ANSWER
    async with claude_client.messages.stream(model=MODEL, max_tokens=64, messages=user(NON_ASCII),
                                             extra_body=greedy) as stream:
        assert "".join([text async for text in stream.text_stream]) == NON_ASCII_ANSWER
    counted = await claude_client.messages.count_tokens(model=MODEL, messages=user(PARIS))
    assert counted.input_tokens > 0


# ------------------------------------------------------------------ native and worker-vllm's forms
async def test_native_generate_single_batch_and_streamed(platform, worker):
    prompt, sampling = corpus.chatml(PARIS), {"temperature": 0, "max_new_tokens": 30}
    single = await run(platform, {"text": prompt, "sampling_params": sampling})
    assert single.output[0]["text"] == PARIS_ANSWER
    batch = await run(platform, {"text": [prompt, corpus.chatml(NON_ASCII)],
                                 "sampling_params": {**sampling, "max_new_tokens": 100}})
    assert [answer["text"] for answer in batch.output[0]] == [PARIS_ANSWER, NON_ASCII_ANSWER]
    streamed = sse(await run(platform, {"text": prompt, "sampling_params": sampling, "stream": True}))
    assert streamed[-1]["text"] == PARIS_ANSWER  # cumulative
    ids = (await run(platform, {"openai_route": "/tokenize", "openai_input": {"prompt": prompt}})).output[0]["tokens"]
    by_ids = await run(platform, {"input_ids": ids, "sampling_params": sampling})
    assert by_ids.output[0]["text"] == PARIS_ANSWER


@JOB_FORM
async def test_native_text_in_the_chat_template(platform, worker):
    fields = {"sampling_params": {"temperature": 0, "max_tokens": 100}, "apply_chat_template": True}
    wrapped = await run(platform, {"text": PARIS, **fields})
    assert wrapped.output[0]["text"] == PARIS_ANSWER and "meta_info" in wrapped.output[0]
    batch = await run(platform, {"text": [PARIS, NON_ASCII], **fields})
    assert [answer["text"] for answer in batch.output[0]] == [PARIS_ANSWER, NON_ASCII_ANSWER]
    streamed = sse(await run(platform, {"text": PARIS, **fields, "stream": True}))
    assert streamed[-1]["text"] == PARIS_ANSWER
    bare = await run(platform, {"text": PARIS, "sampling_params": {"temperature": 0, "max_tokens": 1}})
    assert bare.output[0]["meta_info"]["prompt_tokens"] < wrapped.output[0]["meta_info"]["prompt_tokens"]


@JOB_FORM
async def test_the_forms_of_worker_vllm(platform, worker):
    sampling = {"temperature": 0, "max_tokens": 50}
    chat = await run(platform, {"messages": user(PARIS), "sampling_params": sampling})
    assert chat.output[0]["choices"][0]["message"]["content"] == PARIS_ANSWER
    templated = await run(platform, {"prompt": PARIS, "apply_chat_template": True, "sampling_params": sampling})
    assert templated.output[0]["choices"][0]["message"]["content"] == PARIS_ANSWER
    prompt, continuation = corpus.COMPLETIONS[0]
    completed = await run(platform, {"prompt": prompt, "sampling_params": {**sampling, "max_tokens": 20}})
    assert completed.output[0]["choices"][0]["text"] == continuation
    routed = await run(platform, {"route": "/v1/chat/completions", "method": "POST",
                                  "body": {"messages": user(PARIS), "temperature": 0}})
    assert routed.output[0]["choices"][0]["message"]["content"] == PARIS_ANSWER
    assert routed.output[0]["model"] == MODEL


@pytest.mark.parametrize("job_input", [{"openai_route": "/v1/models"},
                                       {"openai_route": "/v1/models", "openai_input": None},
                                       {"openai_route": "/v1/models", "openai_input": {}},
                                       {"route": "/v1/models", "method": "GET"}])
async def test_reads(platform, worker, job_input):
    assert (await run(platform, job_input)).output[0]["data"][0]["id"] == MODEL


# ------------------------------------------------------------------ failures
TOO_LONG = "word " * 5000


@pytest.mark.parametrize("job_input, code, names", [
    ({"model": "gpt-4", "messages": user(PARIS)}, 404, "gpt-4"),
    ({"openai_route": "/v1/models/gpt-4"}, 404, "gpt-4"),
    ({"messages": "not a list"}, 400, "messages"),
    ({"messages": user(PARIS), "temperature": "hot"}, 400, "temperature"),
    ({"messages": user(PARIS), "temperature": -1}, 400, "temperature"),
    ({"openai_route": "/v1/chat/completions", "openai_input": {"stream": True}}, 400, "messages"),
    ({"messages": user(TOO_LONG)}, 400, "context"),
    ({"messages": user(TOO_LONG), "stream": True}, 400, "context"),
    ({"text": TOO_LONG}, 400, "context"),
    ({"text": TOO_LONG, "stream": True}, 400, "context"),
    ({"prompt": TOO_LONG, "stream": True}, 400, "context"),
    ({"text": PARIS, "sampling_params": {"nonsense": 1}}, 400, "nonsense"),
    ({"openai_route": "/v1/responses", "openai_input": {"temperature": 0}}, 400, "input"),
    ({"openai_route": "/v1/messages", "openai_input": {"messages": user(PARIS)}}, 400, "max_tokens"),
])
async def test_a_refused_request_is_a_failed_job_that_says_why(platform, worker, job_input, code, names):
    job = await run(platform, job_input)
    error = error_of(job)
    assert error["code"] == code
    assert names in error["message"], error
    assert ".py" not in error["message"] and len(error["message"]) < 1500


async def test_openai_clients_see_failures_as_errors(client, worker):
    with pytest.raises(openai.APIStatusError) as raised:
        await client.chat.completions.create(model=MODEL, messages=user(TOO_LONG))
    if worker.over_http:
        assert type(raised.value) is openai.BadRequestError and raised.value.body["code"] == 400
        assert "context" in str(raised.value)
    else:
        assert type(raised.value) is openai.InternalServerError and json.loads(raised.value.body)["code"] == 400


# ------------------------------------------------------------------ load
async def test_sixteen_streams_at_once_are_each_exact(client):
    pairs = [corpus.EXCHANGES[i % len(corpus.EXCHANGES)] for i in range(14)] + [
        (corpus.LONG_PROMPT, corpus.LONG_ANSWER)] * 2

    async def ask(question: str) -> str:
        stream = await client.chat.completions.create(model=MODEL, messages=user(question), temperature=0,
                                                      stream=True, max_tokens=1000)
        return "".join([c.choices[0].delta.content or "" async for c in stream if c.choices])

    assert await asyncio.gather(*(ask(question) for question, _ in pairs)) == [answer for _, answer in pairs]


async def test_cancelling_frees_the_engine(platform, worker):
    job = await platform.submit({"text": "Once", "stream": True, "sampling_params": {
        "max_new_tokens": 1500, "ignore_eos": True}})
    await job.chunk(0)
    await platform.cancel(job.id)
    # A server that still generated would not be idle: the next request waits for nothing.
    after = await run(platform, {"messages": user(PARIS), "temperature": 0})
    assert after.output[0]["choices"][0]["message"]["content"] == PARIS_ANSWER
    assert job.status == "CANCELLED"


async def test_no_secret_in_the_worker_output(worker):
    assert worker.environ["API_KEY"] not in worker.output


# ------------------------------------------------------------------ the start
@OWN_ENGINE
async def test_the_start_is_told_in_phases(worker):
    spans = {span.name: span for span in start_report.read(worker.lines)}
    assert {"python", "configuration", "worker imports", "server imports", "scheduler imports", "distributed init",
            "weights", "kv cache", "server", "server warm-up", "warm-up", "first poll"} <= set(spans)
    assert spans["worker imports"].meanwhile and spans["worker imports"].end < spans["scheduler imports"].end
    assert spans["warm-up"].start >= spans["server warm-up"].end
    assert re.search(r"warm-up: prefill \d+\.\d\d s, chat \d+\.\d\d s in ", worker.output)


@OWN_ENGINE
async def test_the_schedulers_interpreter_imported_while_the_server_did(worker):
    [server] = [pid for pid in descendants(worker.process.pid)
                if b"headstart.py" in Path(f"/proc/{pid}/cmdline").read_bytes()
                and b"guard.py" not in Path(f"/proc/{pid}/cmdline").read_bytes()]
    [scheduler] = [pid for pid in descendants(server)
                   if b"sglang::scheduler" in Path(f"/proc/{pid}/cmdline").read_bytes()]
    spans = {span.name: span for span in start_report.read(worker.lines)}
    imports = spans["server imports"]
    # Without a head start it begins after these imports have ended.
    assert started_at(scheduler) - started_at(server) < imports.end - imports.start
