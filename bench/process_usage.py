"""What /proc says a process uses."""

from __future__ import annotations

import asyncio
import contextlib
import os

_TICK = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")


def cpu_seconds(*pids: int) -> float:
    """User and system time of these processes themselves, all their threads, without their children; 0 when gone."""
    total = 0
    for pid in pids:
        with contextlib.suppress(OSError), open(f"/proc/{pid}/stat", "rb") as f:
            # The command's name is in parentheses and may itself contain blanks and parentheses.
            fields = f.read().rpartition(b")")[2].split()
            total += int(fields[11]) + int(fields[12])
    return total / _TICK


def resident_bytes(pid: int) -> int:
    """Resident memory; 0 when the process is gone."""
    with contextlib.suppress(OSError), open(f"/proc/{pid}/statm", "rb") as f:
        return int(f.read().split()[1]) * _PAGE
    return 0


class Peak:
    """`async with Peak(pid) as peak:` then `peak.bytes`, the largest resident memory that was seen meanwhile."""

    def __init__(self, pid: int, every: float = 0.1):
        self.pid, self.every, self.bytes = pid, every, 0

    async def __aenter__(self) -> Peak:
        self._task = asyncio.create_task(self._watch())
        return self

    async def __aexit__(self, *_) -> None:
        self._task.cancel()
        self._look()

    def _look(self) -> None:
        self.bytes = max(self.bytes, resident_bytes(self.pid))

    async def _watch(self) -> None:
        while True:
            self._look()
            await asyncio.sleep(self.every)
