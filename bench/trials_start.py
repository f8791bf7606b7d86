"""Trials of a worker that is told to stop before it serves: SIGTERM in every phase of the start."""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import Awaitable, Callable

from bench.chaos_engine import EngineWatch
from bench.trial import Trial, prompt, stopped, wrong
from local.runpod_platform import Platform
from tests.worker import WorkerProcess, contract_environ

_NEVER = 300  # seconds
Phase = Callable[[Platform, WorkerProcess], Awaitable[object]]


async def _engine_exists(_platform: Platform, worker: WorkerProcess) -> None:
    watch = EngineWatch(worker.process.pid)
    following = asyncio.create_task(watch.run())
    try:
        await asyncio.wait_for(watch.up(), 60)
    finally:
        following.cancel()


def _line(fragment: str) -> Phase:
    return lambda _platform, worker: worker.line(fragment, 60)


def _poll(platform: Platform, _worker: WorkerProcess):
    return platform.wait_for(lambda: platform.begun["job-take"] + platform.begun["job-take-batch"], 60)


# name: how the start is held in the phase, and what tells that it has come
_PHASES: dict[str, tuple[dict, dict, Phase]] = {
    "the server's process begins": ({"bind_delay": _NEVER}, {}, _engine_exists),
    "the server loads": ({"ready_delay": _NEVER}, {}, _line("Uvicorn running")),
    "the server loads and ignores the signal": (
        {"ready_delay": _NEVER, "ignore_sigterm": True}, {}, _line("Uvicorn running")),
    "the server is ready": ({}, {"hang_at": 0}, _line("engine ready after")),
    "warm-up": ({}, {"hang_at": 0}, _line("engine ready after")),
    "first poll": ({}, {}, _poll),
}


async def _phase(name: str) -> list[str]:
    life, script, come = _PHASES[name]
    environ = contract_environ(SCRIPTED_ENGINE_LIFE=json.dumps(life), SCRIPTED_ENGINE_SCRIPT=json.dumps(script))
    async with Platform(long_poll=5) as platform, WorkerProcess(platform, environ) as worker:
        await come(platform, worker)
        if name == "warm-up":
            await asyncio.sleep(0.5)  # its first request is with the engine by now, or will be
        return [f"{name}: {problem}" for problem in await stopped(worker)]


async def sigterm_in_every_phase() -> list[str]:
    """SIGTERM in each phase of the start ends the worker with status 0, and nothing of its tree is left."""
    problems = []
    for name in _PHASES:
        problems += await _phase(name)
    return problems


async def sigterm_before_the_engine() -> list[str]:
    """SIGTERM while the worker itself is still being loaded: it ends, and leaves no process."""
    problems = []
    for delay in (0.0, 0.05, 0.15, 0.3, 0.5, 0.8, 1.2):
        environ = contract_environ(SCRIPTED_ENGINE_LIFE=json.dumps({"bind_delay": _NEVER}))
        async with Platform(long_poll=5) as platform, WorkerProcess(platform, environ) as worker:
            await asyncio.sleep(delay)
            # Before its own handler is there, the signal itself ends the process.
            problems += [f"{delay} s: {problem}" for problem in await stopped(worker, status=(0, -signal.SIGTERM))]
    return problems


async def sigterm_with_the_first_job() -> list[str]:
    """SIGTERM as the first job is handed out: it is answered, and the worker ends in order."""
    problems = []
    for _ in range(3):
        async with Platform(long_poll=5) as platform:
            job = await platform.submit({"messages": prompt({"text": "Paris is a city.", "tps": 20}), "stream": True})
            async with WorkerProcess(platform, contract_environ(DRAIN_TIMEOUT="60")) as worker:
                await job.until(lambda record: record.status == "IN_PROGRESS", 60)
                problems += await stopped(worker)
            problems += filter(None, [wrong(job, "chat-stream", "Paris is a city.")])
    return problems


TRIALS: tuple[Trial, ...] = (sigterm_in_every_phase, sigterm_before_the_engine, sigterm_with_the_first_job)
