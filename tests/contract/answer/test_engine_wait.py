"""How long a job waits for an engine that does not come back."""

import asyncio
import contextlib
import json
import os
import signal
import time
from pathlib import Path

from local.runpod_platform import Platform
from tests.support import say
from tests.worker import WorkerProcess, contract_environ


def server(port: str) -> int | None:
    """The process id of the scripted engine on this port, without its guard."""
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            words = (entry / "cmdline").read_bytes().split(b"\0") if entry.name.isdigit() else []
            if b"local.scripted_engine" in words and port.encode() in words and b"-S" not in words:
                return int(entry.name)
    return None


async def test_a_job_waits_for_the_engine_as_long_as_it_is_told_and_is_not_tried_again():
    environ = contract_environ(ENGINE_WAIT_TIMEOUT="2", RETRY_TIMEOUT="120")
    async with Platform() as platform, WorkerProcess(platform, environ) as worker:
        await worker.connected()
        first = server(environ["SGLANG_PORT"])
        await (await platform.submit({"messages": say({"die_at": 0, "die_code": 3})})).finished()
        began = time.monotonic()
        job = await platform.submit({"messages": say({"text": "Paris."})})
        while (second := server(environ["SGLANG_PORT"])) in (None, first):  # noqa: ASYNC110 - another process's start
            await asyncio.sleep(0.01)
        os.kill(second, signal.SIGSTOP)  # it never becomes ready
        await job.finished()
        assert time.monotonic() - began < 60
        assert json.loads(job.error)["code"] == 503
        assert "restarted" in json.loads(job.error)["message"]
