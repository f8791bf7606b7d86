"""One variable's text, checked the way SGLang's parser will, and turned into command line arguments.

Pure. A flag is an entry of the snapshot (its fields are described in builder/flag_snapshot.py).
"""

from __future__ import annotations

import difflib
import json
import re
import shlex
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from settings.flags import adapters
from settings.flags.bounds import out_of_bounds

TRUE, FALSE = ("true", "1", "yes", "on"), ("false", "0", "no", "off")
BOOLEANS = "true, 1, yes, on, or false, 0, no, off"

# What the server checks only after parsing: uvicorn's level names, in lower case.
_LEVELS = ["debug", "info", "warning", "error", "critical"]
_LATE_CHOICES = {"--log-level": _LEVELS, "--log-level-http": _LEVELS}

Notice = tuple[str, str]    # level, line
Entry = dict[str, Any]      # one flag of the snapshot
Snapshot = dict[str, Any]   # builder/flags.json


class Problem(NamedTuple):
    name: str       # the variable
    value: str      # as the user wrote it
    reason: str     # what is allowed


def nearest(word: str, known: Iterable[str]) -> str:
    """' (did you mean X?)', or '' when nothing is close."""
    found = difflib.get_close_matches(word.lower(), list(known), n=1)
    return f" (did you mean {found[0]}?)" if found else ""


def boolean(text: str) -> bool | None:
    """The truth of a word, None for a word that is neither."""
    word = text.strip().lower()
    return True if word in TRUE else False if word in FALSE else None


def looks_negative(word: str) -> bool:
    """Whether argparse takes `word` for a negative number rather than an option."""
    return re.fullmatch(r"-\d+|-\d*\.\d+", word) is not None


def _size(text: str) -> None:
    # SGLang's human_readable_int (srt/utils/common.py): SI suffixes take decimals, IEC ones do not.
    if not re.fullmatch(r"\d+(\.\d+)?[kMGT]|\d+[KMGT]i", text):
        int(text)


def _no_constant(constant: str) -> None:
    raise ValueError(f"{constant} is no JSON")


def _json_list(text: str) -> None:
    # The parser's reader is orjson (json_list_type in srt/utils/common.py), which refuses NaN.
    if not isinstance(json.loads(text, parse_constant=_no_constant), list):
        raise ValueError("not a list")


_READERS: dict[str, tuple[Callable[[str], Any], str]] = {
    "str": (str, ""), "int": (int, "a whole number"), "float": (float, "a number"),
    "size": (_size, "a whole number, or one with a suffix such as 16k or 16Ki"),
    "json": (json.loads, "JSON"), "json_list": (_json_list, "a JSON list"),
}


def _one(flag: str, entry: Entry, text: str) -> tuple[str, str | None]:
    """One value as the parser wants it, and what is wrong with it (None when nothing is)."""
    read, allowed = _READERS[entry["type"]]
    try:
        value = read(text)
    except (ValueError, RecursionError):
        return text, f"must be {allowed}"
    choices = entry.get("choices") or _LATE_CHOICES.get(flag)
    if not choices or value in choices:
        return text, out_of_bounds(flag, text)
    same = [choice for choice in choices if str(choice).lower() == text.lower()]
    if len(same) == 1:
        return str(same[0]), None
    names = [str(choice) for choice in choices]
    return text, f"must be one of {', '.join(names)}{nearest(text, names)}"


def _elements(text: str) -> list[str]:
    """A list as a shell splits it, or as a JSON list."""
    try:
        if text.startswith("["):
            return [part if isinstance(part, str) else json.dumps(part) for part in json.loads(text)]
    except (ValueError, RecursionError):
        pass
    return shlex.split(text)


def _list(flag: str, entry: Entry, text: str) -> tuple[list[str], str | None]:
    if flag == "--lora-paths":
        try:
            return adapters.elements(text), None
        except ValueError as error:
            return [], str(error)
    try:
        parts = _elements(text)
    except ValueError as error:
        return [], f"cannot be split like a shell command line: {error}"
    if not parts:
        return [], "has no element"
    values = []
    for part in parts:
        value, wrong = _one(flag, entry, part)
        if wrong is None and value.startswith("-") and not looks_negative(value):
            # argparse may take it for the next option, and a list has no `--flag=value` form.
            wrong = "cannot start with a dash"
        if wrong is not None:
            hint = "; elements are separated by spaces" if "," in part and not part.startswith("{") else ""
            return [], f"element {part!r} {wrong}{hint}"
        values.append(value)
    return values, None


def arguments(flag: str, entry: Entry, text: str) -> tuple[list[str], str | None]:
    """(arguments, None) for one flag's text, or ([], what is allowed instead)."""
    kind, truth = entry["kind"], boolean(text)
    if kind == "removed":
        return [], f"is gone from SGLang: {entry['deprecated']}"
    if kind in ("switch", "paired"):
        if truth is None:
            return [], f"must be {BOOLEANS}"
        off = [f"--no-{flag[2:]}"] if kind == "paired" else []
        return ([flag] if truth else off), None
    if kind == "list":
        values, wrong = _list(flag, entry, text)
        return ([], wrong) if wrong else ([flag, *values], None)
    if entry.get("nargs") == "?" and truth is not None:
        return ([flag] if truth else []), None
    value, wrong = _one(flag, entry, text)
    if wrong is None and value == "--":
        wrong = "cannot be two dashes"     # argparse drops them wherever they stand
    if wrong is not None:
        return [], wrong
    # Joined, or argparse takes the value for the next option.
    return ([f"{flag}={value}"] if value.startswith("-") else [flag, value]), None
