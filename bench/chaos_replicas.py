"""Chaos with replicas: SGLang on the CPU with two copies of the tiny model, and their schedulers killed under load.

    python -m bench.chaos_replicas --kills 3 --seed 1 [--front http --http-processes 2] [--out FILE]

Streams and whole answers run all the time, as many as --concurrency, each with an answer that is known beforehand. The
schedulers are killed in turn, each when enough was answered since both serve again. Exit status 1 when a job is lost,
hangs, is answered wrongly, or fails with anything but the engine's end.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import random
import shlex
import signal
import sys
import time
from collections import Counter
from pathlib import Path

from bench.machine_facts import machine
from bench.serving import pair
from local import corpus, environments
from local.runpod_platform import Platform
from server.guard import descendants
from tests.over_http import OverHttp
from tests.support import free_port
from tests.worker import WorkerProcess

_PATIENCE = 400.0  # seconds for one job: a restart on a busy machine takes a minute
_AGAIN = 0.2  # seconds between two looks whether both replicas answer
_END = "The engine ended while this job was running"


def scheduler(worker: WorkerProcess, replica: int) -> int | None:
    for pid in descendants(worker.process.pid):
        with contextlib.suppress(OSError):
            if Path(f"/proc/{pid}/cmdline").read_bytes().startswith(b"sglang::scheduler_DP%d" % replica):
                return pid
    return None


def wanted(rng: random.Random) -> tuple[dict, str]:
    """(a chat, its answer): short ones, which end between two kills, of the exchanges that the model has learnt."""
    question, answer = rng.choice(corpus.EXCHANGES[:8])
    return {"messages": [{"role": "user", "content": question}], "temperature": 0, "stream": rng.random() < 0.5}, answer


def said(job, stream: bool) -> str:
    if not stream:
        return job.output[0]["choices"][0]["message"]["content"]
    events = [event for event in "".join(job.output).split("\n\n") if event.startswith("data: {")]
    choices = [json.loads(event.removeprefix("data: "))["choices"] for event in events]
    whole = "".join(job.output).rstrip().endswith("data: [DONE]")
    return "".join(choice[0]["delta"].get("content") or "" for choice in choices if choice) if whole else "(cut off)"


class Run:
    """ends: how jobs ended, by a word; problems: what may not be; kills: what each kill did, in seconds."""

    def __init__(self, options: argparse.Namespace, front, worker: WorkerProcess):
        self.options, self.front, self.worker = options, front, worker
        self.ends: Counter[str] = Counter()
        self.problems: list[str] = []
        self.kills: list[dict] = []
        self._over = False

    async def _client(self, seed: int) -> None:
        rng = random.Random(seed)
        while not self._over:
            body, answer = wanted(rng)
            job = await self.front.submit(body)
            try:
                await job.finished(_PATIENCE)
            except (TimeoutError, AssertionError):
                self.problems.append(f"no end within {_PATIENCE:.0f} s: {job.status}")
                continue
            if job.status == "COMPLETED":
                right = said(job, body["stream"]) == answer
                self.ends["answered" if right else "WRONG"] += 1
                if not right:
                    self.problems.append(f"{answer!r} was to come, and {said(job, body['stream'])!r} did")
            elif _END in str(job.error):
                self.ends["failed with the engine's end"] += 1
            else:
                self.problems.append(f"{job.status}: {str(job.error)[:300]}")

    async def _serves(self) -> set[int]:
        """The replicas that answer two requests, of which one goes to each."""
        jobs = [await self.front.submit({"text": "a", "sampling_params": {"max_new_tokens": 1}}) for _ in range(4)]
        for job in jobs:
            await job.finished(_PATIENCE)
        return {job.output[0]["meta_info"]["dp_rank"] for job in jobs if job.status == "COMPLETED"}

    async def _kill(self) -> None:
        replica, before = (self.options.seed + len(self.kills)) % 2, self.ends["failed with the engine's end"]
        victim, other = scheduler(self.worker, replica), scheduler(self.worker, 1 - replica)
        assert victim is not None and other is not None
        os.kill(victim, signal.SIGKILL)
        killed = time.monotonic()
        while scheduler(self.worker, 1 - replica) == other:  # noqa: ASYNC110
            await asyncio.sleep(_AGAIN)
        ended = time.monotonic() - killed
        while await self._serves() != {0, 1}:  # noqa: ASYNC110
            await asyncio.sleep(_AGAIN)
        self.kills.append({"replica": replica, "all_ended_s": ended, "both_serve_s": time.monotonic() - killed,
                           "failed": self.ends["failed with the engine's end"] - before})

    async def run(self) -> None:
        clients = [asyncio.create_task(self._client(self.options.seed * 1000 + number))
                   for number in range(self.options.concurrency)]
        for _ in range(self.options.kills):
            answered = self.ends["answered"]
            while self.ends["answered"] < answered + 3 * self.options.concurrency:  # noqa: ASYNC110
                await asyncio.sleep(_AGAIN)
            await self._kill()
        self._over = True
        await asyncio.gather(*clients)


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(prog="python -m bench.chaos_replicas", description=__doc__,
                                formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--kills", type=int, default=3, help="default: %(default)s")
    p.add_argument("--concurrency", type=int, default=12, help="jobs at once (default: %(default)s)")
    p.add_argument("--seed", type=int, default=1, help="of the jobs, and who is killed first (default: %(default)s)")
    p.add_argument("--front", choices=("queue", "http"), default="queue", help="default: %(default)s")
    p.add_argument("--http-processes", type=int, default=1, metavar="N", help="default: %(default)s")
    p.add_argument("--worker-env", type=pair, action="append", default=[], metavar="KEY=VALUE",
                   help="a variable of the worker; any number of them")
    p.add_argument("--out", type=Path, metavar="FILE", help="for the result as JSON")
    return p


async def chaos(options: argparse.Namespace) -> int:
    cores = sorted(os.sched_getaffinity(0))
    environ = {**environments.engine_environ(os.environ), **environments.CPU_ENGINE_ARGS,
               "SGLANG_LAUNCH_COMMAND": f"{shlex.quote(str(environments.engine_python()))} -m sglang.launch_server",
               "SGLANG_PORT": str(free_port()), "MODEL_NAME": str(environments.tiny_model()),
               "SERVED_MODEL_NAME": corpus.SERVED_NAME, "RUNPOD_SKIP_AUTO_SYSTEM_CHECKS": "true",
               "DATA_PARALLEL_SIZE": "2", "SGLANG_CPU_OMP_THREADS_BIND": f"{cores[0]}|{cores[-1]}", "HEAD_START": "on",
               "HTTP_PROCESSES": str(options.http_processes), "ENGINE_WAIT_TIMEOUT": "300",
               "SGLANG_MAX_RESTARTS": str(options.kills + 1), **dict(options.worker_env)}
    async with (OverHttp if options.front == "http" else Platform)() as front, WorkerProcess(
            front, environ, ready_within=400) as worker:
        await worker.connected()
        run = Run(options, front, worker)
        await run.run()
        if worker.process.returncode is not None:
            run.problems.append(f"the worker ended with {worker.process.returncode}")
    told = {"command": shlex.join(["python", "-m", "bench.chaos_replicas", *sys.argv[1:]]), "machine": machine(),
            "ends": dict(run.ends), "kills": run.kills, "problems": run.problems}
    print(json.dumps(told, indent=1))
    if options.out:
        options.out.write_text(json.dumps(told, indent=1) + "\n")
    return 1 if run.problems else 0


if __name__ == "__main__":
    sys.exit(asyncio.run(chaos(parser().parse_args())))
