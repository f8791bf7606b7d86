"""Freezes: workers that are frozen and thawed at random moments, their connections kept, closed or gone without a word.

    python -m bench.freezes --count 1000 [--workers 12] [--seed 1]

Each worker has a platform of its own and a forwarder between the two; all its processes are stopped for two to four
seconds, at rest, in the middle of streams, of a POST, or of its engine's restart. Every job must end as it would have:
exactly its own text, once, in order. What the platform handed out over a connection that was gone is the platform's to
hand out again, as it learns from the pings. Exit status 1 when something else was lost, hung or doubled.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import itertools
import random
import sys
import time
from collections.abc import Callable

from bench.chaos_checks import READERS, Corrupt
from bench.freezes_report import Report
from clock import LONGEST
from local.forwarder import Forwarder
from local.frost import freeze, thaw
from local.platform_waiting import Handle
from local.runpod_platform import Platform
from tests.support import say
from tests.worker import WorkerProcess, contract_environ

MOMENTS = {"idle": 3, "stream": 3, "post": 3, "restart": 1}  # how often each
WAYS = ("kept", "closed", "vanished", "vanished for both")
_FROST = LONGEST + 0.3, LONGEST + 2.0  # seconds
_WITHIN = 90.0  # seconds after which a job counts as hung
_PING = 1.0  # seconds
_ENVIRON = {"SGLANG_HANG_TIMEOUT": "8", "SGLANG_MAX_RESTARTS": "1000000", "MAX_CONCURRENCY": "16"}


class Victim:
    """One worker, frozen again and again."""

    def __init__(self, platform: Platform, forwarder: Forwarder, worker: WorkerProcess, dice: random.Random,
                 report: Report):
        self.platform, self.forwarder, self.worker = platform, forwarder, worker
        self.dice, self.report = dice, report
        self._numbers = itertools.count()
        self.jobs: list[tuple[Handle, str, str]] = []  # of this round: the job, how it is read, its text
        self.restarts = 0

    async def round(self) -> None:
        """One freeze, and all the jobs around it."""
        moment = self.dice.choices(list(MOMENTS), list(MOMENTS.values()))[0]
        way, seconds = self.dice.choice(WAYS), self.dice.uniform(*_FROST)
        self.jobs.clear()
        thawed = self.worker.output.count("thawed after ")
        await getattr(self, f"_{moment}")(seconds)
        assert self.worker.process is not None
        stopped = freeze(self.worker.process.pid)
        try:
            if way == "closed":
                self.forwarder.close()
            elif way != "kept":
                self.forwarder.swallow(told=way == "vanished")
            await asyncio.sleep(seconds / 2)
            if self.dice.random() < 0.5:
                await self._submit()
            await asyncio.sleep(seconds / 2)
        finally:
            thaw(stopped)
        began = time.monotonic()
        first = await self._submit()
        losses = asyncio.create_task(self._hand_out_again(way))
        try:
            await first.finished(_WITHIN)
            if first.attempts == 1 and moment != "restart":
                self.report.recovered(way, time.monotonic() - began)
            await asyncio.gather(*(job.finished(_WITHIN) for job, _, _ in self.jobs))
        except TimeoutError:
            pass  # seen below
        finally:
            losses.cancel()
        self.platform.faults.clear()
        if self.worker.output.count("thawed after ") == thawed:
            with contextlib.suppress(TimeoutError):
                await self.worker.line("thawed after ", 5)
        said = self.worker.output.count("thawed after ") - thawed
        self.report.noticed += said > 0
        self.report.extra += max(0, said - 1)
        self._judge(moment, way)

    # ------------------------------------------------------------ moments
    async def _idle(self, _seconds: float) -> None:
        await asyncio.sleep(self.dice.uniform(0, 0.3))

    async def _stream(self, _seconds: float) -> None:
        jobs = [await self._submit(tps=self.dice.choice((20, 40, 200))) for _ in range(self.dice.randint(1, 6))]
        await jobs[0].until(lambda job: job.chunks or job.is_final, _WITHIN)
        await asyncio.sleep(self.dice.uniform(0, 1.0))

    async def _post(self, seconds: float) -> None:
        kind = self.dice.choice(("job-stream", "job-done"))
        begun = self.platform.begun[kind]
        self.platform.faults.slow(kind, self.dice.uniform(0.1, seconds + 1), times=1)
        await self._submit(tps=200)
        await self.platform.wait_for(lambda: self.platform.begun[kind] > begun, _WITHIN)
        await asyncio.sleep(self.dice.uniform(0, 0.1))

    async def _restart(self, _seconds: float) -> None:
        self.restarts += 1
        deadly = {"messages": say({"die_at": 0, "die_code": 7}, f"{next(self._numbers)} ")}
        await (await self.platform.submit(deadly)).finished(_WITHIN)
        await self._submit()
        await asyncio.sleep(self.dice.uniform(0, 1.5))  # the pause before it, the start, the time after it

    # ------------------------------------------------------------ jobs
    async def _submit(self, tps: float = 0.0) -> Handle:
        number = next(self._numbers)
        text = " ".join(f"{number}.{word}" for word in range(self.dice.randint(1, 60)))
        streamed = tps > 0 or self.dice.random() < 0.5
        job = await self.platform.submit({"messages": say({"text": text, "tps": tps}), "stream": streamed})
        self.jobs.append((job, "chat-stream" if streamed else "chat", text))
        return job

    async def _hand_out_again(self, way: str) -> None:
        """As the platform does with jobs that their worker says nothing of in its pings."""
        record, since = self.platform.store.workers["worker-1"], time.monotonic()
        while True:
            await asyncio.sleep(_PING / 4)
            for job, _, _ in self.jobs:
                if job.status == "IN_PROGRESS" and job.id not in record.jobs \
                        and (record.last_ping or 0) > max(since, job.taken) + 2 * _PING:
                    if way == "kept":
                        self.report.wrong("lost", f"{job.id}: the worker has it no more")
                    self.report.handed_out_again[way] += 1
                    self.platform.requeue(job.id)

    def _judge(self, moment: str, way: str) -> None:
        self.report.frozen(moment, way)
        for job, reading, text in self.jobs:
            what = f"{moment}, {way}: {job.id} {job.status} {job.error or ''}"[:500]
            if job.status == "IN_QUEUE":
                self.report.wrong("lost", what)
            elif not job.is_final:
                self.report.wrong("hung", what)
            elif job.status != "COMPLETED":
                self.report.wrong("failed", what)
            else:
                self._read(job, reading, text, what)
        if (found := self.worker.output.count("restarting the engine")) != self.restarts:
            self.report.wrong("failed", f"{moment}, {way}: {found} restarts in place of {self.restarts}")
            self.restarts = found

    def _read(self, job: Handle, reading: str, text: str, what: str) -> None:
        try:
            exact = READERS[reading](job.output) == [text]
        except (Corrupt, TypeError) as error:
            exact, what = False, f"{what}: {error}"[:500]
        self.report.jobs += exact
        if not exact:
            self.report.wrong("doubled", f"{what}: not its own text, once")
        if reading != "chat-stream":
            return
        # A chunk that took effect and lost its answer is posted again, at once after itself.
        shown = [chunk.output for chunk in job.chunks]
        once = [chunk for chunk, _ in itertools.groupby(shown)]
        self.report.chunks_twice += len(shown) - len(once)
        if "".join(once) != "".join(job.output or ()):
            self.report.wrong("doubled", f"{what}: its chunks are not its result")
        if len(shown) > len(once) and job.attempts == 1 and " kept: " in what and "post" not in what:
            self.report.wrong("doubled", f"{what}: a chunk twice over connections that were kept")


async def _worker(rounds: Callable[[], int | None], seed: int, report: Report) -> None:
    async with Platform(long_poll=600) as platform, Forwarder(platform.port) as forwarder:
        worker = WorkerProcess(platform, contract_environ(**_ENVIRON), ready_within=180)
        worker.environ = forwarder.environ(worker.environ) | {"RUNPOD_PING_INTERVAL": str(int(1000 * _PING))}
        async with worker:
            await worker.connected()
            await platform.wait_for(lambda: "worker-1" in platform.store.workers, 180)
            victim = Victim(platform, forwarder, worker, random.Random(seed), report)
            while rounds() is not None:
                await victim.round()
                platform.calls.clear()
                if worker.process is None or worker.process.returncode is not None:
                    report.wrong("failed", f"the worker ended with {worker.process.returncode}:\n"
                                 + "\n".join(worker.lines[-20:]))
                    return
            if "no sign of life" in worker.output:
                report.wrong("failed", "an engine was taken for hung")
            worker.process.terminate()
            status = await worker.ended(120)
            if status:
                report.wrong("failed", f"the worker ended with {status}")


async def run(count: int, workers: int, seed: int, progress: Callable[[str], None] = lambda line: None) -> Report:
    """`count` freezes, spread over so many workers."""
    report, began, numbers = Report(count, workers), time.monotonic(), itertools.count()

    def rounds() -> int | None:
        number = next(numbers)
        if number % 50 == 0:
            progress(f"{time.monotonic() - began:5.0f} s: {min(number, count)} of {count} {dict(report.bad)}")
        return number if number < count else None

    async with asyncio.TaskGroup() as group:
        for index in range(workers):
            group.create_task(_worker(rounds, seed * 1000 + index, report))
    report.seconds = time.monotonic() - began
    return report


def main(argv: list[str] | None = None) -> int:
    p = argparse.ArgumentParser(prog="python -m bench.freezes", description=__doc__,
                                formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--count", type=int, default=1000, help="default: %(default)s")
    p.add_argument("--workers", type=int, default=12, help="side by side (default: %(default)s)")
    p.add_argument("--seed", type=int, default=1)
    options = p.parse_args(argv)
    report = asyncio.run(run(options.count, options.workers, options.seed,
                             lambda line: print(line, file=sys.stderr, flush=True)))
    print(report.markdown())
    for problem in report.problems[:40]:
        print(f"\n{problem}")
    return 0 if report.clean else 1


if __name__ == "__main__":
    sys.exit(main())
