"""What a request with tools hears where the server has no parser, and what the log says of those that it has."""

import dataclasses

import pytest

from job import routes
from job.context import Context
from job.parsers import check, line, remedy
from utils import JobError

WITHOUT = Context("tiny", "tiny", tools=False, tool_parsers=("auto", "qwen25", "llama3"))
WITH = Context("tiny", "tiny")
SCHEMA = {"type": "object", "properties": {}}
CHAT, MESSAGES, RESPONSES = "/v1/chat/completions", "/v1/messages", "/v1/responses"
BODIES = {
    CHAT: {"messages": [], "tools": [{"type": "function", "function": {"name": "f", "parameters": SCHEMA}}]},
    "/invocations": {"messages": [], "tools": [{"type": "function", "function": {"name": "f", "parameters": SCHEMA}}]},
    MESSAGES: {"messages": [], "max_tokens": 5, "tools": [{"name": "f", "input_schema": SCHEMA}]},
    RESPONSES: {"input": "Hi", "tools": [{"type": "function", "name": "f", "parameters": SCHEMA}]}}
NAMED = {"type": "function", "function": {"name": "f"}}


def checked(route, context, **fields):
    """Through the plan, as every job, so that the choice is in the route's own words."""
    request = routes.plan({"openai_route": route, "openai_input": {**BODIES.get(route, {}), **fields}}, context, "job")
    return check(request.path, request.body, context)


@pytest.mark.parametrize("route, choice", [
    *((route, choice) for route in (CHAT, "/invocations") for choice in (
        "required", "any", NAMED, {"type": "function", "name": "f"}, {"type": "any"},
        {"type": "allowed_tools", "mode": "required", "tools": [{"name": "f"}]})),
    (MESSAGES, {"type": "any"}), (MESSAGES, {"type": "tool", "name": "f"})])
def test_a_call_that_is_demanded_and_that_nobody_would_read_is_refused(route, choice):
    with pytest.raises(JobError) as caught:
        checked(route, WITHOUT, tool_choice=choice)
    error = caught.value
    assert (error.code, error.param, error.type) == (400, "tool_choice", "invalid_request_error")
    assert "TOOL_CALL_PARSER to the one of the model's family" in error.message
    assert "; it can be auto, qwen25, llama3. " in error.message
    assert checked(route, WITH, tool_choice=choice) is False


def test_a_function_that_is_demanded_in_the_older_way_is_one_too():
    with pytest.raises(JobError, match="TOOL_CALL_PARSER"):
        checked(CHAT, WITHOUT, tools=None, functions=[{"name": "f", "parameters": SCHEMA}], function_call={"name": "f"})


@pytest.mark.parametrize("route, choice", [
    (CHAT, None), (CHAT, "auto"), (MESSAGES, None), (MESSAGES, {"type": "auto"}), (RESPONSES, None),
    (RESPONSES, "auto"), (RESPONSES, "required"), (RESPONSES, {"type": "function", "name": "f"})])
def test_a_request_that_works_as_well_as_it_did_is_only_noticed(route, choice):
    assert checked(route, WITHOUT, tool_choice=choice) is True
    assert checked(route, WITH, tool_choice=choice) is False


@pytest.mark.parametrize("route, fields", [
    (CHAT, {"tool_choice": "none"}), (MESSAGES, {"tool_choice": {"type": "none"}}),
    (RESPONSES, {"tool_choice": "none"}), (CHAT, {"tools": []}),
    (CHAT, {"tools": None}), (CHAT, {"tools": "x"}), (RESPONSES, {"tools": []}),
    ("/v1/tokenize", {"messages": [], "tools": BODIES[CHAT]["tools"]}), ("/generate", {"text": "Hi"})])
def test_without_tools_there_is_nothing_to_say(route, fields):
    assert checked(route, WITHOUT, **fields) is False


def test_a_body_of_no_json_has_no_tools():
    assert check(CHAT, None, WITHOUT) is False


@pytest.mark.parametrize("info, words, said", [
    ({"tool_call_parser": "qwen", "reasoning_parser": None}, ("--tool-call-parser", "auto"),
     "parsers: qwen for tool calls (detected), none for reasoning"),
    ({"tool_call_parser": "qwen25", "reasoning_parser": "qwen3"}, ("--tool-call-parser", "qwen25"),
     "parsers: qwen25 for tool calls, qwen3 for reasoning"),
    ({"tool_call_parser": None}, (), "parsers: none for tool calls, none for reasoning"),
    ({"tool_call_parser": None, "is_generation": True}, ("--tool-call-parser=auto",),
     "parsers: none for tool calls (none was detected: where requests bring tools, set TOOL_CALL_PARSER to the one of "
     "the model's family (docs/tools.md)), none for reasoning"),
    ({}, (), None), ({"tool_call_parser": None, "is_generation": False}, (), None)])
def test_one_line_tells_of_the_parsers(info, words, said):
    assert line(info, words) == said


def test_the_parser_that_the_template_speaks_for_is_named():
    context = dataclasses.replace(WITHOUT, marks="llama3")
    with pytest.raises(JobError, match="TOOL_CALL_PARSER=llama3, whose marks the chat template has; it can be auto"):
        checked(CHAT, context, tool_choice="required")
    assert "docs/tools.md" in remedy("") and "TOOL_CALL_PARSER" in remedy("")


@pytest.mark.parametrize("found, speaks_for, said", [
    (None, "llama3", "none for tool calls (none was detected: where requests bring tools, set TOOL_CALL_PARSER=llama3, "
     "whose marks the chat template has)"),
    ("deepseekv3", "qwen25", "deepseekv3 for tool calls (detected, but where requests bring tools, set "
     "TOOL_CALL_PARSER=qwen25, whose marks the chat template has)"),
    ("qwen", "qwen25", "qwen for tool calls (detected),"), ("gpt-oss", "", "gpt-oss for tool calls (detected),")])
def test_what_was_detected_is_compared_with_the_templates_marks(found, speaks_for, said):
    info = {"tool_call_parser": found, "reasoning_parser": None}
    assert said in line(info, ("--tool-call-parser", "auto"), speaks_for)
    assert "(" not in line(info, ("--tool-call-parser", "llama3"), speaks_for), "who sets one is not corrected"
