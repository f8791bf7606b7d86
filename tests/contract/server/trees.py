"""Engines of tiny programs, and what is left of them: shared by the tests of this folder."""

import json
import os
import select
import sys
import threading
import time
from pathlib import Path

from server.states import FINAL

CHILDREN = str(Path(__file__).parents[1] / "children.py")
PATIENCE = 30  # seconds until an event that must come counts as lost
FAMILY = ["plain", "stubborn", "respawner"]
RUNAWAYS = ["session", "daemon"]


def program(name, **options) -> list[str]:
    return [sys.executable, "-S", CHILDREN, name, json.dumps(options)]


def script(source: str) -> list[str]:
    return [sys.executable, "-S", "-c", source]


def members(mark: str) -> list[int]:
    """Living processes (no zombies) whose environment holds `mark`, whatever became of their parents."""
    found = []
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            if mark.encode() in Path(f"/proc/{name}/environ").read_bytes():
                found.append(int(name))
        except OSError:
            continue
    return found


def await_gone(mark: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while pids := members(mark):
        for pid in pids:
            try:
                fd = os.pidfd_open(pid)
            except ProcessLookupError:
                continue
            try:
                ended, _, _ = select.select([fd], [], [], max(0.0, deadline - time.monotonic()))
            finally:
                os.close(fd)
            assert ended, f"process {pid} of {pids} is an orphan"


class Output:
    """An `on_line` that tests can wait on."""

    def __init__(self):
        self.lines = []
        self._more = threading.Condition()

    def __call__(self, line):
        with self._more:
            self.lines.append(line)
            self._more.notify_all()

    def wait_for(self, text: str) -> str:
        """The first line that holds `text`, as soon as there is one."""
        with self._more:
            assert self._more.wait_for(lambda: any(text in line for line in self.lines), PATIENCE), self.lines
            return next(line for line in self.lines if text in line)

    def family(self) -> tuple[int, int]:
        """Process ids of the server and its guard, once the server's family is complete."""
        words = self.wait_for("tree complete").replace(",", "").split()
        return int(words[3]), int(words[5])


def requests(output) -> list[list[str]]:
    return [line.split(maxsplit=2)[1:] for line in output.lines if line.startswith("request")]


def ended(engine) -> bool:
    """Wait until the engine has ended for good."""
    with engine._supervisor._changed:
        return engine._supervisor._changed.wait_for(lambda: engine.state in FINAL, PATIENCE)


def report(engine, headline="The end") -> str:
    return engine._report(headline, engine._supervisor.tree)


def settle() -> None:
    """Until the threads that watch ended servers are done."""
    for thread in threading.enumerate():
        if thread.name in ("engine-watch", "engine-owner"):
            thread.join(PATIENCE)
            assert not thread.is_alive()
