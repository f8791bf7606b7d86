"""SGLANG_CONFIG_FILE, as far as the worker looks into it: that it is there, opens nothing that is closed, and has no
number on which SGLang is known to fail.

SGLang reads it (utils/server_args_config_parser.py: each key is an option, merged before the command line). The worker
has no YAML reader and needs none: an option there is a key at the beginning of a line. What is read wrongly here is
refused, never let through.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from pathlib import Path

from settings import flags, listeners
from settings.flags import modes
from settings.flags.bounds import out_of_bounds
from settings.flags.values import Problem, Snapshot

_NAME = "SGLANG_CONFIG_FILE"
_KEY = r"""["']?([A-Za-z][\w-]*)["']?[ \t]*:(?:[ \t]+([^\n]*?))?[ \t]*(?:#[^\n]*)?"""
_BLOCK = re.compile(rf"^{_KEY}$", re.MULTILINE)
_FLOW = re.compile(r"""[{,]\s*["']?([A-Za-z][\w-]*)["']?\s*:\s*([^,}\n]*)""")
_OFF = ("false", "no", "off")
_SWITCHED = ("true", "yes", "on", *_OFF)
# The worker's own arguments follow, and win.
_OVERRULED = ("--host", "--port")


def problems(path: str, snapshot: Snapshot, allowed: Collection[str]) -> list[Problem]:
    """What is wrong with the file at `path`; `allowed` are the variables of ALLOWED_LISTENERS."""
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no UTF-8"
        return [Problem(_NAME, path, f"cannot be read: {reason}")]
    items = options(text, snapshot)
    lines = flags.refused(item for item in items if item.flag not in _OVERRULED)
    lines += [f"{item.spelled} {item.values[0]} {wrong}" for item in items
              if item.flag and item.values and (wrong := out_of_bounds(item.flag, item.values[0]))]
    lines += [f"{name}: {why}" for name, why in listeners.refused(items, {}, allowed)]
    lines += [f"{flag} {text}".rstrip() + f" {why}" for flag, text, why in modes.refused(items)]
    return [Problem(_NAME, "", line) for line in lines]


def options(text: str, snapshot: Snapshot) -> list[flags.Item]:
    """The options of a file, as far as they can be told without reading YAML: names, and values of one line."""
    found = (_FLOW if text.lstrip().startswith("{") else _BLOCK).findall(text)
    items = []
    for key, value in found:
        (item,) = flags.read([f"--{key}"], snapshot)
        plain = value.strip().strip("\"'")
        word = plain.lower()
        items.append(item._replace(values=(plain,) if plain and word not in _SWITCHED else (), on=word not in _OFF))
    return items
