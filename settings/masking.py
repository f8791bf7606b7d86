"""Which values of the configuration are secret, and texts without them. Pure."""

from __future__ import annotations

import shlex
from collections.abc import Mapping

from settings import flags
from settings.flags.values import Problem, boolean
from utils import MASK


def secret_values(environ: Mapping[str, str], given: flags.Given) -> tuple[str, ...]:
    # By its name alone a variable may also be a switch ("…_DISABLE_TOKEN=true"): masking such a word everywhere
    # would spoil the log. A flag that names a key always holds one.
    from_names = {value.strip() for name, value in environ.items()
                  if flags.is_secret(name) and boolean(value) is None and len(value.strip()) >= 8}
    from_flags = {value for item in given.items if _hidden(item) for value in item.values}
    return tuple(sorted((from_names | from_flags) - {""}))


def _hidden(item: flags.Item) -> bool:
    return flags.is_secret(item.flag or item.spelled)


def line(problem: Problem, secrets: tuple[str, ...]) -> str:
    # Masked before it is cut or quoted: afterwards a secret could no longer be found.
    value = MASK if flags.is_secret(problem.name) else masked(problem.value, secrets)
    value = value if len(value) <= 80 else value[:80] + "…"
    return f"{problem.name}{'=' + quoted(value) if problem.value else ''}: {masked(problem.reason, secrets)}"


def quoted(word: str) -> str:
    return word if MASK in word else shlex.quote(word)


def masked(text: str, secrets: tuple[str, ...]) -> str:
    # Shorter ones are masked only where they stand as a value, as utils.hide explains.
    for secret in sorted((s for s in secrets if len(s) >= 4), key=len, reverse=True):
        text = text.replace(secret, MASK)
    return text
