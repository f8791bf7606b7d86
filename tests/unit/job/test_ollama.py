"""Ollama's requests in OpenAI's words, and OpenAI's answers in Ollama's shapes."""

import json

import pytest

from job import refusal, routes
from job.context import Context
from job.ollama_answers import Answers
from tests.unit.job.test_routes import LORA, PLAIN
from utils import JobError

KNOWN = Context("org/tiny", "org/tiny", adapters=("fine",), lora=True, skills=("completion", "vision"), length=4096)
SAY = [{"role": "user", "content": "Hi"}]


def planned(route, known=PLAIN, **body):
    return routes.plan({"route": route, "body": {"model": "tiny", **body}}, known, "job-1")


def chat(**body):
    return planned("/api/chat", **{"messages": SAY, **body}).body


def test_a_chat_streams_unless_it_is_told_not_to():
    request = planned("/api/chat", messages=SAY)
    assert (request.method, request.path, request.streams) == ("POST", "/v1/chat/completions", True)
    assert request.body == {"model": "tiny", "messages": SAY, "stream": True, "stream_options": {"include_usage": True},
                            "rid": "job-1"}
    assert request.rids == ("job-1",)
    request = planned("/api/chat", messages=SAY, stream=False, keep_alive="5m")
    assert not request.streams and set(request.body) == {"model", "messages", "stream", "rid"}


def test_options_are_put_where_the_route_reads_them():
    body = chat(options={"temperature": 0.1, "num_predict": 7, "seed": 3, "stop": ["x"], "repeat_penalty": 1.1,
                         "num_ctx": 9, "top_k": 5, "min_p": 0.1, "mirostat": 0, "typical_p": 1.0})
    assert {k: v for k, v in body.items() if k not in ("model", "messages", "stream", "stream_options", "rid")} == {
        "temperature": 0.1, "max_tokens": 7, "seed": 3, "stop": ["x"], "repetition_penalty": 1.1, "top_k": 5,
        "min_p": 0.1}
    assert "max_tokens" not in chat(options={"num_predict": -1})


@pytest.mark.parametrize(("given", "read"), [
    ({"format": "json"}, {"response_format": {"type": "json_object"}}),
    ({"format": {"type": "object"}}, {"response_format": {"type": "json_schema", "json_schema": {
        "name": "answer", "schema": {"type": "object"}}}}),
    ({"format": ""}, {}), ({"think": False}, {"chat_template_kwargs": {"enable_thinking": False, "thinking": False}}),
    ({"think": "high"}, {"reasoning_effort": "high"})])
def test_what_else_a_chat_may_ask_for(given, read):
    body = chat(**given)
    assert read.items() <= body.items() and not {"format", "think"} & set(body)


def test_images_become_parts_of_the_content():
    [message] = chat(messages=[{"role": "user", "content": "What?", "images": ["aGk=", "aG8="]}])["messages"]
    assert message == {"role": "user", "content": [
        {"type": "text", "text": "What?"}, {"type": "image_url", "image_url": {"url": "aGk="}},
        {"type": "image_url", "image_url": {"url": "aG8="}}]}


def test_calls_get_ids_and_their_answers_find_them():
    call = {"function": {"name": "a", "arguments": {"x": 1}}}
    told = chat(messages=[
        *SAY, {"role": "assistant", "content": "", "tool_calls": [call, {"function": {"name": "b"}}]},
        {"role": "tool", "tool_name": "b", "content": "B"}, {"role": "tool", "content": "A"}])["messages"]
    calls = told[1]["tool_calls"]
    assert [(c["type"], c["function"]["name"], c["function"]["arguments"]) for c in calls] == [
        ("function", "a", '{"x": 1}'), ("function", "b", "{}")]
    assert [told[2]["tool_call_id"], told[3]["tool_call_id"]] == [calls[1]["id"], calls[0]["id"]]
    assert "tool_name" not in told[2]


def test_a_prompt_is_a_turn_of_a_chat_unless_it_is_raw():
    request = planned("/api/generate", prompt="Hi", system="Be brief.", stream=False)
    assert request.path == "/v1/chat/completions"
    assert request.body["messages"] == [{"role": "system", "content": "Be brief."}, *SAY]
    request = planned("/api/generate", prompt="Hi", raw=True)
    assert (request.path, request.body["prompt"]) == ("/v1/completions", "Hi") and request.streams
    [message] = planned("/api/generate", prompt="What?", images=["aGk="]).body["messages"]
    assert message["content"][1] == {"type": "image_url", "image_url": {"url": "aGk="}}


@pytest.mark.parametrize(("route", "body", "field"), [
    ("/api/chat", {"messages": SAY, "options": {"mystery": 1}}, "options.mystery"),
    ("/api/chat", {"messages": SAY, "options": [1]}, "options"), ("/api/chat", {"messages": "x"}, "messages"),
    ("/api/chat", {"messages": SAY, "format": "yaml"}, "format"), ("/api/chat", {"messages": SAY, "think": 3}, "think"),
    ("/api/chat", {"messages": SAY, "stream": "yes"}, "stream"), ("/api/chat", {"messages": SAY, "model": 3}, "model"),
    ("/api/chat", {"messages": [{"role": "user", "content": "x", "images": "aGk="}]}, "messages[0].images"),
    ("/api/chat", {"messages": [{"role": "assistant", "tool_calls": ["x"]}]}, "messages"),
    ("/api/chat", {"messages": SAY, "options": {"mirostat": 2}}, "mirostat"),
    ("/api/generate", {"prompt": "x", "template": "y"}, "template"),
    ("/api/generate", {"prompt": "x", "context": [1]}, "context"), ("/api/generate", {"prompt": 3}, "prompt"),
    ("/api/generate", {"prompt": "x", "raw": True, "images": ["aGk="]}, "prompt"),
    ("/api/generate", {"prompt": "x", "suffix": "y"}, "suffix")])
