"""Writes the table of families and their parsers in docs/tools.md, from what SGLang's own code makes of each.

    python -m bench.parser_table           rewrites the text between the markers
    python -m bench.parser_table --check   writes nothing; exit status 1 when the table is not up to date

The markers are `<!-- parsers:begin -->` and `<!-- parsers:end -->`. SGLang runs in the engine's own environment
(local/environments.py), which is made when it is missing.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

from local import environments
from local.families import FAMILIES, Family

PAGE = Path(__file__).parents[1] / "docs" / "tools.md"
BEGIN, END = "<!-- parsers:begin -->", "<!-- parsers:end -->"


def detected(python: Path) -> dict[str, dict]:
    """What bench/parser_detection.py says, run with the engine's `python`."""
    environ = environments.engine_environ(os.environ)
    environ["PYTHONPATH"] = os.pathsep.join([str(environments.ROOT), environ["PYTHONPATH"]])
    done = subprocess.run([str(python), "-W", "ignore", "-m", "bench.parser_detection"], env=environ, text=True,
                          cwd=environments.ROOT, capture_output=True, timeout=300, check=False)
    if done.returncode:
        raise RuntimeError(f"the detection failed:\n{done.stderr[-2000:]}")
    return json.loads(done.stdout)


def _auto(name: str | None, read: dict[str, bool], writes: str) -> str:
    if name is None:
        return "none" if writes else "none, rightly"
    return f"`{name}`" if read.get(name) else f"**`{name}`, which does not read them**"


def _by_hand(name: str, auto: str | None, read: dict[str, bool], writes: str) -> str:
    if not writes or auto and read.get(auto):
        return ""
    return f"`{name}`" if name else "no parser has its form"


def table(found: dict[str, dict], families: tuple[Family, ...] = FAMILIES) -> list[str]:
    """The lines of the table."""
    lines = ["| Models | tool calls, `auto` | by hand | reasoning, `auto` | by hand |", "|---|---|---|---|---|"]
    for family in families:
        told = found[family.name]
        cells = (family.name, _auto(told["tools"], told["reads"], family.call),
                 _by_hand(family.tools, told["tools"], told["reads"], family.call),
                 _auto(told["reasoning"], told["tells"], family.thought),
                 _by_hand(family.reasoning, told["reasoning"], told["tells"], family.thought))
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def written(page: str, lines: list[str]) -> str:
    """`page` with `lines` between its markers."""
    before, rest = page.split(BEGIN, 1)
    return "\n".join([before + BEGIN, *lines, END + rest.split(END, 1)[1]])


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.parser_table", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true")
    args = parser.parse_args()
    old = PAGE.read_text(encoding="utf-8")
    new = written(old, table(detected(environments.engine_python())))
    if old == new:
        print(f"{PAGE.name} is up to date")
        return 0
    if args.check:
        print(f"{PAGE.name} is not up to date: run python -m bench.parser_table")
        return 1
    PAGE.write_text(new, encoding="utf-8")
    print(f"{PAGE.name}: written")
    return 0


if __name__ == "__main__":
    sys.exit(main())
