"""What an SGLang older than the one that the worker was written for would do in silence, refused by name. Pure.

The CUDA 12.9 image has 0.5.19. Where an older server says itself that it cannot do something, nothing is needed here.
"""

from __future__ import annotations

import re
from typing import Any

from job.context import Context
from utils import JobError

_TEMPLATES_GUARDED = (0, 5, 21)   # --trust-request-chat-template (openai/serving_chat.py)
_SCHEMAS_ON_MESSAGES = (0, 5, 23)  # AnthropicOutputConfig.format (anthropic/protocol.py)


def check(body: dict[str, Any], kind: str, context: Context) -> None:
    """Raises JobError (400) for what the server at hand would not do as asked, or does for everybody."""
    given = body.get("chat_template_kwargs")
    # A template is a program, which a caller could let run for ever. Newer servers refuse it too.
    open_to_all = _before(context.sglang, _TEMPLATES_GUARDED)
    if isinstance(given, dict) and "chat_template" in given and (open_to_all or not context.templates):
        raise JobError("`chat_template` is not open to callers of this endpoint: its operator sets CHAT_TEMPLATE, or "
                       "TRUST_REQUEST_CHAT_TEMPLATE to let them bring one.", param="chat_template")
    config = body.get("output_config")
    if kind == "messages" and isinstance(config, dict) and config.get("format") is not None and (
            _before(context.sglang, _SCHEMAS_ON_MESSAGES)):
        raise JobError(f"A JSON schema on /v1/messages needs SGLang 0.5.23, and this endpoint has {context.sglang}, "
                       "which would ignore it: use /v1/chat/completions.", param="output_config.format")


def _before(version: str, first: tuple[int, ...]) -> bool:
    """Whether that SGLang is older than `first`; one that does not say what it is (0.0.0, one's own build) is not."""
    numbers = tuple(map(int, re.findall(r"\d+", version)[:3]))
    return any(numbers) and numbers < first
