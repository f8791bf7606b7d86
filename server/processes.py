"""What the engine's owner asks of this machine: processes, ports, and another process's lines."""

from __future__ import annotations

import codecs
import os
import signal
import socket
import time
from collections.abc import Iterator
from typing import IO

import utils
from clock import awake

LINE_LIMIT = 64 * 1024  # bytes; a longer line is passed on in pieces, so that no output can fill the memory


def survivors(session: int, mark: str) -> list[int]:
    """Living processes of a session (the guard's), or with `mark` in their environment, from /proc.

    The mark finds what has left the session; the session finds what has written over its environment.
    """
    found = []
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{name}/stat", "rb") as f:
                state, _, _, owner = f.read().rpartition(b")")[2].split()[:4]
            if state in (b"Z", b"X"):
                continue
            if int(owner) != session:
                with open(f"/proc/{name}/environ", "rb") as f:
                    if mark.encode() not in f.read():
                        continue
            found.append(int(name))
        except (OSError, ValueError, IndexError):
            continue
    return found


def started_at(pid: int) -> float | None:
    """When a process began, as clock.awake would have said it; None when /proc does not tell."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as f:
            ticks = int(f.read().rpartition(b")")[2].split()[19])  # since the machine's start, proc(5)
        age = time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError, IndexError):
        return None
    return awake() - age if age >= 0 else None


def signal_name(number: int) -> str:
    """"SIGKILL" for 9; "signal 35" for a real-time signal, which has no name."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def port_is_free(port: int, host: str = "127.0.0.1") -> bool:
    """Whether a server could listen on host:port now."""
    with socket.socket() as s:
        # As servers do: a socket in TIME_WAIT must not look like a taken port.
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            s.bind((host, port))
        except OSError:
            return False
    return True


def lines(stream: IO[bytes]) -> Iterator[str]:
    """The stream's lines, redacted; a line above LINE_LIMIT in pieces that never cut a secret or a character."""
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    kept = ""
    while raw := stream.readline(LINE_LIMIT):
        ended = raw.endswith(b"\n")
        text = utils.redact(kept + decoder.decode(raw, ended))
        cut = len(text) if ended else max(0, len(text) - utils.longest_secret() + 1)
        kept = text[cut:]
        if ended:
            yield text.rstrip("\r\n")
        elif cut:
            yield text[:cut]
    if kept := kept + decoder.decode(b"", True):
        yield kept
