"""Reads the command line that the installed SGLang accepts into builder/flags.json.

    python -m builder.flag_snapshot           writes the snapshot
    python -m builder.flag_snapshot --check   compares only; exit status 1 and a summary on drift
    python -m builder.flag_snapshot --take    writes it too, and says how the committed one of that version differs;
                                              how an image gets the flags of its own SGLang

Run it with a Python that has SGLang. The worker reads the snapshot and never imports SGLang, which costs
seconds and takes GPU memory. The source is `ServerArgs.add_cli_args` (sglang/srt/server_args.py) itself, so
that a flag is whatever the server's own parser says it is.

No GPU is needed: SGLang fixes the choices and defaults in source, and decides by hardware only after
parsing. Two things outside the source may add choices: out-of-tree plugins, which are not loaded here, and the
variable SGLANG_KV_CANARY_ENABLE_TOKEN_ORACLE, which is removed. So one SGLang gives one snapshot everywhere.

The file: {"sglang": version, "flags": {canonical name: flag}}, and a flag has
    names       every spelling, the canonical one first; `--no-…` spellings are left out
    kind        "value", "list" (several values), "switch", "paired" (`--x` / `--no-x`) or "removed"
    type        "str", "int", "float", "size" (16384, 16k, 16Ki), "json" or "json_list"
    nargs       argparse's, where it is not the plain one ("+", "*", "?", or a number)
    choices     the values allowed, or absent
    default     the parser's own
    deprecated  what SGLang says about it, or absent
    builtins    for --chat-template alone: the names that are no file, which argparse does not check
    help        the first sentence of the help text, without its deprecation
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import re
import sys
from importlib import metadata
from pathlib import Path

from builder.flag_drift import drift, dumps

SNAPSHOT = Path(__file__).with_name("flags.json")
_HELP_LIMIT = 200
_DEPRECATION = re.compile(r"^\(deprecated\b[^)]*\)\s*|^deprecated\b.*", re.IGNORECASE | re.DOTALL)
_TYPES = {"int": "int", "float": "float", "human_readable_int": "size", "loads": "json",
          "parse_cuda_graph_config_arg": "json", "json_list_type": "json_list"}


def sentence(text: str | None) -> str:
    """The first sentence of `text` on one line, at most 200 characters; "" for a suppressed help."""
    if not text or text == argparse.SUPPRESS:
        return ""
    first = re.split(r"\n\s*\n", _DEPRECATION.sub("", text.strip()))[0]
    # "e.g." and the like end no sentence, hence a capital letter, a quote or a dash must follow the stop.
    line = re.split(r"(?<=[.!?])(?<!e\.g\.)(?<!i\.e\.)\s+(?=[A-Z(\"'`\-])", " ".join(first.split()))[0]
    return line if len(line) <= _HELP_LIMIT else line[:_HELP_LIMIT].rsplit(" ", 1)[0] + " …"


def _choices(values) -> list:
    if isinstance(values, (set, frozenset)):
        return sorted(values, key=str)
    return list(values)


def _kind(action: argparse.Action) -> str:
    if getattr(action, "error_message", None):
        return "removed"
    if isinstance(action, argparse.BooleanOptionalAction):
        return "paired"
    if action.nargs == 0:
        return "switch"
    return "list" if action.nargs in ("+", "*") or isinstance(action.nargs, int) else "value"


def _deprecated(action: argparse.Action) -> str | None:
    note = _DEPRECATION.match(action.help or "")
    if getattr(action, "error_message", None):
        return " ".join(action.error_message.split())
    if note:
        return " ".join(note.group(0).strip().strip("()").split())
    if type(action).__name__.startswith("Deprecated"):
        new = getattr(action, "new_flag", None)
        return f"Deprecated. Use {new} instead." if new else "Deprecated."
    return None


def describe(action: argparse.Action) -> dict:
    """One flag of the snapshot, from one action of SGLang's parser."""
    long_names = [name for name in action.option_strings if name.startswith("--")]
    paired = isinstance(action, argparse.BooleanOptionalAction)
    kind = _kind(action)
    flag: dict = {"names": [n for n in long_names if not (paired and n.startswith("--no-"))], "kind": kind}
    if kind in ("value", "list"):
        name = getattr(action.type, "__name__", "str")
        # A text flag with an empty object as its default is parsed as JSON later, by its reader.
        flag["type"] = "json" if action.default == "{}" else _TYPES.get(name, "str")
        if action.nargs is not None:
            flag["nargs"] = action.nargs
        if action.choices is not None:
            flag["choices"] = _choices(action.choices)
    flag["default"] = action.default
    deprecated = _deprecated(action)
    if deprecated:
        flag["deprecated"] = deprecated
    flag["help"] = sentence(action.help)
    return flag


def snapshot_of(parser: argparse.ArgumentParser, version: str) -> dict:
    """The snapshot of any argparse parser; `--help` is left out."""
    flags = {}
    for action in parser._actions:
        if not isinstance(action, argparse._HelpAction) and any(n.startswith("--") for n in action.option_strings):
            flag = describe(action)
            flags[flag["names"][0]] = flag
    return {"sglang": version, "flags": flags}


def installed() -> dict:
    """The snapshot of the SGLang that this Python has."""
    os.environ.pop("SGLANG_KV_CANARY_ENABLE_TOKEN_ORACLE", None)
    from sglang.srt.server_args import ServerArgs

    parser = argparse.ArgumentParser()
    ServerArgs.add_cli_args(parser)
    snapshot = snapshot_of(parser, metadata.version("sglang"))
    builtins = _chat_templates()
    if builtins:
        snapshot["flags"]["--chat-template"]["builtins"] = builtins
    return snapshot


def _chat_templates() -> list[str]:
    """The names that --chat-template takes beside a path; [] where this SGLang keeps them elsewhere."""
    names: set[str] = set()
    for module, table in (("conversation", "chat_templates"), ("python_chat_template", "PYTHON_CHAT_TEMPLATES")):
        try:
            names |= set(getattr(importlib.import_module(f"sglang.srt.parser.{module}"), table))
        except (ImportError, AttributeError):
            continue
    return sorted(names)


def committed(version: str, path: Path) -> Path:
    """The committed snapshot to compare that version with: its own, or else the default image's at `path`."""
    own = path.with_name(f"flags-{version}.json")
    return own if own.is_file() else path


def main(arguments: list[str] | None = None) -> int:
    options = argparse.ArgumentParser(prog="python -m builder.flag_snapshot", description=__doc__.split("\n")[0])
    way = options.add_mutually_exclusive_group()
    way.add_argument("--check", action="store_true", help="compare with the committed file, write nothing")
    way.add_argument("--take", action="store_true", help="compare with the committed file of that version, and write")
    options.add_argument("--out", type=Path, default=SNAPSHOT, help="the snapshot file (default: %(default)s)")
    chosen = options.parse_args(arguments)
    # Through JSON once, so that tuples and the like compare equal to what the file holds.
    current = json.loads(dumps(installed()))
    if chosen.check or chosen.take:
        file = committed(current["sglang"], chosen.out) if chosen.take else chosen.out
        changes = drift(json.loads(file.read_text(encoding="utf-8")), current)
        for line in changes:
            print(line)
        print(f"{len(changes)} difference(s) between {file.name} and sglang {current['sglang']}")
        if chosen.check:
            return 1 if changes else 0
    chosen.out.write_text(dumps(current), encoding="utf-8")
    print(f"{chosen.out}: {len(current['flags'])} flags of sglang {current['sglang']}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
