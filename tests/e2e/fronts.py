"""The fronts that the tests' jobs go through, and what of them is one front's alone."""

import contextlib

import pytest

from local.relay_engine import launch_relay
from tests.over_http import OverHttp
from tests.support import free_port
from tests.worker import WorkerProcess

FRONTS = ["queue", "http"]


@contextlib.asynccontextmanager
async def http_beside(worker: WorkerProcess):
    """(front, worker): a second worker, over HTTP, before the engine of the first."""
    environ = {name: value for name, value in worker.environ.items() if not name.startswith("RUNPOD_WEBHOOK_")}
    environ |= {"SGLANG_PORT": str(free_port()), "HEAD_START": "off", "MAX_CONCURRENCY": "256",
                "SGLANG_LAUNCH_COMMAND": launch_relay(int(worker.environ["SGLANG_PORT"]))}
    async with OverHttp() as front, WorkerProcess(front, environ) as process:
        yield front, await process.connected()


def queue_only(why: str):
    """Marks a test that has no counterpart over HTTP."""
    assert why
    return pytest.mark.parametrize("way", ["queue"], indirect=True)


JOB_FORM = queue_only("a job says by its own fields what it is; an HTTP request by its route")
OWN_ENGINE = queue_only("about the server's own processes and lines, which are this worker's")
