"""Which parser a chat template speaks for, where SGLang's detection finds none or takes the model for another.

The answer is for the log and for a refusal: nothing is set by it. Reads files, and imports nothing of transformers.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from job import model

_CHAT_TEMPLATE = "--chat-template"
# (parser, what stands in the template, what does not), the narrow ones first.
_MARKS = (
    ("deepseekv3", ("<｜tool▁sep｜>", "```json"), ()),
    ("deepseekv31", ("<｜tool▁sep｜>",), ()),
    ("qwen25", ("<tool_call>", "arguments"), ("<function=", "<arg_key>", "<invoke", "[TOOL_CALLS]")),
    ("llama3", ("Environment: ipython", "parameters"), ()),
    ("mistral", ("[TOOL_CALLS]",), ()),
)
_SAME = {"qwen": "qwen25", "hermes": "qwen25"}


def likely(template: str) -> str | None:
    """The parser of tool calls whose marks `template` has, None where it has those of none that is known here."""
    return next((parser for parser, marks, others in _MARKS if all(mark in template for mark in marks)
                 and not any(mark in template for mark in others)), None)


def same(one: str, other: str) -> bool:
    """Whether two parsers read the same form."""
    return _SAME.get(one, one) == _SAME.get(other, other)


def template(words: Sequence[str], name: str, environ: Mapping[str, str], revision: str | None = None) -> str:
    """The chat template of a server that was started with `words` and serves the model `name`, as far as it lies on
    this machine, else "". words: with a .jinja file among them, that counts, and with another, none does."""
    for option, value in zip(words, words[1:], strict=False):
        if option == _CHAT_TEMPLATE:
            return _text(Path(value)) if value.endswith(".jinja") else ""
    for config in model.configs(name, environ, revision):
        if _text(config):
            return _text(config.with_name("chat_template.jinja")) or _of_tokenizer(config.with_name(
                "tokenizer_config.json"))
    return ""


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return ""


def _of_tokenizer(path: Path) -> str:
    """Several templates, one of them for tools, are a list of objects with name and template."""
    try:
        found = json.loads(_text(path) or "{}").get("chat_template")
    except (ValueError, AttributeError):
        return ""
    if isinstance(found, list):
        return "\n".join(str(entry.get("template")) for entry in found if isinstance(entry, dict))
    return found if isinstance(found, str) else ""
