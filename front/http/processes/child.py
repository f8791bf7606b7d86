"""One front process, as its owner has it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import sys
from pathlib import Path

from answer.holding import Room
from clock import awake
from front.http.processes.channel import Channel
from front.http.processes.reports import Reports
from front.http.processes.rooms import Accounts
from front.http.processes.wire import Message
from meter.requests import Meter

_ROOT = Path(__file__).parents[3]


class Child:
    """One process: what it holds, and what it was heard of last."""

    def __init__(self, number: int, process: subprocess.Popen[bytes], meter: Meter, owned: dict[str, Room]):
        self.number, self.process = number, process
        self.channel: Channel | None = None
        self.reports = Reports(meter)
        self.accounts = Accounts(owned, self.send)
        self.up, self.drained = asyncio.Event(), asyncio.Event()
        self.over = asyncio.Event()
        self.heard_at = awake()

    def send(self, message: Message) -> None:
        if self.channel is not None:
            self.channel.send(message)


def begun(channel: int, listener: int) -> subprocess.Popen[bytes]:
    """One, with these descriptors. By the main thread, for it dies with the thread that began it."""
    return subprocess.Popen(
        [sys.executable, "-m", "front.http.processes", str(os.getpid()), str(channel), str(listener)], cwd=_ROOT,
        stdin=subprocess.DEVNULL, pass_fds=(channel, listener))


def ended(process: subprocess.Popen[bytes]) -> int:
    """Its exit status; one that has let go of its owner and goes on is killed."""
    with contextlib.suppress(subprocess.TimeoutExpired):
        return process.wait(5.0)
    process.kill()
    return process.wait()
