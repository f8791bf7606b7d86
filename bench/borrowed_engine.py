"""What a worker is told to start in place of an engine, when it is to serve one that another worker starts.

    SGLANG_LAUNCH_COMMAND='python -m bench.borrowed_engine'

It listens on nothing, so that the other one's engine can take the port; it ends in order, and ends nothing else.
"""

from __future__ import annotations

import signal
import sys

WAITS = "waiting for the engine of another worker"


def main() -> int:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    print(WAITS, file=sys.stderr, flush=True)
    while True:
        signal.pause()


if __name__ == "__main__":
    sys.exit(main())
