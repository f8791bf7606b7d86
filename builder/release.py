"""The worker's version and its changelog: one place for the first, and what a release needs of both.

    python -m builder.release                  the version
    python -m builder.release 1.1.0            writes it wherever it stands, and dates what the changelog has unreleased
    python -m builder.release --check [TAG]    writes nothing; status 1 where something disagrees, or TAG names another
                                               version or one that CHANGELOG.md has no date for
    python -m builder.release --notes          what CHANGELOG.md says of the version, for the release's own page

The version stands in utils.py. Two files cannot read it there: the Hub builds the Dockerfile without arguments, and
docker-bake.hcl reads no other file. docs/releasing.md has the steps.
"""

from __future__ import annotations

import argparse
import datetime
import re
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
SOURCE = ("utils.py", re.compile(r'^VERSION = "([^"]+)"$', re.MULTILINE))
COPIES = (("Dockerfile", re.compile(r"^ARG VERSION=(\S+)$", re.MULTILINE)),
          ("docker-bake.hcl", re.compile(r'^variable "VERSION" \{\n  default = "([^"]*)"$', re.MULTILINE)))
CHANGELOG = "CHANGELOG.md"
VERSION = re.compile(r"\d+\.\d+\.\d+(-(alpha|beta|rc)\.\d+)?")
_PENDING = "## [Unreleased]"
_SECTION = re.compile(r"^## \[([^\]]+)\](?: - (\d{4}-\d\d-\d\d))?$", re.MULTILINE)


def read(root: Path, name: str, pattern: re.Pattern[str]) -> str:
    """The version that file `name` has. SystemExit where it has none, or several."""
    found = pattern.findall((root / name).read_text(encoding="utf-8"))
    if len(found) != 1:
        raise SystemExit(f"{name}: one version was expected, found {len(found)}")
    return str(found[0])


def sections(changelog: str) -> dict[str, tuple[str | None, str]]:
    """{version, or "Unreleased": (its date as YYYY-MM-DD, None without one, what is said of it)}, newest first."""
    heads = list(_SECTION.finditer(changelog))
    ends = [head.start() for head in heads[1:]] + [len(changelog)]
    return {head[1]: (head[2], changelog[head.end():end].strip()) for head, end in zip(heads, ends, strict=True)}


def problems(root: Path, tag: str | None = None) -> list[str]:
    """What keeps this checkout from being released, as `tag` where one is given; a line each."""
    version = read(root, *SOURCE)
    found = [f"{name} has version {other}, {SOURCE[0]} has {version}" for name, pattern in COPIES
             if (other := read(root, name, pattern)) != version]
    if not VERSION.fullmatch(version):
        found.append(f"{version} is no version such as 1.2.3 or 1.2.3-rc.1")
    listed = sections((root / CHANGELOG).read_text(encoding="utf-8"))
    if next(iter(listed), None) != "Unreleased":
        found.append(f"{CHANGELOG} does not begin with a section {_PENDING}")
    found += [f"{CHANGELOG}: {name} has no date" for name, (date, _) in listed.items()
              if not date and name != "Unreleased"]
    if tag is not None:
        if tag != f"v{version}":
            found.append(f"the tag {tag} is not v{version}")
        if not listed.get(version, (None, ""))[0]:
            found.append(f"{CHANGELOG} has no dated section for {version}")
    return found


def written(root: Path, version: str, date: str) -> None:
    """`version` wherever it stands; what is unreleased in the changelog becomes its section."""
    if not VERSION.fullmatch(version):
        raise SystemExit(f"{version} is no version such as 1.2.3 or 1.2.3-rc.1")
    path = root / CHANGELOG
    text = path.read_text(encoding="utf-8")
    listed = sections(text)
    if version in listed:
        raise SystemExit(f"{CHANGELOG} has a section for {version} already")
    if not listed.get("Unreleased", (None, ""))[1]:
        raise SystemExit(f"{CHANGELOG} has nothing under {_PENDING}")
    for name, pattern in (SOURCE, *COPIES):
        read(root, name, pattern)
    for name, pattern in (SOURCE, *COPIES):
        text_there = (root / name).read_text(encoding="utf-8")
        (root / name).write_text(pattern.sub(lambda match: match[0].replace(match[1], version), text_there),
                                 encoding="utf-8")
    path.write_text(text.replace(_PENDING, f"{_PENDING}\n\n## [{version}] - {date}", 1), encoding="utf-8")


def main(arguments: list[str] | None = None, root: Path = ROOT) -> int:
    options = argparse.ArgumentParser(prog="python -m builder.release", description=__doc__,
                                      formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("version", nargs="?", metavar="VERSION", help="write this one; with --check a tag, v1.2.3")
    options.add_argument("--check", action="store_true", help="write nothing; status 1 where something disagrees")
    options.add_argument("--notes", action="store_true", help="what the changelog says of the version")
    given = options.parse_args(arguments)
    if given.check:
        found = problems(root, given.version)
        print("\n".join(found), end="\n" if found else "", file=sys.stderr)
        return 1 if found else 0
    if given.notes:
        version = read(root, *SOURCE)
        said = sections((root / CHANGELOG).read_text(encoding="utf-8")).get(version)
        if said is None:
            raise SystemExit(f"{CHANGELOG} has no section for {version}")
        print(said[1])
        return 0
    if given.version:
        written(root, given.version, datetime.datetime.now(datetime.UTC).date().isoformat())
    print(read(root, *SOURCE))
    return 0


if __name__ == "__main__":
    sys.exit(main())
