"""Requests with tools before a server that has no parser for tool calls, and how the log tells of the parsers.

Pure. Without a parser SGLang answers a request with tools in text, and the calls stand in it as the model writes them.
Where a call is demanded it makes the model write a JSON array of calls; on /v1/responses it makes calls of that, on the
other routes it answers with the array as text, and with "stop" for the reason (seen with SGLang 0.5.23, streamed and
whole; 0.5.19 has the same condition, openai/serving_chat.py, _tool_call_parsing_active).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from job import marks
from job.context import Context
from settings.flags.parsers import DETECT, TOOLS
from utils import JobError

_DOCUMENT = "docs/tools.md"
_ROUTES = ("/v1/chat/completions", "/invocations", "/v1/messages", "/v1/responses")


def check(path: str, body: dict[str, Any] | None, context: Context) -> bool:
    """Whether `body`, in the words of the engine's route `path`, lets the model call tools while nobody would read its
    calls. Raises JobError 400 where it demands a call."""
    if context.tools or path not in _ROUTES or body is None or not isinstance(body.get("tools"), list):
        return False
    choice = body.get("tool_choice")
    kind = choice.get("type", "function") if isinstance(choice, dict) else choice
    if not body["tools"] or kind == "none":
        return False
    if path != "/v1/responses" and kind in ("required", "any", "function", "tool"):
        choices = ", ".join(context.tool_parsers)
        raise JobError(
            "`tool_choice` demands a tool call, and this endpoint's server has no parser that would read it. Set "
            f"{remedy(context.marks)}{f'; it can be {choices}' if choices else ''}. Without one, calls come as text, "
            "and `tool_choice` can be \"auto\" or \"none\".", param="tool_choice")
    return True


def line(info: Mapping[str, Any], words: Sequence[str], speaks_for: str = "") -> str | None:
    """What the log says of the parsers that the server has; None where it does not say, or only embeds. info:
    /model_info; words: the server's arguments; speaks_for: see `remedy`."""
    if "tool_call_parser" not in info or info.get("is_generation") is False:
        return None
    tools, reasoning = info["tool_call_parser"], info.get("reasoning_parser")
    how = ""
    if (TOOLS, DETECT) in zip(words, words[1:], strict=False) or f"{TOOLS}={DETECT}" in words:
        if not tools:
            how = f" (none was detected: where requests bring tools, set {remedy(speaks_for)})"
        elif speaks_for and not marks.same(tools, speaks_for):
            how = f" (detected, but where requests bring tools, set {remedy(speaks_for)})"
        else:
            how = " (detected)"
    return f"parsers: {tools or 'none'} for tool calls{how}, {reasoning or 'none'} for reasoning"


def remedy(speaks_for: str) -> str:
    """What is to be set, behind "set". speaks_for: the parser whose marks the chat template has."""
    return f"TOOL_CALL_PARSER={speaks_for}, whose marks the chat template has" if speaks_for else (
        f"TOOL_CALL_PARSER to the one of the model's family ({_DOCUMENT})")
