"""One front process.

    python -m front.http.processes OWNER_PID CHANNEL_FD LISTENER_FD

Started by the worker (owner.py), for itself alone.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import signal
import socket
import sys

from front.eventloop import Loop
from front.http.processes.front import FrontProcess

PR_SET_PDEATHSIG = 1


def main(owner: int, channel: int, listener: int) -> None:
    """Until the owner ends it, or is gone."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != owner:
        return
    # A signal to the whole group is the owner's business, which ends this process when all that it carries is done.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    process = FrontProcess(socket.socket(fileno=channel), socket.socket(fileno=listener))
    with asyncio.Runner(loop_factory=Loop) as runner:
        runner.run(process.run())


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
