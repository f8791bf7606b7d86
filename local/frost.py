"""A worker frozen as RunPod's FlashBoot freezes one: every process of it at once, for as long as one likes."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator

from server.guard import descendants


def _signal(pids: list[int], number: int) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


def freeze(pid: int) -> list[int]:
    """Stop the process and all that descend from it, guard and engine among them. Returns what was stopped."""
    stopped: list[int] = []
    while fresh := [one for one in (pid, *descendants(pid)) if one not in stopped]:  # some may have forked meanwhile
        _signal(fresh, signal.SIGSTOP)
        stopped += fresh
    return stopped


def thaw(stopped: list[int]) -> None:
    """Let them go on, the children first."""
    _signal(stopped[::-1], signal.SIGCONT)


@contextlib.contextmanager
def frozen(pid: int) -> Iterator[list[int]]:
    """Frozen meanwhile."""
    stopped = freeze(pid)
    try:
        yield stopped
    finally:
        thaw(stopped)
