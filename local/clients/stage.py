"""What the clients talk to: one SGLang on the CPU, a worker behind the platform's stand-in, a worker over HTTP.

The second worker stands before the engine of the first (local/relay_engine.py), so both fronts have the same model.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shlex
import sys
import urllib.request
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

from local import corpus, environments, ways
from local.relay_engine import launch_relay

ROOT = environments.ROOT
IDLE_WITHIN = 20.0  # seconds for the engine to have nothing left of a client that is gone


class Stage:
    """fronts: {"queue": …, "http": …}, each with `url`; idle(): nothing runs in the engine any more."""

    def __init__(self, engine_port: int, fronts: dict[str, ways.Queue | ways.Http]):
        self.engine_port, self.fronts = engine_port, fronts

    def load(self) -> int:
        """Requests that the engine runs or has queued."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.engine_port}/v1/loads", timeout=60) as response:
            return sum(entry["num_running_reqs"] + entry["num_waiting_reqs"]
                       for entry in json.load(response)["loads"])

    async def idle(self) -> bool:
        """Whether the engine has nothing to do, within a moment; it has no event for that."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(IDLE_WITHIN):
                while await asyncio.to_thread(self.load):  # noqa: ASYNC110
                    await asyncio.sleep(0.1)
                return True
        return False


@contextlib.asynccontextmanager
async def stage(log_folder: Path, **settings: str) -> AsyncIterator[Stage]:
    """Both fronts up, with these settings beside the tiny model's own. RuntimeError when a worker ends."""
    engine, relay = ways.free_port(), ways.free_port()
    served = {
        **environments.engine_environ(os.environ), **environments.CPU_ENGINE_ARGS, **environments.TINY_MODEL_ARGS,
        "MODEL_NAME": str(environments.tiny_model()), "SERVED_MODEL_NAME": corpus.SERVED_NAME,
        "RUNPOD_SKIP_AUTO_SYSTEM_CHECKS": "true", **settings}
    sglang = f"{shlex.quote(str(environments.engine_python()))} -m sglang.launch_server"
    async with contextlib.AsyncExitStack() as stack:
        queue, http = [await stack.enter_async_context(way) for way in (ways.Queue(), ways.Http())]
        for way, launch, port in ((queue, sglang, engine), (http, launch_relay(engine), relay)):
            environ = {**served, **way.environ(), "SGLANG_LAUNCH_COMMAND": launch, "SGLANG_PORT": str(port)}
            await stack.enter_async_context(_worker(way, environ, log_folder / f"clients-{way.name}.log"))
        yield Stage(engine, {way.name: way for way in (queue, http)})


@contextlib.asynccontextmanager
async def _worker(way: ways.Queue | ways.Http, environ: Mapping[str, str], log_path: Path) -> AsyncIterator[None]:
    with log_path.open("wb") as log:
        worker = await asyncio.create_subprocess_exec(sys.executable, "handler.py", cwd=ROOT, stdout=log, stderr=log,
                                                      env=environ)
    try:
        ended, ready = asyncio.create_task(worker.wait()), asyncio.create_task(way.ready())
        await asyncio.wait([ended, ready], return_when=asyncio.FIRST_COMPLETED)
        ready.cancel()
        if ended.done():
            raise RuntimeError(f"the worker ({way.name}) ended with status {worker.returncode}: see {log_path}")
        yield
    finally:
        if worker.returncode is None:
            worker.terminate()
            try:
                await asyncio.wait_for(worker.wait(), 60)
            except TimeoutError:
                worker.kill()
