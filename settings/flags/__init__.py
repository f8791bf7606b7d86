"""SGLang's command line, from environment variables: the variable is the flag in UPPER_SNAKE.

Pure: the flags are those of a snapshot that builder/flag_snapshot.py reads from SGLang's own parser.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from settings.flags import legacy, parsers
from settings.flags.secrecy import is_secret, surely_secret
from settings.flags.values import Notice, Problem, Snapshot, arguments, boolean, looks_negative

# Shells and platforms set HOST and PORT for reasons of their own; the worker chooses both for the server.
NOT_READ = {"HOST", "PORT", "CONFIG", "HELP"}
ALIASES = {"MODEL_NAME": "--model-path", "MODEL_REVISION": "--revision"}

_NOT_HTTP = "the server would not speak the plain HTTP that the worker uses"
REFUSED = {
    "--host": "the server listens on 127.0.0.1 only",
    "--port": "set SGLANG_PORT instead",
    "--config": "set SGLANG_CONFIG_FILE instead",
    "--help": "the server would print its help and exit",
    "--ssl-keyfile": _NOT_HTTP, "--ssl-certfile": _NOT_HTTP, "--ssl-ca-certs": _NOT_HTTP,
    "--ssl-keyfile-password": _NOT_HTTP, "--enable-ssl-refresh": _NOT_HTTP,
    "--smg-grpc-mode": _NOT_HTTP, "--grpc-mode": _NOT_HTTP,
    "--encoder-only": "an encoder-only server has no inference routes for the worker to call",
    "--gated-launch-port": "nothing in a worker opens the gate, so the server would never be ready",
    "--use-ray": "Ray's own daemons would outlive the worker",
}


class Item(NamedTuple):
    flag: str | None            # canonical name, None when this SGLang does not have it
    spelled: str                # as written, without the value
    values: tuple[str, ...]
    on: bool                    # False for the `--no-` form of a paired switch


def variable(flag: str) -> str:
    """--tp-size -> TP_SIZE"""
    return flag.lstrip("-").replace("-", "_").upper()


def variables(snapshot: Snapshot) -> dict[str, str]:
    """Every variable that is read as a flag, and the flag's canonical name."""
    known = {variable(name): flag for flag, entry in snapshot["flags"].items() for name in entry["names"]}
    known |= {name: flag for name, flag in ALIASES.items() if flag in snapshot["flags"]}
    return {name: flag for name, flag in sorted(known.items()) if name not in NOT_READ}


def argv_for(environ: Mapping[str, str], snapshot: Snapshot) -> tuple[list[str], list[Notice], list[Problem]]:
    """(arguments, notices, problems) for every variable of `environ` that is a flag; blank means unset."""
    given: legacy.Given = {}
    argv: list[str] = []
    clashes: list[Problem] = []
    for name, flag in variables(snapshot).items():
        text = environ.get(name, "").strip()
        if text and flag in given and given[flag][1] != text:
            reason = f"{given[flag][0]} means the same and has another value; set one of them"
            clashes.append(Problem(name, text, reason))
        elif text:
            given.setdefault(flag, (name, text))
    given, notices, problems = legacy.modernise(given, environ, snapshot)
    for flag, (name, text) in sorted(given.items(), key=lambda pair: (pair[0] != "--model-path", pair[0])):
        entry = parsers.with_none(flag, snapshot["flags"][flag])
        words, wrong = ([], None) if parsers.is_none(flag, text) else arguments(flag, entry, text)
        if flag in REFUSED and (words or wrong):
            words, wrong = [], f"cannot be set: {REFUSED[flag]}"
        if wrong is not None:
            problems.append(Problem(name, text, wrong))
        elif words and entry.get("deprecated"):
            notices.append(("warn", f"{name}={text}: {entry['deprecated']}"))
        argv += words
    return argv, notices, clashes + problems


