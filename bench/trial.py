"""What the trials share: a worker with its platform, and reading how a job ended."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable

from bench.chaos_checks import READERS, Corrupt
from bench.chaos_engine import gone, tree
from local.platform_records import Job
from local.platform_waiting import Handle
from local.runpod_platform import Platform
from tests.worker import WorkerProcess, contract_environ

Trial = Callable[[], Awaitable[list[str]]]
ENDS_WITHIN = 60.0  # seconds; a bound for a busy machine, not a measurement


@contextlib.asynccontextmanager
async def stack(platform: Platform | None = None, **environ: str) -> AsyncIterator[tuple[Platform, WorkerProcess]]:
    """A platform and a worker that asks it for jobs."""
    async with (platform or Platform(long_poll=5)) as running, \
            WorkerProcess(running, contract_environ(**environ)) as worker:
        await worker.connected()
        yield running, worker


def prompt(script: dict, text: str = "") -> list[dict]:
    """Messages that make the scripted engine act as `script` says."""
    return [{"role": "user", "content": f"{text}#script {json.dumps(script)}"}]


def failure(job: Job | Handle) -> dict:
    """The error of a failed job; empty when it has none that parses."""
    try:
        error = json.loads(job.error or "")
    except ValueError:
        return {}
    return error if isinstance(error, dict) else {}


def wrong(job: Job | Handle, reading: str, text: str) -> str | None:
    """What is not right with a job that had to complete with `text`."""
    if job.status != "COMPLETED":
        return f"{job.id} {job.status}: {(job.error or '')[:200]}"
    try:
        found = READERS[reading](job.output)
    except (Corrupt, TypeError) as error:
        return f"{job.id} is corrupt: {str(error)[:200]}"
    return None if found == [text] else f"{job.id} has another text: {str(found)[:100]}"


async def ending(worker: WorkerProcess, within: float = ENDS_WITHIN) -> tuple[int | None, list[int]]:
    """The worker's exit status (None: it did not end), and the processes of its tree that it left behind."""
    assert worker.process is not None
    children = set(await asyncio.to_thread(tree, worker.process.pid))
    try:
        status = await worker.ended(within)
    except TimeoutError:
        return None, []
    for _ in range(100):  # the guard ends the server once its worker is gone
        left = [pid for pid in children if not gone(pid)]
        if not left:
            break
        await asyncio.sleep(0.1)
    for pid in left:  # a trial leaves nothing on the machine, whatever it found
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    return status, left


async def stopped(worker: WorkerProcess, within: float = ENDS_WITHIN, status: tuple[int, ...] = (0,)) -> list[str]:
    """SIGTERM, and what was not orderly about the end."""
    assert worker.process is not None
    with contextlib.suppress(ProcessLookupError):
        worker.process.send_signal(signal.SIGTERM)
    found, left = await ending(worker, within)
    problems = [f"left processes behind: {left}"] if left else []
    if found is None:
        problems.append(f"did not end within {within:.0f} s of SIGTERM")
    elif found not in status:
        problems.append(f"ended with status {found}:\n" + "\n".join(worker.lines[-20:]))
    return problems
