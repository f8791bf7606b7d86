"""How much memory this container may still use, and how many cores, as its cgroups and the machine say.

Reads files of the system only.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

# (limits, usage, what the kernel gives back first), of cgroup v2 and v1:
# Documentation/admin-guide/cgroup-v2.rst and cgroup-v1/memory.rst.
_Kind = tuple[tuple[str, ...], str, str]
_V2: _Kind = (("memory.max", "memory.high"), "memory.current", "inactive_file")
_V1: _Kind = (("memory.limit_in_bytes",), "memory.usage_in_bytes", "total_inactive_file")


def left(cgroups: Path = Path("/sys/fs/cgroup"), proc: Path = Path("/proc")) -> int | None:
    """Bytes that may still be used before something has to give way; None where the system does not say.

    Page cache counts as used, as the kernel counts it, except what is on its inactive list: that goes first, and
    without harm. The least of all groups that this process is in, and of the machine, counts.
    """
    found = [*_of_groups(cgroups, proc), *_of_the_machine(proc)]
    return max(0, min(found)) if found else None


def cores(cgroups: Path = Path("/sys/fs/cgroup"), proc: Path = Path("/proc")) -> int:
    """Cores that this container may keep busy: those it may run on, or fewer where it has a quota of their time.

    (cgroup-v2.rst, cpu.max; Documentation/scheduler/sched-bwc.rst.)
    """
    found = float(len(os.sched_getaffinity(0)))
    for old, folder in _groups(cgroups, proc, "cpu"):
        names = ("cpu.cfs_quota_us", "cpu.cfs_period_us") if old else ("cpu.max",)
        words = [word for name in names for word in _words(folder / name)]
        if len(words) == 2 and all(word.isdecimal() for word in words) and int(words[1]):
            found = min(found, int(words[0]) / int(words[1]))
    return max(1, round(found))


def _of_groups(cgroups: Path, proc: Path) -> Iterator[int]:
    for old, folder in _groups(cgroups, proc, "memory"):
        limits, usage, idle = _V1 if old else _V2
        used, given_back = _number(folder / usage), _stat(folder / "memory.stat", idle)
        for limit in filter(None, (_number(folder / name) for name in limits)):
            if used is not None:
                yield limit - used + given_back


def _groups(cgroups: Path, proc: Path, controller: str) -> Iterator[tuple[bool, Path]]:
    """Of the groups that this process is in: whether it is one of cgroup v1, and its folder."""
    try:
        lines = (proc / "self/cgroup").read_text(encoding="utf-8").splitlines()
    except OSError:
        return
    for line in lines:
        number, controllers, path = (line.split(":", 2) + ["", ""])[:3]
        if number == "0" and not controllers:
            hierarchy = ""
        elif controller in controllers.split(","):
            hierarchy = controller
        else:
            continue
        # A container sees its own group as the root of the hierarchy, whatever path it is told (without a namespace of
        # its own for cgroups, v1): then the folders of that path are missing.
        names = [name for name in path.split("/") if name not in ("", "..")]
        for depth in range(len(names), -1, -1):
            yield bool(hierarchy), cgroups.joinpath(hierarchy, *names[:depth])


def _of_the_machine(proc: Path) -> Iterator[int]:
    kibibytes = _stat(proc / "meminfo", "MemAvailable:")
    if kibibytes:
        yield kibibytes * 1024


def _words(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8").split()
    except (OSError, ValueError):
        return []


def _number(path: Path) -> int | None:
    """What the file says; None for no limit ("max", or v1's largest number) and for no file."""
    try:
        value = int(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return value if value < 2**62 else None


def _stat(path: Path, name: str) -> int:
    try:
        for line in path.read_text(encoding="utf-8").splitlines():
            words = line.split()
            if words and words[0] == name:
                return int(words[1])
    except (OSError, ValueError, IndexError):
        pass
    return 0
