"""What it costs that the platform is told which jobs run: for the worker with each job, and for the SDK's pings.

    python -m bench.ping_cost [JOBS,…]

For each number of jobs, a row: microseconds of the worker's core for one job that comes or goes, milliseconds for all
that come at once, bytes of a ping's address with all of them, and how many pings name them once one was refused.
"""

from __future__ import annotations

import os
import sys
import time
import uuid
from collections.abc import Callable

_URL = "https://api.runpod.ai/v2/0123456789abcd/ping/0123456789abcd?gpu=NVIDIA+H100+80GB+HBM3"
_CHANGES = 200


def row(count: int) -> tuple[int, float, float, int, int]:
    """(jobs, µs a change, ms for all at once, bytes, pings)."""
    from runpod.serverless.modules.rp_ping import Heartbeat
    from runpod.serverless.modules.worker_state import JobsProgress, PingJobMirror

    from front.queue.pings import FITS, Pings
    progress, mirror = JobsProgress(), PingJobMirror()
    progress.set_mirror(mirror)
    progress.clear()
    ids = [f"sync-{uuid.uuid4()}-u1" for _ in range(count)]

    def come() -> None:
        for one in ids:
            progress.add(one)

    def change() -> None:
        for _ in range(_CHANGES // 2):
            progress.remove(ids[0])
            progress.add(ids[0])

    heartbeat = Heartbeat()
    pings, everything = Pings(heartbeat, lambda _: None), seconds(come)
    one, named = seconds(change) / _CHANGES, mirror.get()
    address = heartbeat._session.prepare_request(_request(heartbeat, named)).url
    return count, one * 1e6, everything * 1e3, len(address), len(list(pings._parts(named, FITS)))


def _request(heartbeat, named: str):
    import requests
    from runpod.version import __version__
    return requests.Request("GET", heartbeat.PING_URL, params={"job_id": named, "runpod_version": __version__})


def seconds(work: Callable[[], None]) -> float:
    """Of CPU that `work` takes."""
    began = time.process_time()
    work()
    return time.process_time() - began


def main(argv: list[str] | None = None) -> int:
    given = sys.argv[1:] if argv is None else argv
    os.environ.update(RUNPOD_WEBHOOK_PING=_URL, RUNPOD_LOG_LEVEL="WARN")
    print("| jobs | one comes or goes, CPU µs | all come at once, CPU ms | bytes of the address | pings once one was "
          "refused |\n|---|---|---|---|---|")
    for count in map(int, given[0].split(",")) if given else (64, 128, 160, 256, 400, 1000):
        print("| {:,} | {:.0f} | {:.1f} | {:,} | {} |".format(*row(count)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
