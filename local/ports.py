"""Ports to give away."""

from __future__ import annotations

import contextlib
import fcntl
import os
import random
import socket
import tempfile

_FIRST = 10_000
_RANGE = "/proc/sys/net/ipv4/ip_local_port_range"
_picks = random.SystemRandom()
_TRIES = 100  # after which a port that another process may have in mind is better than none
_claims = -1


def free_port() -> int:
    """A loopback port that nothing listens on now, and that no connection gets for its own end: one of those, taken
    while a server is restarted, would keep it from coming back."""
    last = 32_768  # Linux's own first port of connections
    with contextlib.suppress(OSError, ValueError), open(_RANGE) as told:
        last = int(told.read().split()[0])
    for tried in range(10 * _TRIES):
        port = _picks.randrange(_FIRST, last) if last > 2 * _FIRST else 0
        with contextlib.suppress(OSError), socket.socket() as s:
            s.bind(("127.0.0.1", port))
            found = int(s.getsockname()[1])
            if _claimed(found) or tried >= _TRIES:
                return found
    raise OSError("no port is free")


def _claimed(port: int) -> bool:
    """Whether this process has it for itself now, as long as it lives: whoever got it may take a while to listen, and
    another's server that does so sooner would answer in its place. Each port is one byte of a common file, locked."""
    global _claims
    if _claims < 0:
        path = os.path.join(tempfile.gettempdir(), f"worker-sglang-ports-{os.getuid()}")
        _claims = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.lockf(_claims, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, port)
    except OSError:
        return False
    return True
