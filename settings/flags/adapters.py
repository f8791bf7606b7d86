"""LoRA adapters as people write them, into elements that SGLang's parser takes. Pure.

One element is `name=path`, `path`, or a JSON object with lora_name and lora_path (LoRAPathAction in
srt/arg_groups/argparse_actions.py); elements stand side by side, separated by spaces, commas or both, or in a JSON
list, and spaces around the `=` do no harm.
"""

from __future__ import annotations

import json
import re
import shlex
from collections import Counter

_TEXT = r"""(?:"[^"]*"|'[^']*'|\\.|[^\s,"'])"""
_NAME = r"""(?:"[^"]*"|'[^']*'|\\.|[^\s,="'])"""
_ELEMENT = re.compile(rf"({_NAME}+)\s*=\s*({_TEXT}+)|({_TEXT}+)")
_NEEDED = {"lora_name", "lora_path"}


def elements(text: str) -> list[str]:
    """The elements of LORA_PATHS. Raises ValueError, whose text says what is wrong."""
    text = text.strip()
    if text.startswith("["):
        try:
            listed = json.loads(text)
        except (ValueError, RecursionError):
            raise ValueError("must be a JSON list where it begins with a bracket") from None
        wrong = next((part for part in listed if not isinstance(part, (str, dict))), None)
        if wrong is not None:
            raise ValueError(f"element {wrong!r} must be a text or an object")
        found = [part if isinstance(part, str) else json.dumps(part) for part in listed]
    else:
        found = []
        while text := text.lstrip(" \t\r\n,"):
            part, text = _first(text)
            found.append(part)
    if not found:
        raise ValueError("has no element")
    for name, count in Counter(map(_checked, found)).items():
        if count > 1:
            raise ValueError(f"names {count} adapters {name!r}; each needs a name of its own")
    return found


def _first(text: str) -> tuple[str, str]:
    """(the first element, the rest)"""
    if text.startswith("{"):
        try:
            end = json.JSONDecoder().raw_decode(text)[1]
        except (ValueError, RecursionError):
            raise ValueError(f"element {text!r} must be JSON") from None
        return text[:end], text[end:]
    match = _ELEMENT.match(text)
    if match is None:
        raise ValueError(f"cannot be read from {text!r} on: an element is name=path, a path or a JSON object")
    name, path, alone = match.groups()
    joined = alone if alone is not None else f"{name}={path}"
    return "".join(shlex.split(joined)), text[match.end():]


def _checked(element: str) -> str:
    """The adapter's name. Raises ValueError for an element that SGLang would fail on, with a traceback."""
    if element.startswith("{"):
        try:
            adapter = json.loads(element)
        except (ValueError, RecursionError):
            raise ValueError(f"element {element!r} must be JSON") from None
        if not adapter.keys() >= _NEEDED:
            raise ValueError(f"element {element!r} must have lora_name and lora_path")
        return str(adapter["lora_name"])
    if element.startswith("-"):
        # argparse may take it for the next option, and a list has no `--flag=value` form.
        raise ValueError(f"element {element!r} cannot start with a dash")
    name, equals, path = element.partition("=")
    if not name.strip() or equals and not path.strip():
        raise ValueError(f"element {element!r} must be name=path")
    return name
