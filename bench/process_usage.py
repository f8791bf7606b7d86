"""What /proc says a process uses."""

from __future__ import annotations

import asyncio
import contextlib
import os

from server.guard import descendants

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


def resident_bytes(*pids: int) -> int:
    """Resident memory of these processes, shared pages counted in each; 0 when gone."""
    total = 0
    for pid in pids:
        with contextlib.suppress(OSError), open(f"/proc/{pid}/statm", "rb") as f:
            total += int(f.read().split()[1]) * _PAGE
    return total


def with_fronts(pid: int) -> list[int]:
    """A worker's own process, and those that carry its HTTP requests (HTTP_PROCESSES)."""
    found = [pid]
    for child in descendants(pid):
        with contextlib.suppress(OSError), open(f"/proc/{child}/cmdline", "rb") as f:
            if b"front.http.processes" in f.read():
                found.append(child)
    return found


_IDLE = ("multiprocessing.resource_tracker", "/guard.py")


def by_role(pids: list[int]) -> dict[str, float]:
    """CPU seconds of each process of an engine by what it does, as far as its command line says it.

    SGLang names most of its processes (setproctitle: "sglang::scheduler_DP0", "sglang::detokenizer", …). Those that
    only wait, and what is gone, are left out; the second of one name is "… 2".
    """
    found: dict[str, float] = {}
    for pid in pids:
        with contextlib.suppress(OSError), open(f"/proc/{pid}/cmdline", "rb") as f:
            words = f.read().decode(errors="replace").replace("\0", " ").strip()
            if not words or any(word in words for word in _IDLE):
                continue
            role = words.split()[0].removeprefix("sglang::").split(":")[0] if words.startswith("sglang::") else (
                "spawned" if "spawn_main" in words or "--multiprocessing-fork" in words else "server")
            same = sum(name.split(" ")[0] == role for name in found)
            found[f"{role} {same + 1}" if same else role] = cpu_seconds(pid)
    return found


def connections(pid: int, port: int) -> set[int]:
    """The ports of the clients whose connections to a server's `port` on IPv4 a process has accepted."""
    own, found = set(), set()
    with contextlib.suppress(OSError):
        for name in os.listdir(f"/proc/{pid}/fd"):
            with contextlib.suppress(OSError):
                own.add(os.readlink(f"/proc/{pid}/fd/{name}"))
    with open("/proc/net/tcp") as f:
        for line in f.read().splitlines()[1:]:
            _, local, remote, state, *_, inode = line.split()[:10]
            if f"socket:[{inode}]" in own and int(local.split(":")[1], 16) == port and state == "01":
                found.add(int(remote.split(":")[1], 16))
    return found


class Peak:
    """`async with Peak(*pids) as peak:` then `peak.bytes`, the largest resident memory that was seen meanwhile."""

    def __init__(self, *pids: int, every: float = 0.1):
        self.pids, self.every, self.bytes = pids, every, 0

    async def __aenter__(self) -> Peak:
        self._task = asyncio.create_task(self._watch())
        return self

    async def __aexit__(self, *_) -> None:
        self._task.cancel()
        self._look()

    def _look(self) -> None:
        self.bytes = max(self.bytes, resident_bytes(*self.pids))

    async def _watch(self) -> None:
        while True:
            self._look()
            await asyncio.sleep(self.every)
