"""Requests in other servers' words, on a real SGLang: each is answered as it asks."""

import json

import openai
import pytest

from local import corpus

pytestmark = pytest.mark.asyncio(loop_scope="session")

PARIS, PARIS_ANSWER = corpus.EXCHANGES[0]
MODEL = corpus.SERVED_NAME
SCHEMA = {"type": "object", "properties": {"city": {"type": "string", "maxLength": 5}}, "required": ["city"],
          "additionalProperties": False}
ASKED = {
    "/v1/chat/completions": {"messages": [{"role": "user", "content": PARIS}]},
    "/invocations": {"messages": [{"role": "user", "content": PARIS}]},
    "/v1/completions": {"prompt": PARIS}, "/generate": {"text": PARIS}, "/v1/responses": {"input": PARIS},
    "/v1/messages": {"messages": [{"role": "user", "content": PARIS}], "max_tokens": 100},
}


async def answered(platform, path, fields):
    job_input = {"openai_route": path, "openai_input": {**ASKED[path], "temperature": 0, **fields}}
    job = await (await platform.submit(job_input)).finished(120)
    assert job.status == "COMPLETED", job.error
    return job.output[0]


def text_of(path, answer):
    if path == "/generate":
        return answer["text"]
    if path == "/v1/responses":
        return answer["output"][0]["content"][0]["text"]
    if path == "/v1/messages":
        return answer["content"][0]["text"]
    choice = answer["choices"][0]
    return choice["text"] if path == "/v1/completions" else choice["message"]["content"]


def made(path, answer):
    """Tokens of the answer."""
    if path == "/generate":
        return answer["meta_info"]["completion_tokens"]
    usage = answer["usage"]
    return usage["output_tokens"] if "output_tokens" in usage else usage["completion_tokens"]


@pytest.mark.parametrize("path", ASKED)
@pytest.mark.parametrize("fields", [
    {"guided_json": SCHEMA}, {"structured_outputs": {"json": SCHEMA}}, {"extra_body": {"json_schema": SCHEMA}},
    {"response_format": {"type": "json_object", "schema": SCHEMA}}], ids=lambda fields: next(iter(fields)))
async def test_a_json_schema_is_kept_on_every_route(platform, worker, path, fields):
    text = text_of(path, await answered(platform, path, {**fields, "max_tokens": 200}))
    # A model this small may never end a string's white space; what there is obeys the schema.
    assert text.lstrip().startswith("{") and '"city"' in text
    if text.rstrip().endswith("}"):
        assert set(json.loads(text)) == {"city"}


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/completions", "/generate"])
@pytest.mark.parametrize("fields, allowed", [
    ({"guided_choice": ["a b", "C++ (x|y)", "né.?"]}, ["a b", "C++ (x|y)", "né.?"]),
    ({"structured_outputs": {"regex": "(aye|nay)"}}, ["aye", "nay"]),
    ({"guided_grammar": 'root ::= "abc" | "def"'}, ["abc", "def"]),
    ({"grammar": 'root ::= "abc" | "def"'}, ["abc", "def"])], ids=["choice", "regex", "grammar", "llama.cpp's"])
async def test_a_pattern_is_kept(platform, worker, path, fields, allowed):
    assert text_of(path, await answered(platform, path, {**fields, "max_tokens": 60})) in allowed


@pytest.mark.parametrize("path", ASKED)
async def test_empty_stop_strings_do_not_empty_the_answer(platform, worker, path):
    for fields in ({"stop": ""}, {"stop": [""]}, {"stop_sequences": [""]}, {"sampling_params": {"stop": ["", "§"]}}):
        assert text_of(path, await answered(platform, path, {**fields, "max_tokens": 5})).strip(), fields


@pytest.mark.parametrize("path", ASKED)
@pytest.mark.parametrize("name", ["max_tokens", "max_new_tokens", "max_completion_tokens", "max_output_tokens"])
async def test_the_longest_answer_under_every_name(platform, worker, path, name):
    # /v1/responses keeps two of them for itself (sglang: openai/protocol.py, to_sampling_params).
    asked, kept = (5, 3) if path == "/v1/responses" else (3, 3)
    assert 0 < made(path, await answered(platform, path, {"max_tokens": None, name: asked})) <= kept