def _spellings(snapshot: Snapshot) -> dict[str, tuple[str, bool]]:
    """{every option string of the parser: (canonical name, False for a `--no-` form)}"""
    spellings = {"--help": ("--help", True), "-h": ("--help", True)}
    for flag, entry in snapshot["flags"].items():
        for name in entry["names"]:
            spellings[name] = (flag, True)
            if entry["kind"] == "paired":
                spellings[f"--no-{name[2:]}"] = (flag, False)
    return spellings


def read(argv: Iterable[str], snapshot: Snapshot) -> list[Item]:
    """What argparse makes of `argv`: one item an option, in order. Unique beginnings count, as there."""
    spellings = _spellings(snapshot)

    def known(spelled: str) -> tuple[str | None, bool]:
        if spelled in spellings:
            return spellings[spelled]
        if not re.match(r"--[^-]", spelled):
            return None, True
        targets = {target for name, target in spellings.items() if name.startswith(spelled)}
        return targets.pop() if len(targets) == 1 else (None, True)

    items: list[Item] = []
    for word in argv:
        spelled, equals, value = word.partition("=")
        flag, on = known(spelled)
        value_like = not word.startswith("-") or len(word) == 1 or " " in word or looks_negative(word)
        if flag or not value_like or not items:
            items.append(Item(flag, spelled if equals else word, (value,) if equals else (), on))
        else:
            items[-1] = items[-1]._replace(values=(*items[-1].values, word))
    return items


def rewritten(argv: Sequence[str], replaced: Mapping[str, Sequence[str]], snapshot: Snapshot) -> tuple[str, ...]:
    """`argv` with new values for the flags of `replaced`, where the last of each stands; a flag not there comes last.

    Pure. Everything else stays word for word.
    """
    groups: list[tuple[str | None, list[str]]] = []
    position = 0
    for item in read(argv, snapshot):
        joined = argv[position] != item.spelled
        count = 1 + len(item.values) - joined
        groups.append((item.flag, list(argv[position:position + count])))
        position += count
    last = {flag: number for number, (flag, _) in enumerate(groups)}
    for flag, values in replaced.items():
        words = [f"{flag}={values[0]}"] if values[0].startswith("-") else [flag, *values]
        if flag in last:
            groups[last[flag]] = (flag, words)
        else:
            groups.append((flag, words))
    return tuple(word for _, words in groups for word in words)


class Given:
    """The options among some server arguments, the last of each winning, as argparse has it."""

    def __init__(self, argv: list[str], snapshot: Snapshot):
        self.items = read(argv, snapshot)
        self._last = {item.flag: item for item in self.items if item.flag}

    def __contains__(self, flag: str) -> bool:
        return flag in self._last

    def value(self, flag: str) -> str | None:
        """The first value of `flag`, None where it is unset or empty."""
        item = self._last.get(flag)
        return (item.values[0] or None) if item and item.values else None

    def values(self, flag: str) -> tuple[str, ...]:
        """Every value of `flag`, none where it is unset."""
        return self._last[flag].values if flag in self._last else ()

    def on(self, flag: str) -> bool:
        """Whether the switch `flag` is given, and not in its `--no-` form."""
        return flag in self._last and self._last[flag].on

    def count(self, flag: str) -> int:
        """A size of the parallel layout: 1 where it is unset, or nothing the server would accept."""
        try:
            return max(1, int(self.value(flag) or 1))
        except ValueError:
            return 1


def refused(items: Iterable[Item]) -> list[str]:
    """One line for every option among `items` that a worker cannot have."""
    return [f"{item.spelled} cannot be set: {REFUSED[item.flag]}" for item in items if item.flag in REFUSED]


__all__ = ["ALIASES", "NOT_READ", "REFUSED", "Given", "Item", "Notice", "Problem", "Snapshot", "argv_for", "boolean",
           "is_secret", "read", "refused", "rewritten", "surely_secret", "variable", "variables"]
