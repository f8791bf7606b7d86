"""The flags of an SGLang that is not installed: its wheel is downloaded, and read by the CPU engine's Python. I/O.

Nothing is installed: the wheel's own sources stand before those of the engine's environment (local/environments.py),
whose other packages serve it as well as they can. Where a new SGLang needs a package that is not there, the error says
so, and the environment comes first (docs/upgrading.md).
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
NEWEST = "newest"


class FetchError(Exception):
    """It could not be had or not be read; the message has the end of what the program said."""


def fetched(version: str) -> dict[str, Any]:
    """The snapshot of that SGLang, or of the newest that pip finds for `NEWEST`. Takes the download and some 10 s."""
    from local import environments

    try:
        # Standard output is the report's own: the workflow makes an issue of it.
        python = str(environments.engine_python(lambda line: print(line, file=sys.stderr, flush=True)))
    except environments.SetupError as error:
        raise FetchError(str(error)) from error
    with tempfile.TemporaryDirectory() as folder:
        wanted = "sglang" if version == NEWEST else f"sglang=={version}"
        _run([python, "-m", "pip", "download", "--disable-pip-version-check", "--no-input", "--no-deps", "--quiet",
              "--dest", folder, wanted], dict(os.environ))
        (wheel,) = Path(folder).glob("sglang-*.whl")
        sources, out = Path(folder) / "sources", Path(folder) / "flags.json"
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(sources)
        environ = environments.engine_environ(os.environ)
        path = os.pathsep.join([str(sources), str(ROOT), environ["PYTHONPATH"]])
        _run([python, "-W", "ignore", "-m", "builder.flag_snapshot", "--out", str(out)],
             {**environ, "PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1"})
        snapshot: dict[str, Any] = json.loads(out.read_text(encoding="utf-8"))
        return snapshot


def _run(command: list[str], environ: dict[str, str]) -> None:
    done = subprocess.run(command, env=environ, cwd=ROOT, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    if done.returncode:
        end = "\n".join((done.stdout + done.stderr).strip().splitlines()[-15:])
        raise FetchError(f"{' '.join(command)} ended with status {done.returncode}:\n{end}")
