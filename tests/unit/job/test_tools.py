"""Tools and the choice of one have one meaning, in whatever API's shape they come."""

import pytest

from job import routes
from job.routes import Context
from utils import JobError

PLAIN = Context("tiny", "org/tiny")
SCHEMA = {"type": "object", "properties": {}}
F, G = ({"type": "function", "function": {"name": name, "parameters": SCHEMA}} for name in "fg")
FLAT = {"type": "function", "name": "f", "parameters": SCHEMA}


def chat(**fields):
    return routes.plan({"messages": [{"role": "user", "content": "Hi"}], **fields}, PLAIN, "x").body


def responses(**fields):
    return routes.plan({"openai_route": "/v1/responses", "openai_input": {"input": "Hi", **fields}}, PLAIN, "x").body


@pytest.mark.parametrize("given, read", [
    ("auto", "auto"), ("none", "none"), ("required", "required"), ("any", "required"), ({"type": "auto"}, "auto"),
    ({"type": "any"}, "required"), ({"type": "none"}, "none")])
def test_a_choice_in_a_word(given, read):
    assert chat(tools=[F], tool_choice=given)["tool_choice"] == read
    assert responses(tools=[FLAT], tool_choice=given)["tool_choice"] == read


@pytest.mark.parametrize("given", [
    {"type": "function", "function": {"name": "f"}}, {"type": "function", "name": "f"}, {"type": "tool", "name": "f"}])
def test_a_choice_of_one_function(given):
    assert chat(tools=[F], tool_choice=given)["tool_choice"] == {"type": "function", "function": {"name": "f"}}
    assert responses(tools=[FLAT], tool_choice=given)["tool_choice"] == {"type": "function", "name": "f"}


def test_the_tools_that_are_not_allowed_are_left_out():
    for mode, named in (("auto", {"type": "function", "function": {"name": "g"}}),
                        ("required", {"type": "function", "name": "g"})):
        allowed = {"mode": mode, "tools": [named]}
        for choice in ({"type": "allowed_tools", "allowed_tools": allowed}, {"type": "allowed_tools", **allowed}):
            body = chat(tools=[F, G], tool_choice=choice)
            assert body["tools"] == [G] and body["tool_choice"] == mode
    for wrong in ({"type": "allowed_tools"}, {"type": "allowed_tools", "tools": [{"name": "h"}]},
                  {"type": "allowed_tools", "mode": "some", "tools": [{"name": "f"}]}):
        with pytest.raises(JobError) as caught:
            chat(tools=[F, G], tool_choice=wrong)
        assert caught.value.param == "tool_choice"


def test_tools_of_other_apis():
    assert chat(tools=[FLAT])["tools"] == [F]
    assert chat(tools=[{"name": "f", "input_schema": SCHEMA, "cache_control": {"type": "ephemeral"}}])["tools"] == [F]
    assert responses(tools=[F])["tools"] == [FLAT]
    custom = {"type": "custom", "name": "f", "format": {"type": "text"}}
    assert responses(tools=[custom])["tools"] == [custom] == chat(tools=[custom])["tools"]  # the engine says no on chat


def test_details_of_searches_that_are_never_made_need_not_be_included():
    assert responses(include=["reasoning.encrypted_content", "web_search_call.action.sources"])["include"] == [
        "reasoning.encrypted_content"]


def test_the_tool_that_has_to_be_called_is_given_alone():
    named = {"type": "function", "function": {"name": "g"}}
    assert chat(tools=[F, G], tool_choice=named)["tools"] == [G]
    flat = {"type": "function", "name": "g", "parameters": SCHEMA}
    assert responses(tools=[FLAT, flat, {"type": "web_search"}], tool_choice=named)["tools"] == [flat]
    blocks = [{"name": name, "input_schema": SCHEMA} for name in "fg"]
    body = {"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 9, "tools": blocks}

    def messages(choice):
        return routes.plan({"openai_route": "/v1/messages", "openai_input": {**body, "tool_choice": choice}}, PLAIN,
                           "x").body["tools"]

    assert messages({"type": "tool", "name": "g"}) == blocks[1:]
    for choice in ({"type": "auto"}, {"type": "any"}, {"type": "tool", "name": "h"}):
        assert messages(choice) == blocks
    # one that is not there is the engine's to refuse
    other = {"type": "function", "function": {"name": "h"}}
    assert chat(tools=[F, G], tool_choice=other)["tools"] == [F, G]
    for word in ("auto", "required", "none"):
        assert chat(tools=[F, G], tool_choice=word)["tools"] == [F, G]
