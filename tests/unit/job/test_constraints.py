"""A constraint in anybody's words stands where the route reads it, or is refused by name; never dropped."""

import json
import re

import pytest

from job import routes
from job.routes import Context
from utils import JobError

PLAIN = Context("tiny", "org/tiny")
Q = [{"role": "user", "content": "Hi"}]
SCHEMA = {"type": "object", "properties": {"city": {"type": "string", "default": None}}}
BASE = {"/generate": {"text": "Hi"}, "/v1/chat/completions": {"messages": Q}, "/v1/completions": {"prompt": "Hi"},
        "/v1/responses": {"input": "Hi"}, "/v1/messages": {"messages": Q, "max_tokens": 9}}
CHAT, COMPLETIONS, NATIVE = "/v1/chat/completions", "/v1/completions", "/generate"
RESPONSES, MESSAGES = "/v1/responses", "/v1/messages"


def plan(path, fields):
    return routes.plan({"openai_route": path, "openai_input": {**BASE[path], **fields}}, PLAIN, "job-1").body


def refused(path, fields):
    with pytest.raises(JobError) as caught:
        plan(path, fields)
    assert caught.value.code == 400
    return caught.value


def kept(path, fields):
    """(form, value) of the constraint as the engine reads it on this route."""
    body = plan(path, fields)
    assert not {"guided_json", "guided_regex", "structured_outputs", "guided_decoding", "grammar"} & set(body)
    settings = body["sampling_params"] if path == NATIVE else body
    found = []
    for name in ("regex", "ebnf"):
        if name in settings and path in (NATIVE, CHAT, COMPLETIONS):
            found.append((name, settings[name]))
    if "json_schema" in settings and path in (NATIVE, COMPLETIONS):
        found.append(("json", json.loads(settings["json_schema"])))
    if "structural_tag" in settings and path == NATIVE:
        found.append(("tag", json.loads(settings["structural_tag"])))
    answer = settings.get("response_format") if path in (CHAT, COMPLETIONS) else None
    if path == RESPONSES and "text" in settings:
        answer = {"type": "json_schema", "json_schema": settings["text"]["format"]}
    if path == MESSAGES and "output_config" in settings:
        answer = {"type": "json_schema", "json_schema": {"name": "x", **settings["output_config"]["format"]}}
    if answer and answer["type"] == "json_schema":
        assert answer["json_schema"]["name"]
        found.append(("json", answer["json_schema"]["schema"]))
    if answer and answer["type"] == "json_object":
        found.append(("json", {"type": "object"}))
    if answer and answer["type"] == "structural_tag":
        found.append(("tag", answer))
    assert len(found) == 1, body
    return found[0]