def test_what_would_have_no_effect_is_named(route, body, field):
    with pytest.raises(JobError) as raised:
        planned(route, **body)
    assert (raised.value.code, raised.value.param) == (400, field)


def test_a_model_may_have_the_tag_that_ollama_adds():
    assert planned("/api/chat", messages=SAY, model="tiny:latest").body["model"] == "tiny"
    assert planned("/api/chat", LORA, messages=SAY, model="tiny:fine").body["model"] == "tiny:fine"
    for route in ("/api/chat", "/api/generate", "/api/show"):
        with pytest.raises(JobError) as raised:
            planned(route, model="llama3:latest", messages=SAY, prompt="x")
        assert raised.value.code == 404


def test_what_only_wants_the_model_loaded_generates_nothing():
    for route, body in (("/api/chat", {"messages": []}), ("/api/generate", {}), ("/api/generate", {"prompt": ""})):
        request = planned(route, **body)
        assert (request.method, request.body) == ("GET", None)
        answer = request.reshape({"data": []})
        assert (answer["done"], answer["done_reason"], answer["model"]) == (True, "load", "tiny")


def test_the_models_and_what_they_are():
    cards = {"data": [{"id": "org/tiny"}, {"id": "fine"}]}
    tags = routes.plan({"route": "/api/tags"}, KNOWN, "j").reshape(cards)["models"]
    assert [entry["name"] for entry in tags] == ["org/tiny", "fine"] and all(len(e["digest"]) == 64 for e in tags)
    assert routes.plan({"route": "/api/ps"}, KNOWN, "j").reshape(cards)["models"][0]["model"] == "org/tiny"
    assert routes.plan({"route": "/api/version"}, KNOWN, "j").reshape(cards)["version"]
    for name in ("model", "name"):
        shown = routes.plan({"route": "/api/show", "body": {name: "org/tiny"}}, KNOWN, "j").reshape(cards)
        assert shown["capabilities"] == ["completion", "vision"]
        assert shown["model_info"]["tiny.context_length"] == 4096 and shown["details"]["family"] == "tiny"


def event(**delta):
    reason = delta.pop("finish_reason", None)
    return "data: " + json.dumps({"choices": [{"index": 0, "delta": delta, "finish_reason": reason}]}) + "\n\n"


def lines(text):
    assert text.endswith("\n") or not text
    return [json.loads(line) for line in text.splitlines()]


def test_the_events_of_a_stream_become_lines():
    translate = Answers("m", chat=True).stream()
    first = lines(translate(": comment\n\n" + event(role="assistant", content="") + event(reasoning_content="Hm")))
    assert [line["message"] for line in first] == [{"role": "assistant", "content": "", "thinking": "Hm"}]
    second = lines(translate(event(content="Hi", finish_reason="length")))  # with the end comes the last word
    assert second[0]["message"]["content"] == "Hi" and second[0]["done"] is False
    assert translate(": waiting\n\n") == ""
    [end] = lines(translate('data: {"choices": [], "usage": {"prompt_tokens": 4, "completion_tokens": 2}}\n\n'
                            "data: [DONE]\n\n"))
    assert (end["done"], end["done_reason"], end["prompt_eval_count"], end["eval_count"]) == (True, "length", 4, 2)
    assert end["total_duration"] >= end["eval_duration"] >= 0 and end["message"]["content"] == ""


def test_calls_come_whole_before_the_end():
    translate = Answers("m", chat=True).stream()
    call = {"index": 0, "id": "c", "type": "function", "function": {"name": "a", "arguments": ""}}
    assert translate(event(tool_calls=[call])) == ""
    for piece in ('{"x"', ": 1}"):
        translate(event(tool_calls=[{"index": 0, "function": {"arguments": piece}}]))
    called, end = lines(translate(event(finish_reason="tool_calls") + "data: [DONE]\n\n"))
    assert called["message"]["tool_calls"] == [{"function": {"name": "a", "arguments": {"x": 1}}}]
    assert end["done_reason"] == "stop"


def test_a_failure_ends_the_lines():
    translate = Answers("m", chat=False).stream()
    assert lines(translate(event(content="Hi")))[0]["response"] == "Hi"
    told = 'data: {"error": {"message": "no", "code": 503}}\n\ndata: [DONE]\n\n'
    assert lines(translate(told)) == [{"error": "no"}] and translate(event(content="more")) == ""


def test_a_whole_answer():
    usage = {"prompt_tokens": 4, "completion_tokens": 2}
    message = {"content": "Hi", "reasoning_content": "Hm", "tool_calls": [
        {"function": {"name": "a", "arguments": "{oops"}}]}
    told = Answers("m", chat=True).whole({"choices": [{"message": message, "finish_reason": "stop"}], "usage": usage})
    assert told["message"] == {"role": "assistant", "content": "Hi", "thinking": "Hm",
                               "tool_calls": [{"function": {"name": "a", "arguments": "{oops"}}]}
    assert (told["done"], told["eval_count"], told["created_at"][-1]) == (True, 2, "Z")
    told = Answers("m", chat=False).whole({"choices": [{"text": "Hi", "finish_reason": "length"}], "usage": usage})
    assert (told["response"], told["done_reason"]) == ("Hi", "length")


@pytest.mark.parametrize(("body", "told"), [({}, True), ({"stream": True}, True), ({"stream": False}, False)])
def test_a_refused_stream_gets_its_line(body, told):
    line = refusal.event({"route": "/api/chat", "body": {"messages": SAY, **body}}, JobError("no"), "j")
    assert line == ('{"error": "no"}\n' if told else None)
