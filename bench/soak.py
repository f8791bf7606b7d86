"""Soak: many short jobs through one real worker process, and whether it grows.

    python -m bench.soak --jobs 20000 [--concurrency 64] [--every 250] [--front http]

Samples the worker's resident memory, open descriptors, threads and children while it works. Flat means: between the
second and the last quarter of the jobs the median of each moved by no more than a few percent. Every answer is checked
as well. Exit status 1 when something grew, or an answer was wrong.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import aiohttp

from bench.chaos_checks import READERS, Corrupt
from local.platform_records import Limits
from local.runpod_platform import Platform
from server.guard import descendants
from tests.worker import WorkerProcess, contract_environ

# What a count may move: this share of it, or so many, whichever is more. Descriptors and memory breathe with the
# connections and buffers of the jobs that happen to run at a sample.
_ROOM = {"resident MB": (0.03, 2.0), "descriptors": (0.05, 8), "threads": (0.0, 2), "children": (0.0, 0)}


@dataclass(frozen=True)
class Sample:
    """The worker process after so many ended jobs. children: of its whole tree."""

    jobs: int
    values: dict[str, float]


def sample(pid: int, jobs: int) -> Sample:
    """Read /proc."""
    with open(f"/proc/{pid}/status") as f:
        status = dict(line.rstrip("\n").split(":\t", 1) for line in f if ":\t" in line)
    return Sample(jobs, {
        "resident MB": int(status["VmRSS"].split()[0]) / 1000, "descriptors": len(os.listdir(f"/proc/{pid}/fd")),
        "threads": int(status["Threads"]), "children": len(descendants(pid))})


@dataclass
class Report:
    """samples in order; wrong: answers that were not what they had to be; breath: descriptors that come and go."""

    jobs: int
    concurrency: int
    samples: list[Sample] = field(default_factory=list)
    idle: Sample | None = None
    wrong: list[str] = field(default_factory=list)
    seconds: float = 0.0
    status: int | None = None
    breath: int = 0

    def quarter(self, number: int, name: str) -> float:
        """The median of a quarter (1 to 4) of the jobs."""
        low, high = self.jobs * (number - 1) / 4, self.jobs * number / 4
        return statistics.median(s.values[name] for s in self.samples if low < s.jobs <= high)

    def moved(self) -> dict[str, tuple[float, float, bool]]:
        """name: (median of the second quarter, of the last, whether it grew)."""
        found = {}
        for name, (share, least) in _ROOM.items():
            before, after = self.quarter(2, name), self.quarter(4, name)
            room = max(share * before, least, self.breath if name == "descriptors" else 0)
            found[name] = before, after, after - before > room
        return found

    @property
    def clean(self) -> bool:
        return not self.wrong and self.status == 0 and not any(grew for _, _, grew in self.moved().values())

    def markdown(self) -> str:
        names = list(_ROOM)
        lines = ["| jobs | " + " | ".join(names) + " |", "|---|" + "---|" * len(names)]
        step = max(1, len(self.samples) // 10)
        for one in [*self.samples[step - 1::step], *([self.idle] if self.idle else [])]:
            label = f"{one.jobs}, idle" if one is self.idle else str(one.jobs)
            lines.append(f"| {label} | " + " | ".join(f"{one.values[name]:.4g}" for name in names) + " |")
        lines += ["", "| | second quarter | last quarter | |", "|---|---|---|---|"]
        lines += [f"| {name} (median) | {before:.4g} | {after:.4g} | {'grew' if grew else 'flat'} |"
                  for name, (before, after, grew) in self.moved().items()]
        lines.append(f"\n{self.jobs} jobs at concurrency {self.concurrency} in {self.seconds:.0f} s, "
                     f"{len(self.wrong)} wrong, exit status {self.status}: {'flat' if self.clean else 'NOT CLEAN'}")
        return "\n".join(lines)


def question(index: int) -> tuple[dict, str, str]:
    """The job's input, how its output is read, and what it must be."""
    text = f"Answer {index}: Paris, 東京."
    script = "#script " + json.dumps({"text": text})
    messages = [{"role": "user", "content": script}]
    return (({"messages": messages, "stream": True}, "chat-stream", text), ({"messages": messages}, "chat", text),
            ({"text": script}, "generate", text), ({"prompt": script, "stream": True}, "completion-stream", text),
            ({"text": script, "stream": True}, "generate-stream", text))[index % 5]


