"""What the engine says, in words for a caller: without the insides of its validator, without what an answer held, and
with this worker's variables in place of the engine's flags. Pure."""

from __future__ import annotations

import ast
import re
from typing import Any

LONGEST = 500  # characters of a validation message; it may echo a whole request
_FINDINGS = re.compile(r"\d+ validation errors?:\n")
_FINDING = re.compile(r"  \{'type': '\w+', 'loc': \((.*?),?\), 'msg': ('(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\")")
# /v1/messages joins its findings itself (entrypoints/http_server.py, _anthropic_validation_message). The places in
# them name the validator's branches too: "content.str", "content.list[tagged-union[TextBlock,…]].0.text.text".
_BRANCHED = re.compile(r"[\w.]+\.(?:str|int|float|bool|dict|custom\.|list\[|[a-z]+-[a-z]+\[)")
_TAGGED = re.compile(r"\.list\[tagged-union\[[^:;\[\]]*\]\](\.\d+)\.\w+(?=\.)")
_BRANCH = re.compile(r"\.(?:str|int|float|bool|dict|custom|[a-z-]+\[[^:;]*?\])(?=[.:])")
# An engine that cannot keep a grammar tells the whole answer so far and the grammar (constrained/xgrammar_backend.py).
_OF_AN_ANSWER = re.compile(r"\n(?:Accepted tokens|Old output IDs|New output IDs|Key string): ")
# "--flag", "`--flag value`", "--flag=value". The worker's variable for a flag is the flag in upper case.
_FLAG = re.compile(r"(?P<tick>`?)(?<![\w-])--(?P<name>[a-z][a-z0-9]*(?:-[a-z0-9]+)*)"
                   r"(?P<value>=[\w.-]+|(?<=[a-z0-9]) [\w.-]+(?=`))?(?P=tick)")
_SWITCH = ("enable-", "disable-", "is-", "skip-")


def unfit(entry: Any) -> str:
    """One entry of the web framework's list of what does not fit."""
    if not isinstance(entry, dict):
        return str(entry)
    loc = entry.get("loc")
    where = _place(loc) if isinstance(loc, list) else ""
    return f"{where}: {entry.get('msg', entry)}" if where else str(entry.get("msg", entry))


def _place(loc: Any) -> str:
    # Parts such as "list[union[…]]" and "function-after[…()]" name the validator's branches, not fields.
    return ".".join(str(part) for part in loc if part != "body" and not (isinstance(part, str) and "[" in part))


def readable(message: str) -> str:
    """`message`, readable; the same one where nothing of this is in it."""
    if _FINDINGS.match(message):
        message = _findings(message)
    elif _BRANCHED.match(message):
        message = _digest(message)
    message = _OF_AN_ANSWER.split(message, 1)[0]
    return _FLAG.sub(_variable, message)


def _variable(found: re.Match[str]) -> str:
    name, value = found["name"], (found["value"] or "").lstrip("= ")
    if not value and name.startswith(_SWITCH):
        value = "true"
    return found["tick"] + name.upper().replace("-", "_") + (f"={value}" if value else "") + found["tick"]


def _findings(message: str) -> str:
    """SGLang's answer to a body that does not fit is a repr of its validator's findings, with the caller's input and
    the path of its own source file: keep the fields and what is wrong with each."""
    told: dict[str, None] = {}
    for line in message.split('\n\n  File "', 1)[0].splitlines()[1:]:  # a repr has no line break of its own
        if found := _FINDING.match(line):
            where, text = _place(ast.literal_eval(f"({found[1]},)")), ast.literal_eval(found[2])
            told[f"{where}: {text}" if where else text] = None
    return "; ".join(list(told)[:5])[:LONGEST] or "The body does not fit this route."


def _digest(message: str) -> str:
    told: dict[str, str] = {}
    for part in message.removesuffix("…").split("; ", 50)[:50]:
        place, colon, text = _BRANCH.sub("", _TAGGED.sub(r"\1", part[:4 * LONGEST])).partition(": ")
        if colon and "[" not in place:
            more = text.removeprefix("Input should be ")
            told[place] = f"{told[place]} or {more}"[:LONGEST] if place in told else text
    # Of a field that may be several things, each that it is not is found: only the innermost says what is wrong.
    kept = [f"{place}: {text}" for place, text in told.items() if not any(
        other.startswith(place + ".") for other in told)]
    return "; ".join(kept[:5])[:LONGEST] or "The body does not fit this route."
