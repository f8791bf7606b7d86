"""Tools, and the choice of one, in the shapes that the chat and the Responses route read.

Pure. Each API has a shape of its own; SGLang takes one on each route, and takes a choice that it does not know on
/v1/responses for "auto".
"""

from __future__ import annotations

from typing import Any

from utils import JobError

_WORDS = {"auto": "auto", "none": "none", "required": "required", "any": "required"}  # Anthropic's and Mistral's "any"


def of_chat(body: dict[str, Any]) -> dict[str, Any]:
    """A chat body whose tools and `tool_choice` have OpenAI's shape. With a choice among `allowed_tools` the others are
    left out, so that the answer can call none of them. Raises JobError 400."""
    if isinstance(body.get("tools"), list):
        body = {**body, "tools": [_nested(tool) for tool in body["tools"]]}
    choice = body.get("tool_choice")
    kind = _kind(choice)
    if isinstance(kind, str) and kind in _WORDS:
        return {**body, "tool_choice": _WORDS[kind]}
    if isinstance(choice, dict) and kind == "allowed_tools":
        return _allowed(body, choice)
    if isinstance(choice, dict) and kind in ("function", "tool") and (name := _name(choice)):
        return _alone({**body, "tool_choice": {"type": "function", "function": {"name": name}}}, name)
    return body


def of_messages(body: dict[str, Any]) -> dict[str, Any]:
    """The same for /v1/messages, whose clients are Anthropic's alone."""
    choice = body.get("tool_choice")
    named = isinstance(choice, dict) and choice.get("type") == "tool" and _name(choice)
    return _alone(body, named) if named else body


def _alone(body: dict[str, Any], name: str) -> dict[str, Any]:
    """`body` with the tool that has to be called alone: among others SGLang 0.5.23 may call any of them (seen with the
    parser qwen25). One that is not there is its to refuse."""
    tools = body.get("tools")
    kept = [tool for tool in tools if _name(tool) == name] if isinstance(tools, list) else []
    return {**body, "tools": kept} if kept else body


def of_responses(body: dict[str, Any]) -> dict[str, Any]:
    """The same for /v1/responses, whose tools have their name beside their type. Raises JobError 400."""
    if isinstance(body.get("tools"), list):
        body = {**body, "tools": [_flat(tool) for tool in body["tools"]]}
    if isinstance(body.get("include"), list):  # details of tools that this server does not have
        body = {**body, "include": [entry for entry in body["include"] if not (
            isinstance(entry, str) and entry.startswith("web_search_call."))]}
    choice = body.get("tool_choice")
    kind = _kind(choice)
    if isinstance(kind, str) and kind in _WORDS:
        return {**body, "tool_choice": _WORDS[kind]}
    if kind in ("function", "tool") and (name := _name(choice)):
        return _alone({**body, "tool_choice": {"type": "function", "name": name}}, name)
    if kind == "custom":
        return body
    if kind is not None:
        raise JobError("`tool_choice` can be \"auto\", \"none\", \"required\" or a function here; any other would be "
                       "taken for \"auto\".", param="tool_choice")
    return body


def _kind(choice: Any) -> Any:
    return choice.get("type", "function") if isinstance(choice, dict) else choice


def _allowed(body: dict[str, Any], choice: dict[str, Any]) -> dict[str, Any]:
    inner = choice["allowed_tools"] if isinstance(choice.get("allowed_tools"), dict) else choice
    listed, mode, tools = inner.get("tools"), inner.get("mode", "auto"), body.get("tools")
    if not isinstance(listed, list) or mode not in ("auto", "required"):
        raise JobError("`tool_choice` of the type allowed_tools needs `mode` and `tools`.", param="tool_choice")
    names = set(map(_name, listed))
    kept = [tool for tool in tools if _name(tool) in names] if isinstance(tools, list) else []
    if None in names or set(map(_name, kept)) != names:
        raise JobError("`tool_choice` allows a tool that is not among `tools`.", param="tool_choice")
    return {**body, "tools": kept, "tool_choice": mode}


def _name(tool: Any) -> str | None:
    """The name of a tool, or of a reference to one."""
    inner = tool.get("function", tool) if isinstance(tool, dict) else None
    name = inner.get("name") if isinstance(inner, dict) else None
    return name if isinstance(name, str) else None


def _nested(tool: Any) -> Any:
    """The Responses API's and Anthropic's function in OpenAI's shape."""
    if not isinstance(tool, dict) or "function" in tool or tool.get("type", "function") not in ("function", "custom"):
        return tool
    if not isinstance(tool.get("name"), str) or tool.get("type") == "custom" and "input_schema" not in tool:
        return tool
    function = {name: value for name, value in tool.items() if name not in ("type", "input_schema", "cache_control")}
    if "input_schema" in tool:
        function["parameters"] = tool["input_schema"]
    return {"type": "function", "function": function}


def _flat(tool: Any) -> Any:
    function = tool.get("function") if isinstance(tool, dict) and tool.get("type") == "function" else None
    return {**function, "type": "function"} if isinstance(function, dict) and "name" not in tool else tool
