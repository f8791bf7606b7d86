"""Which values of the configuration are secret, and texts without them. Pure."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator, Mapping

import utils
from settings import flags
from settings.flags.values import Problem, boolean
from settings.telemetry import header_secrets
from utils import MASK

# What a variable with a secret's name may say without holding one.
_WORDS = {"none", "null", "auto", "default"}
# A password, or a token in the place of a user.
_IN_ADDRESS = re.compile(r"[a-z][a-z0-9+.-]*://(?:[^/\s:@]*:([^/\s@]+)|([^/\s:@]{8,}))@", re.IGNORECASE)


def secret_values(environ: Mapping[str, str], given: flags.Given) -> tuple[str, ...]:
    """Every secret of the configuration: by the name of its variable, flag or field, or as a password in an address."""
    found: set[str] = set()
    for name, text in environ.items():
        # By its name alone a variable may also be a switch ("…_DISABLE_TOKEN=true"): masking such a word everywhere
        # would spoil the log. A flag that names a key always holds one.
        if flags.is_secret(name, text) and boolean(text) is None and text.strip().lower() not in _WORDS:
            found |= {text.strip(), text.strip().strip("\"'")}
        found |= {*_in_address(text), *_fields(text)}
    for item in given.items:
        found |= {value for value in item.values if flags.is_secret(item.flag or item.spelled, value)}
        found |= {secret for value in item.values for secret in (*_in_address(value), *_fields(value))}
    found |= {*_of_command(environ.get("SGLANG_LAUNCH_COMMAND", "")), *header_secrets(environ)}
    return tuple(sorted(found - {""}))


def _in_address(text: str) -> Iterator[str]:
    return (password or user for password, user in _IN_ADDRESS.findall(text))


def _fields(text: str) -> Iterator[str]:
    """The secret fields of a text that is JSON."""
    if not text.strip().startswith(("{", "[")):
        return
    try:
        todo = [json.loads(text)]
    except (ValueError, RecursionError):
        return
    while todo:
        value = todo.pop()
        if isinstance(value, dict):
            yield from (str(field) for name, field in value.items()
                        if isinstance(field, (str, int)) and not isinstance(field, bool) and flags.surely_secret(name))
        if isinstance(value, (dict, list)):
            todo += value.values() if isinstance(value, dict) else value


def _of_command(text: str) -> Iterator[str]:
    """The secrets in a command line: NAME=value before it, and values of its options."""
    try:
        words = shlex.split(text)
    except ValueError:
        return
    before = ""
    for word in words:
        name, equals, value = word.partition("=")
        if equals and re.fullmatch(r"-{0,2}[\w-]+", name) and flags.is_secret(name, value):
            yield value
        elif before.startswith("--") and not word.startswith("-") and flags.is_secret(before, word):
            yield word
        before = word


def line(problem: Problem, secrets: tuple[str, ...]) -> str:
    """One line for a problem, its secrets masked."""
    # Masked before it is cut or quoted: afterwards a secret could no longer be found.
    value = MASK if flags.is_secret(problem.name, problem.value) else masked(problem.value, secrets)
    value = value if len(value) <= 80 else value[:80] + "…"
    return f"{problem.name}{'=' + quoted(value) if problem.value else ''}: {masked(problem.reason, secrets)}"


def quoted(word: str) -> str:
    """`word` as a shell takes it, as it is where something is masked in it."""
    return word if MASK in word else shlex.quote(word)


def masked(text: str, secrets: tuple[str, ...]) -> str:
    """`text` without `secrets`, as the log has it (utils.masked)."""
    spelled = {spelling for secret in secrets for spelling in utils.spellings(secret)}
    return utils.masked(text, sorted(spelled, key=len, reverse=True))
