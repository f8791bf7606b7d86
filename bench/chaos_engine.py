"""The engine of a running worker, seen from outside: which process it is, when it ends, and how to hurt it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time

from server.guard import descendants

_LOOK_EVERY = 0.05  # seconds, while there is no engine


def _arguments(pid: int) -> list[str]:
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as f:
            return f.read().decode(errors="replace").split("\0")
    except OSError:
        return []


def tree(pid: int) -> list[int]:
    """A process and all its descendants."""
    return [pid, *descendants(pid)]


def gone(pid: int) -> bool:
    """Whether a process has ended; one that nobody has collected yet counts as ended."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as f:
            return f.read().rpartition(b")")[2].split()[0] == b"Z"
    except OSError:
        return True


def find(worker_pid: int) -> tuple[int, int] | None:
    """(guard, server) below a worker, or None while there is none."""
    guard = server = None
    for pid in descendants(worker_pid):
        arguments = _arguments(pid)
        if any(argument.endswith("guard.py") for argument in arguments):
            guard = guard or pid  # a second one is the server between its fork and its exec
        elif "local.scripted_engine" in arguments:
            server = pid
    return (guard, server) if guard and server else None


class EngineWatch:
    """Follows the engines of one worker. ends: when each ended (time.monotonic); hurt: how many ends were planned."""

    def __init__(self, worker_pid: int):
        self.worker_pid = worker_pid
        self.ends: list[float] = []
        self.hurt = 0
        self.guard = self.server = 0
        self._changed = asyncio.Condition()

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            if found := await asyncio.to_thread(find, self.worker_pid):
                with contextlib.suppress(ProcessLookupError):
                    await self._follow(*found)
            await asyncio.sleep(_LOOK_EVERY)

    async def _follow(self, guard: int, server: int) -> None:
        fd = os.pidfd_open(server)
        loop, ended = asyncio.get_running_loop(), asyncio.Event()
        try:
            self.guard, self.server = guard, server
            loop.add_reader(fd, ended.set)
            async with self._changed:
                self._changed.notify_all()
            await ended.wait()
            self.ends.append(time.monotonic())
            self.server = 0
            async with self._changed:
                self._changed.notify_all()
        finally:
            loop.remove_reader(fd)
            os.close(fd)

    async def up(self) -> int:
        """The server's process id, as soon as there is one (it may still be starting)."""
        async with self._changed:
            await self._changed.wait_for(lambda: self.server)
            return self.server

    async def down(self) -> None:
        """Wait for the end of the present server."""
        server = self.server
        async with self._changed:
            await self._changed.wait_for(lambda: self.server != server or not server)

    async def hit(self, fault: str) -> None:
        """Do what chaos_plan.FAULTS says under that name; returns when the engine has ended."""
        server = await self.up()
        self.hurt += 1
        with contextlib.suppress(ProcessLookupError):
            if fault == "guard":
                os.kill(self.guard, signal.SIGKILL)
            else:
                os.kill(server, signal.SIGSTOP if fault == "hang" else signal.SIGKILL)
        if self.server == server:
            await self.down()
        if fault == "twice":
            await self.hit("kill")
