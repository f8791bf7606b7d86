"""The parsers of what a model writes: of its tool calls, detected unless a setting says something else, and of its
reasoning, which is off unless set, because it moves text to another field. Pure.

SGLang 0.5.19 and 0.5.23 detect both with `auto` (sglang: parser/template_detection.py, resolve_auto_parsers), and go on
without one where the chat template shows none. They have no word for none at all.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from settings.flags.values import FALSE, Entry, Snapshot

if TYPE_CHECKING:
    from settings.flags import Given

TOOLS, REASONING = "--tool-call-parser", "--reasoning-parser"
DETECT = "auto"
_FLAGS = (TOOLS, REASONING)
_NONE = ("none", *FALSE)


def is_none(flag: str, text: str) -> bool:
    """Whether `text` asks for no parser at all."""
    return flag in _FLAGS and text.strip().lower() in _NONE


def with_none(flag: str, entry: Entry) -> Entry:
    """`entry` with `none` among the choices of a parser."""
    choices = entry.get("choices")
    return {**entry, "choices": ["none", *choices]} if flag in _FLAGS and choices else entry


def detectable(given: Given, environ: Mapping[str, str], snapshot: Snapshot) -> bool:
    """Whether the worker asks for detection of tool calls: this SGLang can, nobody said none, and the server answers
    with text that it makes of tokens itself."""
    return (DETECT in snapshot["flags"].get(TOOLS, {}).get("choices", ())
            and not is_none(TOOLS, environ.get("TOOL_CALL_PARSER", ""))
            and not given.on("--is-embedding") and not given.on("--skip-tokenizer-init"))