JSON = [{"guided_json": SCHEMA}, {"guided_json": json.dumps(SCHEMA)}, {"structured_outputs": {"json": SCHEMA}},
        {"guided_decoding": {"json": SCHEMA, "backend": "xgrammar"}}, {"json_schema": SCHEMA},
        {"json_schema": json.dumps(SCHEMA)}, {"extra_body": {"guided_json": SCHEMA}},
        {"response_schema": SCHEMA}, {"responseSchema": json.dumps(SCHEMA)},
        {"nvext": {"guided_json": SCHEMA}}, {"sampling_params": {"extra_body": {"guided_json": SCHEMA}}},
        {"guided_json": SCHEMA, "guided_decoding_backend": "outlines"}, {"sampling_params": {"guided_json": SCHEMA}},
        {"grammar": {"type": "json", "value": SCHEMA}}, {"output_format": {"type": "json_schema", "schema": SCHEMA}},
        {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": SCHEMA}}},
        {"response_format": {"type": "json_schema", "schema": SCHEMA}},
        {"response_format": {"type": "json_object", "schema": SCHEMA}},
        {"response_format": {"type": "json", "value": SCHEMA}},
        {"response_format": {"type": "json_schema", "json_schema": {"schema": SCHEMA}}},
        {"response_format": {"type": "json_schema", "json_schema": SCHEMA}},
        {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": json.dumps(SCHEMA)}}},
        {"response_format": SCHEMA}, {"response_json_schema": SCHEMA}, {"responseJsonSchema": SCHEMA},
        {"output_schema": SCHEMA}, {"structured_output": {"json": SCHEMA}}, {"guided_options": {"json": SCHEMA}},
        {"output_config": {"format": {"type": "json_schema", "schema": SCHEMA}}}, {"format": SCHEMA},
        {"response_mime_type": "application/json", "response_schema": SCHEMA},
        # OpenAI's wrapping of a schema where the schema itself should be
        {"json_schema": {"name": "x", "schema": SCHEMA, "strict": True}}, {"guided_json": {"name": "x",
        "schema": SCHEMA}},
        {"json_schema": json.dumps({"name": "x", "schema": SCHEMA})}]


@pytest.mark.parametrize("path", BASE)
@pytest.mark.parametrize("fields", JSON, ids=str)
def test_a_json_schema_in_anybodys_words(path, fields):
    assert kept(path, fields) == ("json", SCHEMA)


@pytest.mark.parametrize("path", BASE)
@pytest.mark.parametrize("fields", [
    {"guided_json_object": True}, {"json_mode": True}, {"json_object": True}, {"response_format": "json_object"},
    {"response_format": "json"}, {"response_mime_type": "application/json"}, {"responseMimeType": "application/json"},
    {"response_format": {"type": "json_schema", "json_schema": {"name": "x"}}}, {"format": "json"},
    {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": None}}},
    {"structured_outputs": {"json_object": True}},
    {"response_format": {"type": "json_object"}}, {"extra_body": {"response_format": {"type": "json_object"}}}],
    ids=str)
def test_any_json_object(path, fields):
    assert kept(path, fields) == ("json", {"type": "object"})


@pytest.mark.parametrize("path", [CHAT, COMPLETIONS])
def test_a_format_as_ollama_calls_it(path):
    assert kept(path, {"format": SCHEMA}) == ("json", SCHEMA)
    assert kept(path, {"format": "json"}) == ("json", {"type": "object"})


@pytest.mark.parametrize("path", BASE)
def test_the_empty_schema_is_any_json(path):
    assert kept(path, {"guided_json": {}}) == kept(path, {"structured_outputs": {"json": "{}"}}) == ("json", {})


@pytest.mark.parametrize("fields", [
    {"guided_regex": "a|b"}, {"structured_outputs": {"regex": "a|b"}}, {"regex": "a|b"},
    {"extra_body": {"regex": "a|b"}}, {"grammar": {"type": "regex", "value": "a|b"}},
    {"guided_decoding": {"regex": "a|b"}}, {"sampling_params": {"guided_regex": "a|b"}},
    {"response_format": {"type": "regex", "pattern": "a|b"}}, {"response_format": {"type": "regex", "regex": "a|b"}},
    {"response_format": {"type": "regex_schema", "regex_schema": "a|b"}}, {"guided_options": {"regex": "a|b"}}],
    ids=str)
def test_a_regular_expression(fields):
    for path in (NATIVE, CHAT, COMPLETIONS):
        assert kept(path, fields) == ("regex", "a|b")
    for path in (RESPONSES, MESSAGES):
        assert path in refused(path, fields).message


@pytest.mark.parametrize("fields", [
    {"guided_grammar": "root ::= \"a\""}, {"structured_outputs": {"grammar": "root ::= \"a\""}},
    {"ebnf": "root ::= \"a\""}, {"grammar": "root ::= \"a\""}, {"grammar_string": "root ::= \"a\""},
    {"response_format": {"type": "grammar", "grammar": "root ::= \"a\""}}], ids=str)
def test_a_grammar(fields):
    for path in (NATIVE, CHAT, COMPLETIONS):
        assert kept(path, fields) == ("ebnf", "root ::= \"a\"")
    for path in (RESPONSES, MESSAGES):
        assert refused(path, fields).param.split(".")[0] == next(iter(fields))


WORDS = ["yes", "no (maybe)", "a|b", "C++", "1.5", "x\ny", "[z]", "{2}", "^$", "a\\b", "東", "a b-c/d", "\"", "*?"]


@pytest.mark.parametrize("fields", [
    {"guided_choice": WORDS}, {"structured_outputs": {"choice": WORDS}}, {"guided_decoding": {"choice": WORDS}},
    {"response_format": {"type": "choice", "choice": WORDS}}, {"choice": WORDS}],
    ids=lambda fields: next(iter(fields)))
def test_a_choice_is_a_pattern_of_exactly_these_words(fields):
    for path in (NATIVE, CHAT, COMPLETIONS):
        form, pattern = kept(path, fields)
        assert form == "regex" and all(re.fullmatch(pattern, word) for word in WORDS)
        for other in ("a", "b", "C+", "C", "1x5", "", "zz", "z", "22", "yesno", "ab", "yes|no (maybe)"):
            assert not re.fullmatch(pattern, other)
    for path in (RESPONSES, MESSAGES):
        refused(path, fields)


def test_a_structural_tag():
    tag = {"type": "structural_tag", "structures": [], "triggers": ["<f>"]}
    for value in (tag, json.dumps(tag)):
        for path in (NATIVE, CHAT, COMPLETIONS):
            assert kept(path, {"structural_tag": value}) == ("tag", tag)
            assert kept(path, {"structured_outputs": {"structural_tag": value}}) == ("tag", tag)
        refused(RESPONSES, {"structural_tag": value})
    assert kept(NATIVE, {"response_format": tag}) == ("tag", tag)


@pytest.mark.parametrize("path", BASE)
@pytest.mark.parametrize("fields", [
    {"guided_json": None, "guided_choice": [], "guided_regex": "", "structured_outputs": {}, "grammar": None},
    {"structured_outputs": {"json": None, "regex": None, "disable_any_whitespace": False, "backend": "x"}},
    {"guided_json_object": False}, {"response_format": {"type": "text"}}, {"output_format": None},
    {"guided_decoding_backend": "xgrammar"}, {"extra_body": {}}, {"extra_body": None}], ids=str)
def test_what_constrains_nothing_changes_nothing(path, fields):
    body = plan(path, fields)
    body.pop("response_format", None)  # the type `text`, as the route reads it
    assert body == plan(path, {})


@pytest.mark.parametrize("path", [NATIVE, CHAT, COMPLETIONS])
@pytest.mark.parametrize("fields, param", [
    ({"guided_json": SCHEMA, "guided_regex": "a"}, "guided_json"),
    ({"guided_choice": ["a"], "regex": "b"}, "guided_choice"),
    ({"structured_outputs": {"json": SCHEMA, "regex": "a"}}, "structured_outputs.json"),
    ({"guided_json": "{not json"}, "guided_json"), ({"guided_json": [1]}, "guided_json"),
    ({"guided_json": 5}, "guided_json"),
    ({"guided_regex": {"a": 1}}, "guided_regex"), ({"guided_choice": "yes"}, "guided_choice"),
    ({"guided_choice": ["a", ""]}, "guided_choice"), ({"guided_choice": [{"a": 1}]}, "guided_choice"),
    ({"structured_outputs": "x"}, "structured_outputs"), ({"structured_outputs": {"whitespace_pattern": " "}},
                                                          "structured_outputs"),
    ({"grammar": {"type": "lark", "value": "x"}}, "grammar"),
    ({"extra_body": "x"}, "extra_body"), ({"nvext": ["x"]}, "nvext"),
    ({"guided_whitespace_pattern": " ?"}, "guided_whitespace_pattern"),
])
def test_what_cannot_be_kept_is_refused_by_name(path, fields, param):
    assert refused(path, fields).param == param


def test_an_extra_body_is_what_the_sdk_would_have_sent_and_what_stands_beside_it_wins():
    body = plan(CHAT, {"temperature": 0, "stop": None, "extra_body": {
        "temperature": 1, "top_k": 3, "stop": ["x"], "model": "tiny",
        "chat_template_kwargs": {"enable_thinking": False}}})
    assert body == {"messages": Q, "temperature": 0, "top_k": 3, "stop": ["x"], "model": "tiny", "rid": "job-1",
                    "chat_template_kwargs": {"enable_thinking": False}}
    assert routes.plan({"messages": Q, "extra_body": {"top_k": 3}}, PLAIN, "x").body["top_k"] == 3
    with pytest.raises(JobError):  # and is checked as if it stood there
        plan(CHAT, {"extra_body": {"model": "gpt-4"}})


@pytest.mark.parametrize("path", ["/v1/embeddings", "/v1/score", "/v1/tokenize", "/v1/rerank"])
def test_routes_without_an_answer_to_constrain_are_left_alone(path):
    job_input = {"openai_route": path, "openai_input": {"prompt": "a", "input": "a", "guided_json": SCHEMA}}
    assert routes.plan(job_input, PLAIN, "x").body["guided_json"] == SCHEMA


@pytest.mark.parametrize("path", BASE)
@pytest.mark.parametrize("text", ["[" * 100_000, '{"a":' * 50_000, '{"a":' * 150 + "1" + "}" * 150,
                                  '{"schema":' * 150 + "{}" + "}" * 150], ids=["lists", "objects", "whole", "wrapped"])
def test_a_schema_as_text_has_a_depth(path, text):
    for fields in ({"guided_json": text}, {"json_schema": text},
                   {"response_format": {"type": "json_schema", "json_schema": text}}):
        assert refused(path, fields).param == next(iter(fields))
    assert kept(path, {"guided_json": '{"type":"array","items":' * 40 + "{}" + "}" * 40})[0] == "json"
