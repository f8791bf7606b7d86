"""Whether SGLang has bytecode when the server starts: without, its modules are compiled in every new container.

Asked of the server's own Python, which knows where SGLang lies (in place, as the official images have it, or among the
packages) and where its bytecode would be (PYTHONPYCACHEPREFIX). Nothing of SGLang is imported.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping, Sequence
from typing import NamedTuple

# A few hundred modules of those that every start imports; all would be thousands of files to look for.
FOLDERS = ("", "srt", "srt/entrypoints", "srt/managers", "srt/model_executor", "srt/layers", "srt/utils")
# Importing a submodule's spec would import its parents, so the folders are walked.
_PROGRAM = f"""
import importlib.util, json, os
spec, found, compiled = importlib.util.find_spec("sglang"), 0, 0
for root in (spec.submodule_search_locations or []) if spec else []:
    for folder in {FOLDERS!r}:
        try:
            names = os.listdir(os.path.join(root, folder))
        except OSError:
            continue
        for name in names:
            if name.endswith(".py"):
                source = os.path.join(root, folder, name)
                found += 1
                try:
                    with open(importlib.util.cache_from_source(source), "rb") as f:
                        head = f.read(16)
                    status = os.stat(source)
                    same = (int.from_bytes(head[8:12], "little") == int(status.st_mtime) & 0xFFFFFFFF
                            and int.from_bytes(head[12:16], "little") == status.st_size & 0xFFFFFFFF)
                    compiled += head[:4] == importlib.util.MAGIC_NUMBER and (bool(head[4] & 1) or same)
                except OSError:
                    pass
print(json.dumps([found, compiled]))
"""
_ENOUGH = 0.5  # of the modules: a server that has just begun compiles while they are counted
_WITHIN = 30.0  # seconds


class Bytecode(NamedTuple):
    """Modules of SGLang that were looked at, and how many of them have bytecode that is up to date."""

    modules: int
    compiled: int

    @property
    def missing(self) -> bool:
        return self.compiled < _ENOUGH * self.modules


def look(launch_command: Sequence[str], environ: Mapping[str, str]) -> Bytecode | None:
    """What the server's Python says; None where the command is no Python, or has no SGLang."""
    if not os.path.basename(launch_command[0]).startswith("python"):
        return None
    try:
        told = subprocess.run([launch_command[0], "-c", _PROGRAM], env=dict(environ), capture_output=True,
                              timeout=_WITHIN, check=True, stdin=subprocess.DEVNULL)
        modules, compiled = json.loads(told.stdout)
    except (OSError, subprocess.SubprocessError, ValueError):
        return None
    return Bytecode(modules, compiled) if modules else None


def sentence(found: Bytecode) -> str:
    """What to say of a start without."""
    return (f"SGLang has no bytecode here ({found.compiled} of {found.modules} modules looked at have some): every new "
            "container compiles it, which takes seconds of its start. `python3 -m builder.compile_bytecode` while the "
            "image is built spares them (docs/cold-start.md)")
