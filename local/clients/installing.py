"""The clients' own packages, pinned, in the cache folder: one environment of Python's, one folder of Node's."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from local import environments
from local.clients.catalogue import NODE, Client

HERE = Path(__file__).resolve().parent
PYTHON_FILES = (HERE / "requirements.txt", HERE / "constraints.txt")
NODE_FILES = (HERE / "package.json", HERE / "package-lock.json")
PROGRAMS = HERE / "programs"


def python(progress: environments.Progress = print) -> Path:
    """The Python that has the clients; installed when missing. SetupError on failure."""
    requirements, constraints = map(str, PYTHON_FILES)
    return environments.environment("clients", PYTHON_FILES, progress, [
        ("the clients for Python", ["-r", requirements, "-c", constraints])])


def node(progress: environments.Progress = print) -> Path | None:
    """The folder that has the clients for Node, and the programs beside them, where Node looks for packages; None
    without Node. Takes 0.7 GB, most of it the two agents. SetupError on failure."""
    npm = shutil.which("npm")
    if not npm or not shutil.which("node"):
        return None
    folder = environments.cache_root() / f"clients-node-{environments.key_of(NODE_FILES)}"
    with environments.once(folder, progress) as missing:
        if missing:
            folder.mkdir()
            for file in NODE_FILES:
                shutil.copy(file, folder)
            # No package's own script is run: the agents' programs lie in packages of their own.
            environments.run_step("installing the clients for Node (0.7 GB)", [
                npm, "ci", "--prefix", str(folder), "--ignore-scripts", "--no-audit", "--no-fund"],
                folder.with_suffix(".log"), progress)
    for program in PROGRAMS.glob("*.mjs"):
        shutil.copy(program, folder)
    return folder


def versions(clients: Sequence[Client]) -> dict[str, str]:
    """{title: version} as they are pinned; curl's own where it is."""
    pinned = dict(line.split("==") for line in PYTHON_FILES[0].read_text().splitlines() if "==" in line)
    packages = json.loads(NODE_FILES[0].read_text())["dependencies"]
    found = {client.title: (packages if client.at == NODE else pinned).get(client.package, "") for client in clients}
    if "curl" in found and shutil.which("curl"):
        found["curl"] = subprocess.run(["curl", "--version"], capture_output=True, text=True).stdout.split()[1]
    return found
