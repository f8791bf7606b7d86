"""A conversation as chat templates can read it.

Pure. A template passes over a role or a shape that it does not know without a word, so what clients of other servers
send is put into the shapes that every template knows: `developer` messages, the `functions` of OpenAI's first API,
tool calls without arguments.
"""

from __future__ import annotations

import json
from typing import Any

from job import parts, tools
from utils import JobError

_CONTINUING = ("prefix", "partial")  # on a last message of the assistant
_JOINT = "\n\n"  # between system messages that become one (sglang: openai/serving_responses.py)


def readable(body: dict[str, Any], developer: tuple[bool, bool]) -> dict[str, Any]:
    """A chat body with tools instead of functions and with messages that the template shows. `developer`: whether it
    shows a `developer` message in the first place and in a later one. Raises JobError 400 for both in one body."""
    body = tools.of_chat(_functions_as_tools(body))
    if not isinstance(body.get("messages"), list):
        return body
    messages = [parts.of_message(message) for message in _calls(body["messages"])]
    if messages and _continues(messages[-1]):
        messages = [*messages[:-1], {k: v for k, v in messages[-1].items() if k not in _CONTINUING}]
        body = {"continue_final_message": True, **body}
    return {**body, "messages": _developer_as_system(messages, developer)}


def _continues(message: Any) -> bool:
    """Whether the answer is to go on where this message ends, in DeepSeek's, Mistral's or Moonshot's words."""
    return isinstance(message, dict) and _role(message) == "assistant" and any(
        message.get(name) is True for name in _CONTINUING)


def _functions_as_tools(body: dict[str, Any]) -> dict[str, Any]:
    functions, call = body.get("functions"), body.get("function_call")
    if functions is None and call is None:
        return body
    body = {name: value for name, value in body.items() if name not in ("functions", "function_call")}
    if functions:
        if body.get("tools"):
            raise JobError("`functions` is the old name of `tools`: give only one of them.", param="functions")
        if not isinstance(functions, list):
            raise JobError("`functions` must be a list; `tools` is its present name.", param="functions")
        body["tools"] = [{"type": "function", "function": function} for function in functions]
    if call is not None and body.get("tools"):
        named = isinstance(call, dict) and call.get("name")
        if not named and call not in ("auto", "none"):
            raise JobError("`function_call` must be \"auto\", \"none\" or {\"name\": …}.", param="function_call")
        body.setdefault("tool_choice", {"type": "function", "function": {"name": named}} if named else call)
    elif call is not None and call not in ("auto", "none"):
        raise JobError("`function_call` needs `functions`, or better `tools`.", param="function_call")
    return body


def _calls(messages: list[Any]) -> list[Any]:
    """Messages whose tool calls have arguments that are an object, and that use tools instead of functions."""
    result, last = [], "call_0"
    for number, message in enumerate(messages):
        if isinstance(message, dict):
            call = message.get("function_call")
            if isinstance(call, dict) and not message.get("tool_calls"):
                last = f"call_{number}"
                message = {**message, "tool_calls": [{"id": last, "type": "function", "function": call}]}
            if "function_call" in message:
                message = {name: value for name, value in message.items() if name != "function_call"}
            if _role(message) == "function":
                message = {**message, "role": "tool", "tool_call_id": last}
            if isinstance(message.get("tool_calls"), list):
                message = {**message, "tool_calls": [_with_arguments(entry) for entry in message["tool_calls"]]}
        result.append(message)
    return result


def _with_arguments(call: Any) -> Any:
    function = call.get("function") if isinstance(call, dict) else None
    if not isinstance(function, dict):
        return call
    call = {name: value for name, value in call.items() if value is not None}  # `type` may not be null
    arguments = function.get("arguments")
    if arguments is None or isinstance(arguments, str) and not arguments.strip():
        return {**call, "function": {**function, "arguments": json.dumps({})}}
    return call


def with_inputs(body: dict[str, Any]) -> dict[str, Any]:
    """The same for a body of /v1/messages, where a call's arguments are the object `input` of a block."""
    if not isinstance(body.get("messages"), list):
        return body
    return {**body, "messages": [_with_blocks(message) for message in body["messages"]]}


def _with_blocks(message: Any) -> Any:
    if not isinstance(message, dict) or not isinstance(message.get("content"), list):
        return message
    return {**message, "content": [
        {**block, "input": {}} if isinstance(block, dict) and block.get("type") == "tool_use"
        and block.get("input") in (None, "") else block for block in parts.of_blocks(message["content"])]}


def _role(message: Any) -> str | None:
    role = message.get("role") if isinstance(message, dict) else None
    return role.lower() if isinstance(role, str) else None  # as the engine reads it


def _developer_as_system(messages: list[Any], known: tuple[bool, bool]) -> list[Any]:
    places = [place for place, message in enumerate(messages) if _role(message) == "developer"]
    if all(known[0] if place == 0 else known[1] for place in places):
        return messages
    messages = [{**message, "role": "system"} if _role(message) == "developer" else message for message in messages]
    system = [message for message in messages if _role(message) == "system"]
    if len(system) == 1 and _role(messages[0]) == "system":
        return messages
    # Many templates refuse a second system message, or one that is not the first.
    merged: dict[str, Any] = {}
    for message in system:
        merged.update(message)
    merged["content"] = _joined([message.get("content") for message in system])
    given = [tool for message in system if isinstance(message.get("tools"), list) for tool in message["tools"]]
    return [{**merged, **({"tools": given} if given else {})},
            *(message for message in messages if _role(message) != "system")]


def _joined(contents: list[Any]) -> Any:
    contents = [content for content in contents if content]
    if all(isinstance(content, str) for content in contents):
        return _JOINT.join(contents)
    joined: list[Any] = []
    for content in contents:
        joined += content if isinstance(content, list) else [{"type": "text", "text": content}]
    return joined
