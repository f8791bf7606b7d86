"""The environment as the worker takes it: without quotes that were meant for a shell, and with other workers' names.

Pure. An env file of Docker and the form of a platform hand on quotes as a part of the value.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from settings import flags
from settings.flags.values import Notice, Snapshot
from settings.foreign import FOREIGN, translated
from settings.worker_settings import WORKER_SETTINGS

_OWN = {setting.name: setting for setting in WORKER_SETTINGS}
# Not the worker's, but read by what it starts.
_LIBRARIES = re.compile(r"^(HF|HUGGING_?FACE\w*|SGLANG|TRANSFORMERS)_")
# Quotes have a meaning of their own in what is split like a shell command line.
_CLOSED_BY = {'"': '"', "'": "'", "`": "`", "\u201c": "\u201d", "\u2018": "\u2019", "\u201e": "\u201c"}
_WORDS = re.compile(r"-|.*\s-")


def heard(environ: Mapping[str, str], snapshot: Snapshot | None = None) -> tuple[dict[str, str], list[Notice]]:
    """(`environ` as it is meant, notices). Without a snapshot only what concerns the server's own environment."""
    known = flags.variables(snapshot) if snapshot else {}
    meant = dict(environ)
    notices: list[Notice] = []
    for name in sorted(environ):
        if name in known or name in _OWN or name in FOREIGN or _LIBRARIES.match(name):
            entry = snapshot["flags"][known[name]] if snapshot and name in known else {}
            text = environ[name].strip()
            if (rest := text.removeprefix(f"{name}=")) != text:
                meant[name] = text = rest
                notices.append(("warn", f"{name} begins with its own name and an equals sign, which are taken off"))
            bare = _unquoted(text, _kind(name, entry))
            if bare is not None:
                meant[name] = bare
                notices.append(("warn", f"{name} is set in quotes, which are taken off"))
    own = {**{name: name for name in _OWN}, **known}
    more, lines = translated(meant, own)
    return {**meant, **more}, notices + lines


def _kind(name: str, entry: Mapping[str, str]) -> str:
    if name in _OWN and _OWN[name].type == "words":
        return "words"
    if entry.get("kind") == "list":
        return "list"
    return "json" if entry.get("type") in ("json", "json_list") else "text"


def _unquoted(text: str, kind: str) -> str | None:
    """What stands in the quotes; None where there are none, or where they may be meant."""
    text = text.strip()
    if len(text) < 2 or _CLOSED_BY.get(text[0]) != text[-1]:
        return None
    inside = text[1:-1]
    if kind == "json" and text[0] == '"' and text[0] not in inside:
        return None     # a JSON string
    if kind == "words" and not (_WORDS.match(inside) and text[0] not in inside):
        return None
    if kind == "list" and (text[0] in inside.strip("[]{}") and not inside.lstrip().startswith(("[", "{"))):
        return None     # several elements, each in quotes
    return inside.strip()
