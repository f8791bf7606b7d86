"""The flags of the SGLang that is on this machine: which version that is, and the snapshot that belongs to it.

Nothing is started or imported: Python keeps the version of what is installed in a folder's name.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from settings.flags.values import Notice, Snapshot

# builder/flags.json is the default image's, in an image that image's own; builder/flags-<version>.json are others'.
FOLDER = Path(__file__).resolve().parent.parent / "builder"
DEFAULT = FOLDER / "flags.json"


def at_hand(environ: Mapping[str, str], folder: Path = FOLDER) -> tuple[Snapshot, list[Notice]]:
    """(the flags of the SGLang that `environ` would start, a line where they are not those of flags.json)."""
    snapshot = read(folder / DEFAULT.name)
    version = installed(launch_command(environ), environ)
    # 0.5.23+cu130 is 0.5.23, built for something.
    if version is None or _public(version) == _public(snapshot["sglang"]):
        return snapshot, []
    own = folder / f"flags-{_public(version)}.json"
    if own.is_file():
        return read(own), [("info", f"settings go by the flags of SGLang {version}, which is installed")]
    return snapshot, [("warn", f"SGLang {version} is installed, and settings are checked against the flags of "
                               f"{snapshot['sglang']}: some may be refused by the server, or wrongly by the worker "
                               "(python -m builder.flag_snapshot, with that SGLang's Python, writes its flags)")]


def _public(version: str) -> str:
    return version.partition("+")[0]


def read(path: Path) -> Snapshot:
    """One snapshot, as builder/flag_snapshot.py describes it."""
    snapshot: Snapshot = json.loads(path.read_text(encoding="utf-8"))
    return snapshot


def launch_command(environ: Mapping[str, str]) -> list[str]:
    """The command that starts the server; this very Python where none is set, or none that can be read."""
    try:
        return shlex.split(environ.get("SGLANG_LAUNCH_COMMAND", "")) or [sys.executable]
    except ValueError:  # settings/worker_settings.py says so
        return [sys.executable]


def installed(command: Sequence[str], environ: Mapping[str, str]) -> str | None:
    """The version of the SGLang that the Python of `command` has; None for another program, or when there is no
    telling."""
    program = shutil.which(command[0], path=environ.get("PATH"))
    if program is None or not os.path.basename(program).startswith("python"):
        return None
    for folders in _places(Path(program), environ):
        found = {path.name.removesuffix(".dist-info").partition("-")[2]
                 for folder in folders for path in folder.glob("sglang-*.dist-info")}
        if found:
            return found.pop() if len(found) == 1 else None
    return None


def _places(program: Path, environ: Mapping[str, str]) -> Iterator[list[Path]]:
    """Folders in which that Python looks for packages, the first first."""
    for folder in filter(None, environ.get("PYTHONPATH", "").split(os.pathsep)):
        yield [Path(folder)]
    prefix = program.parent.parent
    prefixes = [prefix] if (prefix / "pyvenv.cfg").is_file() else [prefix, program.resolve().parent.parent]
    for prefix in prefixes:
        yield [folder for pattern in ("lib/python3*/site-packages", "local/lib/python3*/dist-packages",
                                      "lib/python3*/dist-packages") for folder in prefix.glob(pattern)]
