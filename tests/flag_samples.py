"""A valid value for every flag of a snapshot, and a parser built from the snapshot alone."""

from __future__ import annotations

import argparse
import json
import re
from pathlib import Path

# What is committed, by SGLang's version.
SNAPSHOTS = {snapshot["sglang"]: snapshot for snapshot in (
    json.loads(path.read_text(encoding="utf-8"))
    for path in sorted((Path(__file__).parent.parent / "builder").glob("flags*.json")))}

_BY_TYPE = {"str": "some/value-1", "int": "7", "float": "0.25", "size": "16Ki", "json": '{"a": [1, "b c"]}',
            "json_list": '[{"a": 1}]'}
# Where the parser itself wants more than the type.
_SPECIAL = {"--cuda-graph-config": '{"decode": {"backend": "full"}}', "--log-level": "warning",
            "--log-level-http": "error", "--chat-template": "chatml",
            "--lora-paths": '\'{"lora_name": "a", "lora_path": "/x y"}\' b=/adapters/b'}


def sample(flag: str, entry: dict) -> str:
    """The text that a user would put into the variable."""
    if flag in _SPECIAL:
        return _SPECIAL[flag]
    if entry["kind"] in ("switch", "paired"):
        return "yes"
    values = [str(choice) for choice in entry.get("choices", [])] or [_BY_TYPE[entry["type"]]]
    return " ".join(values[-2:]) if entry["kind"] == "list" else values[-1]


def _size(text: str) -> int:
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([kMGT])|(\d+)([KMGT])i", text)
    if not found:
        return int(text)
    number, si, whole, iec = found.groups()
    return int(float(number) * 1000 ** ("kMGT".index(si) + 1)) if si else int(whole) * 1024 ** ("KMGT".index(iec) + 1)


_TYPES = {"str": str, "int": int, "float": float, "size": _size, "json": json.loads, "json_list": json.loads}


class Rejected(Exception):
    pass


class _Parser(argparse.ArgumentParser):
    def error(self, message):
        raise Rejected(message)


def parser(snapshot: dict) -> argparse.ArgumentParser:
    """argparse with the snapshot's flags; raises Rejected instead of exiting. Values are under the flag's name."""
    made = _Parser()
    made.add_argument("--config", dest="--config")
    for flag, entry in snapshot["flags"].items():
        if flag == "--config" or entry["kind"] == "removed":
            continue
        if entry["kind"] in ("switch", "paired"):
            action = "store_true" if entry["kind"] == "switch" else argparse.BooleanOptionalAction
            made.add_argument(*entry["names"], dest=flag, action=action, default=None)
        else:
            optional = {"const": ""} if entry.get("nargs") == "?" else {}
            made.add_argument(*entry["names"], dest=flag, type=_TYPES[entry["type"]], nargs=entry.get("nargs"),
                              choices=entry.get("choices"), **optional)
    return made
