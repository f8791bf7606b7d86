"""A worker process (handler.py under the real SDK) against the platform stand-in, for contract and e2e tests."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
from collections.abc import Callable
from typing import Any

from local.runpod_platform import Platform
from tests.over_http import OverHttp
from tests.support import LAUNCH, ROOT, free_port


def contract_environ(**extra: str) -> dict[str, str]:
    """A worker that serves the scripted engine as the model "tiny"."""
    kept = {k: v for k, v in os.environ.items() if k in ("PATH", "HOME", "LANG", "TMPDIR")}
    return {**kept, "PYTHONPATH": str(ROOT), "MODEL_NAME": "org/tiny", "SERVED_MODEL_NAME": "tiny", "DEVICE": "cpu",
            "SGLANG_LAUNCH_COMMAND": LAUNCH, "SGLANG_PORT": str(free_port()),
            "RUNPOD_SKIP_AUTO_SYSTEM_CHECKS": "true", **extra}


def error_of(job) -> dict:
    """What a failed job's `error` says; fails for one that has not failed."""
    assert job.status == "FAILED", (job.status, job.output)
    return json.loads(job.error)


class WorkerProcess:
    """`async with WorkerProcess(platform, environ) as worker`: started, connected, and gone at the end."""

    def __init__(self, platform: Platform | OverHttp | None, environ: dict[str, str], *arguments: str, cwd=ROOT,
                 ready_within: float = 60.0):
        self.platform, self.arguments, self.cwd = platform, arguments, cwd
        self.environ = {**environ, **(platform.worker_environ() if platform else {})}
        self.ready_within = ready_within
        self.lines: list[str] = []
        self.process: asyncio.subprocess.Process | None = None
        self._news = asyncio.Event()

    async def __aenter__(self) -> WorkerProcess:
        self.process = await asyncio.create_subprocess_exec(
            sys.executable, str(ROOT / "handler.py"), *self.arguments, cwd=self.cwd, env=self.environ,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT, limit=2**24)
        self._reader = asyncio.create_task(self._read())
        return self

    async def __aexit__(self, *_) -> None:
        if self.process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self.process.kill()  # the guard takes the engine down
        await self.process.wait()
        self._reader.cancel()

    async def _read(self) -> None:
        async for line in self.process.stdout:
            self.lines.append(line.decode(errors="replace").rstrip("\n"))
            self._news.set()

    @property
    def over_http(self) -> bool:
        return isinstance(self.platform, OverHttp)

    @property
    def output(self) -> str:
        return "\n".join(self.lines)

    async def connected(self) -> WorkerProcess:
        """Wait until the worker asks for jobs, or takes requests; fails with its output when it ends instead."""
        ready = asyncio.create_task(self._taking())
        ended = asyncio.create_task(self.process.wait())
        await asyncio.wait([ready, ended], return_when=asyncio.FIRST_COMPLETED)
        failed = not ready.done() or ready.exception() is not None
        for task in (ready, ended):
            task.cancel()
        if failed:
            raise AssertionError(f"the worker did not connect (status {self.process.returncode}):\n{self.output}")
        return self

    async def _taking(self) -> None:
        if isinstance(self.platform, OverHttp):
            await self.platform.taking(self.ready_within)
        else:
            await self.platform.wait_for(
                lambda: self.platform.begun["job-take"] + self.platform.begun["job-take-batch"], self.ready_within)

    async def line(self, fragment: str, timeout: float = 30.0) -> str:
        """Wait for a line of output that holds `fragment`."""
        return await self.found(lambda line: line if fragment in line else None, timeout)

    async def found(self, look: Callable[[str], Any], timeout: float = 30.0) -> Any:
        """Wait for a line of output of which `look` makes something; returns that."""
        async with asyncio.timeout(timeout):
            while True:
                self._news.clear()
                for line in self.lines:
                    if (made := look(line)) is not None:
                        return made
                await self._news.wait()

    async def ended(self, timeout: float = 30.0) -> int:
        """Wait for the worker's end; returns its exit status."""
        async with asyncio.timeout(timeout):
            status = await self.process.wait()
            await asyncio.wait([self._reader], timeout=1)
            return status