async def fed(report: Report, worker: WorkerProcess, at_once: int, every: int, progress: Callable[[str], None],
              ask: Callable[[int], Awaitable[None]], forget: Callable[[], object] = lambda: None) -> None:
    """`ask(index)` for each of the report's jobs, `at_once` at a time, and a sample of the worker after every so many;
    then its end. What `ask` raises is a job that went wrong. `forget`: called now and then, to let go of what is kept
    of jobs that are over."""
    room, ended, started = asyncio.Semaphore(at_once), 0, time.monotonic()

    async def one(index: int) -> None:
        nonlocal ended
        try:
            await ask(index)
        except (Corrupt, aiohttp.ClientError, TimeoutError, ValueError) as error:
            report.wrong.append(f"job {index}: {type(error).__name__} {error}"[:500])
        ended += 1
        if ended % every == 0:
            report.samples.append(sample(worker.process.pid, ended))
        if ended % (20 * every) == 0:
            progress(f"{time.monotonic() - started:5.0f} s: {ended} of {report.jobs}, {report.samples[-1].values}")
            worker.lines.clear()
            forget()
        room.release()

    async with asyncio.TaskGroup() as group:
        for index in range(report.jobs):
            await room.acquire()
            group.create_task(one(index))
    report.idle = sample(worker.process.pid, ended)
    worker.process.terminate()
    report.status = await worker.ended(60)


async def run(jobs: int, concurrency: int, every: int, progress: Callable[[str], None]) -> Report:
    """Feed the jobs, `concurrency` and a few waiting, and sample the worker."""
    report, started = Report(jobs, concurrency), time.monotonic()
    environ = contract_environ(MAX_CONCURRENCY=str(concurrency))
    async with (Platform(limits=Limits(keep_run=20.0), long_poll=5) as platform,
                WorkerProcess(platform, environ) as worker):
        await worker.line("serving tiny", 120)

        async def ask(index: int) -> None:
            job_input, reading, text = question(index)
            job = await platform.submit(job_input)
            await job.finished(120)
            if job.status != "COMPLETED" or READERS[reading](job.output) != [text]:
                raise Corrupt(f"{job.status} {job.error} {job.output}")

        await fed(report, worker, concurrency * 2, every, progress, ask, platform.calls.clear)
    report.seconds = time.monotonic() - started
    return report


def main(argv: list[str] | None = None) -> int:
    p = argparse.ArgumentParser(prog="python -m bench.soak", description=__doc__,
                                formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--jobs", type=int, default=20_000, help="default: %(default)s")
    p.add_argument("--concurrency", type=int, default=64, help="default: %(default)s")
    p.add_argument("--every", type=int, default=250, help="jobs between two samples (default: %(default)s)")
    p.add_argument("--out", metavar="FILE", help="every sample as JSON")
    p.add_argument("--front", choices=("queue", "http"), default="queue",
                   help="how the jobs come in (default: %(default)s)")
    options = p.parse_args(argv)
    from bench import soak_http  # not above: it stands on this module

    feed = soak_http.run if options.front == "http" else run
    report = asyncio.run(feed(options.jobs, options.concurrency, options.every,
                              lambda line: print(line, file=sys.stderr, flush=True)))
    if options.out:
        with open(options.out, "w", encoding="utf-8") as f:
            json.dump([{"jobs": one.jobs, **one.values} for one in report.samples], f, indent=1)
    print(report.markdown())
    for line in report.wrong[:20]:
        print(f"\n{line}")
    return 0 if report.clean else 1


if __name__ == "__main__":
    sys.exit(main())
