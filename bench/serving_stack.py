"""What is measured, as processes: the platform, this worker with its engine, and the reference designs.

All share one engine, the worker's own child, so the engine itself and the other designs are measured on exactly what
the worker serves. The worker over HTTP is told to start an engine that does nothing, on the port that the other one's
will have. Each design but that has its own endpoint on the platform; only one is under load at a time.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shlex
import signal
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

from bench.borrowed_engine import WAITS
from bench.platform_process import PlatformProcess
from bench.process_usage import by_role, cpu_seconds, with_fronts
from bench.serving_plan import DIRECT, ENGINE, EVERY_EVENT, HTTP, HTTP_MANY, RAW_CHUNKS, WORKER, Target, http_processes
from local import corpus, environments
from server.guard import descendants
from tests.support import ROOT, free_port
from tests.worker import contract_environ

_MODULES = {EVERY_EVENT: "bench.design_every_event", RAW_CHUNKS: "bench.design_raw_chunks"}
_COMMANDS = {**dict.fromkeys((WORKER, HTTP, *HTTP_MANY), [sys.executable, str(ROOT / "handler.py")]),
             **{design: [sys.executable, "-m", module] for design, module in _MODULES.items()}}
_END_WITHIN = 40.0  # seconds; a real engine takes up to 8
_PATH = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
_KEPT = ("PATH", "HOME", "LANG", "TMPDIR")


class Failed(Exception):
    """Something that is to be measured does not run."""


@dataclass
class Wanted:
    """engine: "scripted", "cpu", "env" (the worker's variables say it all) or the base URL of a running one, or
    several of them with a comma between, whose clients are shared out. engine_pid: the first process of that one.

    rate: tokens a second of each stream of the scripted engine. concurrency: jobs that a worker takes at once.
    http_processes: that carry the requests of the worker over HTTP. environ: more variables of the worker. logs: a
    folder for the output of the processes.
    """

    engine: str
    designs: list[str]
    logs: Path
    rate: float = 30.0
    concurrency: int = 256
    environ: dict[str, str] = field(default_factory=dict)
    http_processes: int = 1
    ready_within: float = 1200.0
    engine_pid: int | None = None


def worker_environ(wanted: Wanted) -> dict[str, str]:
    """The worker's variables, those of the platform apart."""
    if wanted.engine == "scripted":
        base = contract_environ(SCRIPTED_ENGINE_SCRIPT=json.dumps({"tps": wanted.rate}),
                                MAX_RUNNING_REQUESTS=str(wanted.concurrency))
    elif wanted.engine == "cpu":
        base = {**environments.engine_environ(os.environ), **environments.CPU_ENGINE_ARGS,
                "SGLANG_LAUNCH_COMMAND": f"{shlex.quote(str(environments.engine_python()))} -m sglang.launch_server",
                "MODEL_NAME": str(environments.tiny_model()), "SERVED_MODEL_NAME": corpus.SERVED_NAME}
    else:
        base = dict(os.environ)
    return {"SGLANG_PORT": str(free_port()), "RUNPOD_LOG_LEVEL": "INFO", "RUNPOD_SKIP_AUTO_SYSTEM_CHECKS": "true",
            **base, "MAX_CONCURRENCY": str(wanted.concurrency), **wanted.environ}


class Stack:
    """`async with Stack(wanted) as stack:` everything started and ready.

    engine_urls: base URLs of the engine, one in all but special cases; http_urls: of each worker over HTTP;
    engine_key: the engine's API key, if any; pids: the process of each design.
    """

    def __init__(self, wanted: Wanted):
        self.wanted = wanted
        self.pids: dict[str, int] = {}
        self.http_urls: dict[str, str] = {}
        self.engine_urls = [url.rstrip("/") for url in wanted.engine.split(",")]
        self.engine_key = wanted.environ.get("API_KEY")
        self._numbers: dict[str, int] = {}
        self._engine_root = wanted.engine_pid  # its descendants are the engine
        self._processes: list[asyncio.subprocess.Process] = []
        self._designs: dict[str, tuple[asyncio.subprocess.Process, float]] = {}  # each, and when it must be ready
        self._exits = contextlib.AsyncExitStack()

    async def __aenter__(self) -> Stack:
        try:
            await self._start()
        except BaseException:
            await self.__aexit__()
            raise
        return self

    async def __aexit__(self, *_) -> None:
        for process in self._processes:
            if process.returncode is None:
                process.terminate()
        # The SDK as published ends with its open poll for jobs, and that with the platform.
        await self._exits.aclose()
        await asyncio.gather(*map(_ended, self._processes))

    async def _start(self) -> None:
        outside = "://" in self.wanted.engine
        designs = [design for design in self.wanted.designs if design != ENGINE]
        if not outside and WORKER not in designs:
            designs.append(WORKER)  # the engine is its child
        designs.sort(key=lambda design: design != WORKER)
        queued = [design for design in designs if design not in DIRECT]
        self._numbers = {design: number for number, design in enumerate(queued)}
        self.platform = await self._exits.enter_async_context(PlatformProcess(len(queued)))
        if not outside:
            environ = worker_environ(self.wanted)
            self.engine_urls = [f"http://127.0.0.1:{environ['SGLANG_PORT']}"]
            self.engine_key = environ.get("API_KEY")
        over_http = [design for design in designs if design in DIRECT]
        for design in over_http:  # before there is an engine on the port that all are given
            await self._launch_http(design, environ)
        for design in queued:
            if design != WORKER:
                environ = {**{k: v for k, v in os.environ.items() if k in _KEPT}, "PYTHONPATH": _PATH,
                           "RUNPOD_LOG_LEVEL": "INFO", "RUNPOD_SKIP_AUTO_SYSTEM_CHECKS": "true",
                           "RUNPOD_SKIP_GPU_CHECK": "true", "BENCH_ENGINE_URL": self.engine_urls[0],
                           "BENCH_CONCURRENCY": str(self.wanted.concurrency),
                           **({"BENCH_ENGINE_KEY": self.engine_key} if self.engine_key else {})}
            await self._launch(design, environ)
        if not outside:
            self._engine_root = self.pids[WORKER]
        for design in over_http:
            await self._logged(design, "serving over HTTP")

    async def _launch(self, design: str, environ: dict[str, str]) -> None:
        """Start the process and wait until it asks for jobs."""
        number = self._numbers[design]
        await self._spawn(design, {**environ, **self.platform.environs[number]})
        while not (await self.platform.ask(number))["polls"]:
            await self._pause(design, "did not ask for jobs")

    async def _launch_http(self, design: str, environ: dict[str, str]) -> None:
        """Start a worker over HTTP and wait until it waits for the other one's engine."""
        self.http_urls[design] = f"http://127.0.0.1:{(port := free_port())}"
        await self._spawn(design, {
            **environ, "WORKER_MODE": "http", "HOST": "127.0.0.1", "PORT": str(port), "PYTHONPATH": _PATH,
            "HTTP_PROCESSES": str(http_processes(design, self.wanted.http_processes)),
            "SGLANG_LAUNCH_COMMAND": shlex.join([sys.executable, "-m", "bench.borrowed_engine"])})
        await self._logged(design, WAITS)

    async def _spawn(self, design: str, environ: dict[str, str]) -> None:
        with self._log(design).open("wb") as out:
            process = await asyncio.create_subprocess_exec(
                *_COMMANDS[design], cwd=ROOT, env=environ, stdin=asyncio.subprocess.DEVNULL, stdout=out, stderr=out)
        self._processes.append(process)
        self._designs[design] = process, time.monotonic() + self.wanted.ready_within
        self.pids[design] = process.pid

    def _log(self, design: str) -> Path:
        return self.wanted.logs / f"{design}.log"

    async def _logged(self, design: str, words: str) -> None:
        while words not in self._log(design).read_text(errors="replace"):
            await self._pause(design, f"did not say {words!r}")

    async def _pause(self, design: str, otherwise: str) -> None:
        """A moment, as long as there is a chance that the process gets ready."""
        process, deadline = self._designs[design]
        if process.returncode is not None or time.monotonic() > deadline:
            lines = self._log(design).read_text(errors="replace").splitlines()[-30:]
            raise Failed(f"{design} {otherwise} (status {process.returncode}):\n" + "\n".join(lines))
        await asyncio.sleep(0.1)

    # ------------------------------------------------------------ one target
    def urls(self, target: Target) -> list[str]:
        """The chat routes of its clients, which are shared out where there is more than one."""
        if target.design == ENGINE:
            bases = self.engine_urls
        elif target.design in DIRECT:
            bases = [self.http_urls[target.design]]
        else:
            bases = [self.platform.urls[self._numbers[target.design]] + "/openai"]
        return [base + "/v1/chat/completions" for base in bases]

    def headers(self, target: Target) -> dict[str, str]:
        return {"Authorization": f"Bearer {target.design == ENGINE and self.engine_key or 'local'}"}

    def processes(self, target: Target) -> list[int]:
        """The measured processes: of the worker or the design, without the engine, which has none."""
        pid = self.pids.get(target.design) if target.design != ENGINE else None
        return with_fronts(pid) if pid else []

    async def prepare(self, target: Target) -> None:
        """Set the platform's round trip, and its counters to 0."""
        if target.design not in DIRECT:
            await self.platform.ask(self._numbers[target.design], delay_ms=target.post_ms, reset=True)

    async def counters(self, target: Target) -> dict:
        """What was posted since `prepare`; see platform_process."""
        if target.design in DIRECT:
            return {"posts": {}, "bytes": {}}
        return await self.platform.ask(self._numbers[target.design])

    def _engine_pids(self) -> list[int]:
        """Of the engine as it is now: some of its processes may come after the first answer."""
        root = self._engine_root
        if root is None:
            return []
        return sorted([*descendants(root), *([root] if root == self.wanted.engine_pid else [])])

    def shared_cpu(self) -> dict[str, float]:
        """CPU seconds so far of what all targets share."""
        return {"engine": cpu_seconds(*self._engine_pids()), "platform": cpu_seconds(self.platform.pid)}

    def engine_cpu(self) -> dict[str, float]:
        """CPU seconds so far of each process of the engine; see process_usage.by_role."""
        return by_role(self._engine_pids())


async def _ended(process: asyncio.subprocess.Process) -> None:
    """Wait for its end; what does not end in order is killed with all that it started."""
    try:
        await asyncio.wait_for(process.wait(), _END_WITHIN)
    except TimeoutError:
        for pid in [*descendants(process.pid), process.pid]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        await process.wait()
