"""The queue's front as a whole: the SDK's `start` stays the entry, so that its fitness checks, pings, logs and its own
HTTP server (`--rp_serve_api`, RUNPOD_REALTIME_PORT) are what they are; what it has no good of its own for is replaced.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import functools
import os
import signal
import sys
import weakref
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Any

from front.answers import Handle
from front.process import Ending, allow_files
from utils import JobError, log

BOUND = 128  # jobs at once, unless MAX_CONCURRENCY says otherwise: see `jobs_at_once`
# Jobs whose ids fit into an address of 8 KB, the longest that ordinary servers take: 47 bytes each, for those of
# /runsync and of the OpenAI route are "sync-", 36 characters and a suffix, and a comma is three bytes there.
NAMED_IN_A_PING = 160


def load() -> None:
    """Import the SDK, and set first what it reads then."""
    # The server's readiness on the GPU proves more than the SDK's own test, which would find the memory taken.
    os.environ.setdefault("RUNPOD_SKIP_GPU_CHECK", "true")
    # The SDK's default, DEBUG, prints every chunk of every stream twice.
    if "RUNPOD_LOG_LEVEL" not in os.environ and "RUNPOD_DEBUG_LEVEL" not in os.environ:
        os.environ["RUNPOD_LOG_LEVEL"] = "INFO"
    # The SDK's ping process must not go on reporting a dead worker as alive.
    os.register_at_fork(after_in_child=_die_with_parent)
    import runpod  # noqa: F401

    import front.queue.delivery
    import front.queue.loop  # noqa: F401


def _die_with_parent() -> None:
    ctypes.CDLL(None).prctl(1, signal.SIGKILL, 0, 0, 0)  # PR_SET_PDEATHSIG


def _this_task() -> asyncio.Task[Any]:
    task = asyncio.current_task()
    assert task is not None
    return task


def jobs_at_once(wanted: int | None, capacity: int | None) -> int:
    """How many jobs to take at once: what is `wanted`, else what the server says it can run, at most BOUND.

    On an H200 with an 8B model throughput grows threefold from 32 to 128 streams and by 5 % from 128 to 256, while the
    slowest first token doubles: more than BOUND only empties the queue that RunPod scales by.
    """
    if not wanted:
        return max(1, min(capacity or BOUND, BOUND))
    if wanted > NAMED_IN_A_PING:
        log(f"MAX_CONCURRENCY={wanted}: the runpod SDK's ping names every running job in its address, which passes "
            f"8 KB at about {NAMED_IN_A_PING} jobs. If the platform refuses it, several pings name them between them, "
            "and whether RunPod counts a job as running that its last ping does not name is not documented", "warn")
    return wanted


def serve(handle: Handle, *, limit: int, ending: Ending, fail_all: Callable[[], None],
          on_poll: Callable[[], None], on_end: Callable[[], Awaitable[None]]) -> None:
    """Take jobs from RunPod's queue, or from the SDK's own HTTP server, until the worker is told to stop.

    `load` comes first. limit … on_end: see JobLoop.
    """
    import runpod
    from runpod.serverless.modules import rp_job, rp_ping, rp_scale

    from front.queue.delivery import Chunk, Delivery, parts
    from front.queue.loop import JobLoop
    from front.queue.pings import mend
    from job import refusal
    from meter.record import current

    allow_files(limit)
    delivery = Delivery()
    opened: weakref.WeakKeyDictionary[asyncio.Task[Any], AsyncGenerator[Any, None]] = weakref.WeakKeyDictionary()

    async def run(session: Any, config: dict[str, Any], job: dict[str, Any]) -> Any:
        # A job that is stopped in the middle of a POST leaves the SDK's generator half done, and nobody closes it
        # before the process ends: what the answer holds, media and all, would stay as long.
        try:
            return await rp_job.handle_job(session, config, job)
        finally:
            if outputs := opened.pop(_this_task(), None):
                await outputs.aclose()

    pings = mend(rp_ping.Heartbeat)
    rp_job.stream_result, rp_job.send_result = delivery.stream, delivery.result
    rp_scale.JobScaler = functools.partial(JobLoop, limit=limit, ending=ending, delivery=delivery,
                                           fail_all=fail_all, on_poll=on_poll, on_end=on_end, run=run)

    async def handler(job: dict[str, Any]) -> AsyncGenerator[Any, None]:
        # A function of its own: the SDK recognises neither bound methods nor callables.
        async with contextlib.aclosing(handle(job)) as outputs:
            opened[_this_task()] = outputs
            async for output in outputs:
                for part in parts(output) if isinstance(output, str) else (output,):
                    yield part
                    if delivery.holed():
                        lost = JobError("A part of the answer could not be delivered to the platform.",
                                        type="server_error", code=502)
                        current().failed(lost)
                        if event := refusal.event(job.get("input"), lost, str(job.get("id"))):
                            yield Chunk(event)  # or a client that sees events alone would take it for cut off
                        yield {"error": lost.to_json(str(job.get("id")))}
                        return

    if os.environ.get("RUNPOD_REALTIME_PORT") or "--rp_serve_api" in sys.argv:
        from runpod.serverless.modules import rp_fastapi

        from front.queue.api import WorkerAPI

        rp_fastapi.WorkerAPI = functools.partial(WorkerAPI, handle=handle, on_end=on_end)
    try:
        runpod.serverless.start({"handler": handler, "return_aggregate_stream": True})
    finally:
        pings.over.set()