@pytest.mark.parametrize("path, fields", [
    ("/v1/chat/completions", "frequency_penalty function_call logit_bias logprobs max_completion_tokens max_tokens "
     "metadata modalities n parallel_tool_calls prediction presence_penalty reasoning_effort response_format seed "
     "service_tier stop store stream stream_options temperature tool_choice tools top_logprobs top_p user verbosity"),
    ("/v1/completions", "best_of echo frequency_penalty logit_bias logprobs max_tokens n presence_penalty seed stop "
     "stream stream_options suffix temperature top_p user"),
    ("/v1/responses", "background include instructions max_output_tokens max_tool_calls metadata parallel_tool_calls "
     "previous_response_id prompt reasoning service_tier store stream stream_options temperature text tool_choice "
     "tools top_logprobs top_p truncation"),
    ("/v1/messages", "metadata stop_sequences stream system temperature thinking tool_choice tools top_k top_p"),
])
async def test_openais_and_anthropics_nullable_fields_may_be_null(platform, worker, path, fields):
    await answered(platform, path, {name: None for name in fields.split()})


async def test_functions_are_called_as_tools(client):
    function = {"name": "get_weather", "parameters": {
        "type": "object", "properties": {"city": {"type": "string", "maxLength": 9}}, "required": ["city"]}}
    asked = {"role": "user", "content": "What is the weather in Paris?"}
    reply = await client.chat.completions.create(
        model=MODEL, temperature=0, max_tokens=100, messages=[asked], functions=[function],
        function_call={"name": "get_weather"})
    assert reply.choices[0].message.tool_calls[0].function.name == "get_weather"
    history = [asked, {"role": "assistant", "content": None, "function_call": {"name": "get_weather", "arguments": ""}},
               {"role": "function", "name": "get_weather", "content": "18 degrees"}]
    reply = await client.chat.completions.create(model=MODEL, temperature=0, max_tokens=20, messages=history,
                                                 functions=[function])
    assert reply.choices[0].message.content


async def test_the_tool_that_has_to_be_called_is_called_among_others(client):
    tools = [{"type": "function", "function": {"name": name, "parameters": {"type": "object", "properties": {
        "city": {"type": "string", "maxLength": 5}}}}} for name in ("get_weather", "now")]
    answer = await client.chat.completions.create(
        model=MODEL, messages=[{"role": "user", "content": PARIS}], max_tokens=60, temperature=0, tools=tools,
        tool_choice={"type": "function", "function": {"name": "now"}})
    assert [call.function.name for call in answer.choices[0].message.tool_calls] == ["now"]


async def test_a_client_that_always_wishes_to_think_is_answered(claude_client):
    # As Claude Code asks: /v1/messages?beta=true, on a server without a reasoning parser.
    reply = await claude_client.beta.messages.create(
        model=MODEL, max_tokens=50, messages=[{"role": "user", "content": PARIS}], extra_body={"temperature": 0},
        thinking={"type": "enabled", "budget_tokens": 2000})
    assert reply.content[0].text == PARIS_ANSWER


async def test_what_a_developer_says_reaches_the_model(client):
    async def tokens(text):
        messages = [{"role": "developer", "content": text}, {"role": "user", "content": PARIS}]
        reply = await client.chat.completions.create(model=MODEL, temperature=0, messages=messages)
        return reply.usage.prompt_tokens

    assert await tokens("Be brief. " * 10) > await tokens("Be brief.") > 20


async def test_decisions_in_the_shape_of_system_one(platform, worker):
    job = await (await platform.submit({"openai_route": "/v1/systemone", "openai_input": {
        "state": "It rains.", "questions": {"a": {"type": "choice", "criteria": {"wet": None, "dry": None}}}}})
    ).finished(120)
    assert job.output[0]["answers"]["a"]["choice"] in ("wet", "dry")


async def test_names_of_the_model(client):
    for name in (MODEL, "default", ""):
        reply = await client.chat.completions.create(model=name, temperature=0, messages=[
            {"role": "user", "content": PARIS}])
        assert reply.choices[0].message.content == PARIS_ANSWER
    for name in (f"{MODEL}:adapter", "adapter"):
        with pytest.raises(openai.APIStatusError) as caught:
            await client.responses.create(model=name, input="Hi")
        assert "does not exist" in str(caught.value.body)
