"""Messages that a chat template shows: developer, functions, tool calls without arguments."""

import copy

import pytest

from job import routes
from job.dialogue import readable
from job.routes import Context
from utils import JobError

UNKNOWN, FIRST, KNOWN = (False, False), (True, False), (True, True)
U, A = {"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Yes?"}
F = {"name": "f", "parameters": {"type": "object"}}


def of(role, content, **more):
    return {"role": role, "content": content, **more}


def messages(given, developer=UNKNOWN):
    before = copy.deepcopy(given)
    result = readable({"messages": given}, developer)["messages"]
    assert given == before
    return result


@pytest.mark.parametrize("given, expected", [
    ([of("developer", "Be brief."), U], [of("system", "Be brief."), U]),
    ([of("Developer", "Be brief."), U], [of("system", "Be brief."), U]),
    # one system message, in front, as SGLang's Responses route makes it
    ([of("system", "a"), of("developer", "b"), U], [of("system", "a\n\nb"), U]),
    ([U, A, of("developer", "b"), U], [of("system", "b"), U, A, U]),
    ([of("developer", "a"), U, of("developer", "b"), U], [of("system", "a\n\nb"), U, U]),
    ([of("developer", [{"type": "text", "text": "a"}]), of("system", "b"), U],
     [of("system", [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]), U]),
    ([of("developer", "a", tools=[1]), of("developer", None, tools=[2]), U], [of("system", "a", tools=[1, 2]), U]),
    # without one, everything stays where it is
    ([of("system", "a"), U, of("system", "b"), U], [of("system", "a"), U, of("system", "b"), U]),
    ([U, A, U], [U, A, U]), ([], []), (["x", 5, None, {}, {"role": 5}], ["x", 5, None, {}, {"role": 5}]),
])
def test_developer_messages_are_system_messages(given, expected):
    assert messages(given) == expected


def test_a_template_that_shows_the_role_keeps_it():
    first, later = [of("developer", "a"), U], [of("system", "a"), of("developer", "b"), U]
    assert messages(first, KNOWN) == messages(first, FIRST) == first
    assert messages(later, KNOWN) == later
    assert messages(later, FIRST) == [of("system", "a\n\nb"), U]


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/invocations", "/v1/tokenize", "/tokenize"])
def test_every_route_with_messages_has_them(path):
    plan = routes.plan({"openai_route": path, "openai_input": {"messages": [of("developer", "a"), U]}},
                       Context("tiny", "tiny"), "x")
    assert plan.body["messages"] == [of("system", "a"), U]
    known = Context("tiny", "tiny", developer=KNOWN)
    assert routes.plan({"messages": [of("developer", "a"), U]}, known, "x").body["messages"][0]["role"] == "developer"


@pytest.mark.parametrize("arguments, expected", [
    ("", "{}"), ("  \n", "{}"), (None, "{}"), ("{}", "{}"), ("{\"a\": 1}", "{\"a\": 1}"), ("{cut", "{cut"),
    ({"a": 1}, {"a": 1})])
def test_no_arguments_are_an_empty_object(arguments, expected):
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": arguments}}
    result = messages([of("assistant", None, tool_calls=[call, "x"]), of("tool", "1", tool_call_id="c")])
    assert result[0]["tool_calls"] == [{**call, "function": {"name": "f", "arguments": expected}}, "x"]


def test_a_call_without_the_field_has_no_arguments_either():
    call = {"id": "c", "type": "function", "function": {"name": "f"}}
    assert messages([of("assistant", None, tool_calls=[call])])[0]["tool_calls"][0]["function"]["arguments"] == "{}"


@pytest.mark.parametrize("path", ["/v1/messages", "/v1/messages/count_tokens"])
@pytest.mark.parametrize("given, made", [("", {}), (None, {}), ({}, {}), ({"a": 1}, {"a": 1}), ("x", "x"), ([], [])])
def test_a_tool_use_without_input_has_an_empty_one(path, given, made):
    block, text = {"type": "tool_use", "id": "t", "name": "f", "input": given}, {"type": "text", "text": "a"}
    said = [of("assistant", [text, block, "x"]), of("user", "Hi"), "x", of("user", None)]
    body = routes.plan({"openai_route": path, "openai_input": {"messages": said}}, Context("t", "t"), "x").body
    assert body["messages"] == [of("assistant", [text, {**block, "input": made}, "x"]), *said[1:]]


