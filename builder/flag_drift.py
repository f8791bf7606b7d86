"""What differs between the flags of two SGLangs, and which of the differences this repository has to do with.

    python -m builder.flag_drift OLD NEW     each a version (0.5.19), `newest`, or a snapshot's file

Of a version that is not committed the wheel is downloaded and read (builder/flag_fetch.py), which needs the CPU
engine's environment (2 GB, made when missing); `--out FILE` keeps NEW's snapshot. One line a difference: `-` a flag
that is gone, `+` a new one, `~` a changed one; behind `used by` the files that name the flag or its variable. Exit
status 1 when there is anything but changed help texts, 2 when a snapshot cannot be had. Run it in the repository: its
files are searched.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from builder import flag_fetch

Snapshot = dict[str, Any]
ROOT = Path(__file__).resolve().parent.parent
DEFAULT = Path(__file__).with_name("flags.json")
# Where flags are named on purpose; the snapshots themselves and what is generated from them name all.
_PLACES = ("*.py", "settings/**/*.py", "server/**/*.py", "start/**/*.py", "job/**/*.py", "answer/**/*.py",
           "front/**/*.py", "meter/**/*.py", "local/**/*.py", "bench/**/*.py", "builder/*.toml", "docs/**/*.md", "*.md",
           "examples/**/*", "docker-compose.yml", ".runpod/tests.json")
_GENERATED = re.compile(r"<!-- (\w+):begin -->.*?<!-- \1:end -->", re.DOTALL)
_WORD = re.compile(r"[\w-]+")


class Change(NamedTuple):
    """One difference. `what`: None for a flag that is gone or new, else the field of the snapshot that changed."""

    sign: str
    flag: str
    names: tuple[str, ...]
    what: str | None = None
    before: Any = None
    after: Any = None

    def __str__(self) -> str:
        if self.what is None:
            return f"{self.sign} {self.flag} is {'gone' if self.sign == '-' else 'new'}"
        both = isinstance(self.before, list) and isinstance(self.after, list)
        if both and (moved := _moved(self.before, self.after)):
            return f"~ {self.flag} {self.what}: {moved}"
        return f"~ {self.flag} {self.what}: {json.dumps(self.before)} -> {json.dumps(self.after)}"



def _moved(before: list[Any], after: list[Any]) -> str:
    """'+ a, b; - c': what a list has and had; '' where it has the same in another order."""
    new, gone = ([str(x) for x in one if x not in other] for one, other in ((after, before), (before, after)))
    return "; ".join(filter(None, ["+ " + ", ".join(new) if new else "", "- " + ", ".join(gone) if gone else ""]))


def changes(old: Snapshot, new: Snapshot) -> list[Change]:
    """Every difference of two snapshots: what is gone, what is new, what changed, each by name."""
    before, after = old["flags"], new["flags"]
    found = [Change("-", name, tuple(before[name]["names"])) for name in sorted(before.keys() - after.keys())]
    found += [Change("+", name, tuple(after[name]["names"])) for name in sorted(after.keys() - before.keys())]
    for name in sorted(before.keys() & after.keys()):
        fields = sorted(before[name].keys() | after[name].keys())
        names = tuple(dict.fromkeys((*before[name]["names"], *after[name]["names"])))
        found += [Change("~", name, names, field, before[name].get(field), after[name].get(field))
                  for field in fields if before[name].get(field) != after[name].get(field)]
    return found


def dumps(snapshot: Snapshot) -> str:
    """A snapshot as its file has it: one line a flag, sorted by name, so that a diff shows what changed."""
    lines = [f"    {json.dumps(name)}: {json.dumps(flag, ensure_ascii=False)}"
             for name, flag in sorted(snapshot["flags"].items())]
    return f'{{\n  "sglang": {json.dumps(snapshot["sglang"])},\n  "flags": {{\n' + ",\n".join(lines) + "\n  }\n}\n"


def drift(old: Snapshot, new: Snapshot) -> list[str]:
    """The same, one line each; empty when the two snapshots are the same."""
    head = [f"sglang {old['sglang']} -> {new['sglang']}"] if old["sglang"] != new["sglang"] else []
    return head + [str(change) for change in changes(old, new)]


def texts(root: Path = ROOT) -> dict[str, str]:
    """{file: its text, less what is generated} of all files that may name a flag on purpose."""
    found = {}
    for place in _PLACES:
        for path in root.glob(place):
            if path.is_file() and path.suffix in (".py", ".md", ".toml", ".json", ".yml", ".yaml", ".sh"):
                found[str(path.relative_to(root))] = _GENERATED.sub("", path.read_text(encoding="utf-8"))
    return dict(sorted(found.items()))


def words(files: dict[str, str]) -> dict[str, set[str]]:
    """{file: the words of its text}, a flag's spelling being one word."""
    return {name: set(_WORD.findall(text)) for name, text in files.items()}


def users(names: Iterable[str], named: dict[str, set[str]]) -> list[str]:
    """The files whose words (`words`) are one of a flag's spellings, or its variable."""
    forms = {form for name in names for form in (name, name.lstrip("-").replace("-", "_").upper())}
    return [name for name, found in named.items() if forms & found]


def report(old: Snapshot, new: Snapshot, files: dict[str, str]) -> tuple[list[str], bool]:
    """(lines, whether there is anything to look at)."""
    found = changes(old, new)
    helps = sum(change.what == "help" for change in found)
    rest = [change for change in found if change.what != "help"]
    lines = [f"sglang {old['sglang']} -> {new['sglang']}: {len(old['flags'])} -> {len(new['flags'])} flags"]
    used, named = 0, words(files)
    for change in rest:
        named_by = users(change.names, named)
        used += bool(named_by)
        lines.append(str(change) + (f"   used by {', '.join(named_by)}" if named_by else ""))
    counts = [f"{sum(change.sign == sign for change in rest)} {word}"
              for sign, word in (("-", "gone"), ("+", "new"), ("~", "changed"))]
    return [*lines, f"{', '.join(counts)}; {used} of them used here; {helps} other help texts"], bool(rest)


def found(name: str) -> Snapshot:
    """The snapshot that `name`, a version or a path, means. Raises FileNotFoundError or FetchError."""
    committed: list[Snapshot] = [json.loads(path.read_text(encoding="utf-8"))
                                 for path in (DEFAULT, *sorted(DEFAULT.parent.glob("flags-*.json")))]
    for snapshot in committed:
        if snapshot["sglang"] == name:
            return snapshot
    if name == flag_fetch.NEWEST or re.fullmatch(r"\d+\.\d+[\w.]*", name):
        return flag_fetch.fetched(name)
    read: Snapshot = json.loads(Path(name).read_text(encoding="utf-8"))
    return read


def main(arguments: list[str] | None = None) -> int:
    options = argparse.ArgumentParser(prog="python -m builder.flag_drift", description=__doc__.split("\n")[0])
    options.add_argument("old", help="a version, `newest`, or a snapshot's file")
    options.add_argument("new", help="the same")
    options.add_argument("--out", type=Path, help="a file for NEW's snapshot")
    chosen = options.parse_args(arguments)
    try:
        old, new = found(chosen.old), found(chosen.new)
    except FileNotFoundError as error:
        print(f"{error.filename} is neither a version nor a file", file=sys.stderr)
        return 2
    except flag_fetch.FetchError as error:
        print(error, file=sys.stderr)
        return 2
    if chosen.out:
        chosen.out.write_text(dumps(new), encoding="utf-8")
    lines, differ = report(old, new, texts())
    print("\n".join(lines))
    return 1 if differ else 0


if __name__ == "__main__":
    sys.exit(main())
