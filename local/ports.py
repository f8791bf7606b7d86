"""Ports to give away."""

from __future__ import annotations

import contextlib
import random
import socket

_FIRST = 10_000
_RANGE = "/proc/sys/net/ipv4/ip_local_port_range"
_picks = random.SystemRandom()


def free_port() -> int:
    """A loopback port that nothing listens on now, and that no connection gets for its own end: one of those, taken
    while a server is restarted, would keep it from coming back."""
    last = 32_768  # Linux's own first port of connections
    with contextlib.suppress(OSError, ValueError), open(_RANGE) as told:
        last = int(told.read().split()[0])
    while True:
        port = _picks.randrange(_FIRST, last) if last > 2 * _FIRST else 0
        with contextlib.suppress(OSError), socket.socket() as s:
            s.bind(("127.0.0.1", port))
            return int(s.getsockname()[1])