@pytest.mark.parametrize("call, choice", [
    (None, None), ("auto", "auto"), ("none", "none"), ({"name": "f"}, {"type": "function", "function": {"name": "f"}})])
def test_functions_are_tools(call, choice):
    given = {"messages": [U], "functions": [F], **({"function_call": call} if call else {})}
    body = readable(given, UNKNOWN)
    assert body["tools"] == [{"type": "function", "function": F}] and body.get("tool_choice") == choice
    assert "functions" not in body and "function_call" not in body


def test_a_history_of_functions_is_one_of_tools():
    call = {"name": "f", "arguments": ""}
    given = [U, of("assistant", None, function_call=call), of("function", "18", name="f"),
             of("assistant", "18.", function_call=None), of("assistant", None, function_call=call),
             of("function", "19", name="f")]
    made = messages(given)
    assert [m["role"] for m in made] == ["user", "assistant", "tool", "assistant", "assistant", "tool"]
    assert made[1]["tool_calls"][0]["function"] == {"name": "f", "arguments": "{}"}
    assert made[2]["tool_call_id"] == made[1]["tool_calls"][0]["id"] != made[4]["tool_calls"][0]["id"]
    assert made[5]["tool_call_id"] == made[4]["tool_calls"][0]["id"]
    assert not any("function_call" in m for m in made) and made[3] == of("assistant", "18.")


def test_the_result_of_a_function_that_nobody_called_is_shown_as_well():
    assert messages([of("function", "18", name="f"), U]) == [of("tool", "18", name="f", tool_call_id="call_0"), U]


@pytest.mark.parametrize("fields, param", [
    ({"functions": [F], "tools": [{"type": "function", "function": F}]}, "functions"),
    ({"functions": "x"}, "functions"), ({"function_call": {"name": "f"}}, "function_call"),
    ({"functions": [F], "function_call": "required"}, "function_call"),
    ({"functions": [F], "function_call": {}}, "function_call"),
    ({"functions": [F], "function_call": 5}, "function_call")])
def test_functions_that_cannot_be_tools(fields, param):
    with pytest.raises(JobError) as caught:
        readable({"messages": [U], **fields}, UNKNOWN)
    assert (caught.value.code, caught.value.param) == (400, param)


def test_functions_that_ask_for_nothing():
    for fields in ({"functions": []}, {"function_call": "none"}, {"function_call": "auto"}):
        assert readable({"messages": [U], **fields}, UNKNOWN) == {"messages": [U]}


@pytest.mark.parametrize("path", ["/v1/messages", "/v1/messages/count_tokens"])
@pytest.mark.parametrize("thinking", [{"type": "adaptive"}, {"type": "enabled", "budget_tokens": 9000}])
def test_a_wish_to_think_is_left_out_without_a_reasoning_parser(path, thinking):
    job_input = {"openai_route": path, "openai_input": {"messages": [U], "max_tokens": 9, "thinking": thinking}}
    request = routes.plan(job_input, Context("tiny", "tiny", reasoning=False), "x")
    assert "thinking" not in request.body and "REASONING_PARSER" in request.notes[0]
    request = routes.plan(job_input, Context("tiny", "tiny"), "x")
    assert request.body["thinking"] == thinking and request.notes == ()


def test_a_wish_not_to_think_is_carried():
    off = {"type": "disabled"}
    job_input = {"openai_route": "/v1/messages", "openai_input": {"messages": [U], "thinking": off}}
    assert routes.plan(job_input, Context("tiny", "tiny", reasoning=False), "x").body["thinking"] == off


@pytest.mark.parametrize("name", ["prefix", "partial"])
def test_an_answer_that_goes_on_where_the_last_message_ends(name):
    messages = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Pa", name: True}]
    body = readable({"messages": messages}, (True, True))
    assert body == {"messages": [messages[0], {"role": "assistant", "content": "Pa"}], "continue_final_message": True}
    for other in ([*messages, messages[0]], [messages[0], {**messages[1], name: False}]):
        assert "continue_final_message" not in readable({"messages": other}, (True, True))
