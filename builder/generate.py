"""Writes every document that is made from the code: one command after any change of a setting, a preset or a flag.

    python -m builder.generate             writes what is stale
    python -m builder.generate --check     writes nothing; exit status 1 when something is stale

From the flag snapshot (builder/flags.json), the settings' table (settings/worker_settings.py), the words in
builder/form.toml and builder/presets.toml, and the causes of a server's end (server/causes.py) come .runpod/hub.json
whole, and in README.md and docs/ the text between `<!-- NAME:begin -->` and `<!-- NAME:end -->`. What those two say of
settings that nobody knows ends it with status 1, and so does a variable of another worker (builder/other_workers.json)
that would be passed over without a word.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path

from builder import causes_table, config_table, curated, fit_table, hub_manifest, migration, presets
from settings import snapshots

ROOT = Path(__file__).resolve().parent.parent
HUB = Path(".runpod/hub.json")


class MarkersError(Exception):
    """A document lacks the markers of a text that belongs into it."""


def replaced(text: str, name: str, body: str) -> str:
    """`text` with `body` between the markers of `name`. Raises MarkersError without exactly one pair."""
    begin, end = f"<!-- {name}:begin -->", f"<!-- {name}:end -->"
    if (text.count(begin), text.count(end)) != (1, 1) or text.index(begin) > text.index(end):
        raise MarkersError(f"needs {begin} and, behind it, {end}, each once")
    before, _, rest = text.partition(begin)
    return f"{before}{begin}\n{body}\n{end}{rest.partition(end)[2]}"


def documents(root: Path = ROOT) -> Iterator[tuple[Path, str]]:
    """(file below `root`, what has to stand in it). Raises MarkersError, or ValueError for words that are wrong."""
    snapshot, form = snapshots.read(snapshots.DEFAULT), curated.read()
    ready = presets.read()
    manifest = hub_manifest.manifest(form, ready, snapshot)
    wrong = [f"{curated.FORM.name}: {line}" for line in curated.problems(form, snapshot)]
    wrong += [f"{presets.PRESETS.name}: {line}" for line in presets.problems(
        ready, {field["key"] for field in manifest["config"]["env"]}, presets.configs())]
    if wrong:
        raise ValueError("\n".join(wrong))
    yield HUB, json.dumps(manifest, indent=2, ensure_ascii=False) + "\n"
    texts: dict[Path, str] = {}
    for path, name, body in (
            (Path("README.md"), "config", config_table.readme(form, snapshot)),
            (Path("docs/configuration.md"), "config", config_table.configuration(form, snapshot)),
            (Path("docs/presets.md"), "presets", presets.table(ready, form.hub["disk"])),
            (Path("docs/fitting.md"), "fit", fit_table.table(presets.configs())),
            (Path("docs/operations.md"), "causes", causes_table.table()),
            *((Path("docs/migrating.md"), name, body) for name, body in migration.tables(snapshot).items())):
        try:
            texts[path] = replaced(texts.get(path) or (root / path).read_text(encoding="utf-8"), name, body)
        except MarkersError as error:
            raise MarkersError(f"{path} {error}") from None
    yield from texts.items()


def main(arguments: list[str] | None = None, root: Path = ROOT) -> int:
    options = argparse.ArgumentParser(prog="python -m builder.generate", description=__doc__.split("\n")[0])
    options.add_argument("--check", action="store_true", help="write nothing; status 1 when something is stale")
    check = options.parse_args(arguments).check
    try:
        made = dict(documents(root))
    except (MarkersError, ValueError) as error:
        print(error, file=sys.stderr)
        return 1
    stale = [path for path, text in made.items()
             if not (root / path).is_file() or (root / path).read_text(encoding="utf-8") != text]
    for path in stale:
        print(f"{path}: {'stale: run python -m builder.generate' if check else 'written'}")
        if not check:
            (root / path).write_text(made[path], encoding="utf-8")
    return 1 if check and stale else 0


if __name__ == "__main__":
    sys.exit(main())
