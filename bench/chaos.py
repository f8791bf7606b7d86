"""Chaos: the real worker process, the platform stand-in and the scripted engine, with everything going wrong at once.

    python -m bench.chaos --jobs 5000 --concurrency 64 --seed 1 [--minutes N] [--out FILE]
    python -m bench.chaos --front http --jobs 5000 --concurrency 64 --seed 1

Engines end, are killed and hang; POSTs of chunks and results fail, break off, are slow or never answered, or lose their
answer; jobs are cancelled, run out of time, are the same as others that run, and ask for nonsense; the worker is told
to stop with jobs in flight, and a second one takes what is left.
Every job's end is known beforehand. Exit status 1 when one is lost, hung, duplicated or corrupted, or when a worker
does not end in order.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import random
import re
import sys
import time
from collections import Counter

from bench import chaos_http_plan, chaos_plan
from bench.chaos_checks import BAD, Facts, judge
from bench.chaos_http import HttpChaos
from bench.chaos_plan import Plan, Planned
from bench.chaos_report import Report
from bench.chaos_workers import Workers
from local.platform_faults import Fault
from local.platform_records import Job, Limits, Policy
from local.runpod_platform import Platform

_PATIENCE = 120.0  # seconds that a job may take from its submission; the longest limit of the plan is 20
_STUCK = 3600.0  # seconds: a POST that is never answered
# What the worker and the SDK say of their own faults. The engine's lines pass through beside them.
_TROUBLE = re.compile("internal error|Error handling job|Failed to return job|Error while returning|never retrieved|"
                      "never awaited|Unclosed|Task was destroyed|Failed to get job|failed during shutdown")


class Chaos:
    """One run of a plan. `seed` also decides which POSTs fail."""

    def __init__(self, plan: Plan, seed: int, concurrency: int, minutes: float = 0.0):
        self.plan, self.seed, self.concurrency, self.minutes = plan, seed, concurrency, minutes
        self.report = Report({"jobs": len(plan.jobs), "seed": seed, "concurrency": concurrency, "minutes": minutes})
        self.platform = Platform(limits=Limits(execution_timeout=(1, 10**9)), policy=Policy(), long_poll=5)
        self.jobs: dict[int, Job] = {}
        self.workers = Workers(self.platform, self.report, self.jobs, concurrency)
        self._tasks: set[asyncio.Task] = set()
        self._hurting = asyncio.Lock()
        self._final = 0
        self._stuck: list[Fault] = []

    async def run(self) -> Report:
        started = time.monotonic()
        async with self.platform, contextlib.AsyncExitStack() as stack:
            self._plan_posts()
            await self.workers.begin(stack)
            await self.workers.start()
            progress = self._spawn(self._progress(started), keep=False)
            await self._feed()
            await asyncio.gather(*self._tasks)
            progress.cancel()
            held = await self.workers.settled()
            await self.workers.stop(1)
            self._conclude(held)
        self.report.seconds = time.monotonic() - started
        return self.report

    def _spawn(self, work, keep: bool = True) -> asyncio.Task:
        task = asyncio.create_task(work)
        if keep:
            self._tasks.add(task)
        return task

    def _plan_posts(self) -> None:
        """5 % of the POSTs fail before they take effect, some are slow, a few are never answered, and all take a round
        trip. 2 % of the results take effect and lose their answer: those of chunks cannot be told from new chunks."""
        self.platform.post_delay_ms = 5
        for number, kind in enumerate(("job-stream", "job-done")):
            for place, fault in enumerate((
                    Fault(kind, status=502, fraction=0.02), Fault(kind, status=500, fraction=0.01),
                    Fault(kind, dropped=True, fraction=0.02), Fault(kind, seconds=0.25, fraction=0.03))):
                fault.random = random.Random(self.seed * 100 + 10 * number + place)
                self.platform.faults.plan.append(fault)
            stuck = max(1, len(self.plan.jobs) // 1000)
            fault = Fault(kind, seconds=_STUCK, times=stuck, fraction=0.02,
                          random=random.Random(self.seed * 100 + 50 + number))
            self.platform.faults.plan.append(fault)
            self._stuck.append(fault)
        for place, fault in enumerate((Fault("job-done", status=502, fraction=0.01, after=True),
                                       Fault("job-done", dropped=True, fraction=0.01, after=True))):
            fault.random = random.Random(self.seed * 100 + 60 + place)
            self.platform.faults.plan.append(fault)

    # ------------------------------------------------------------ jobs
    async def _feed(self) -> None:
        began = time.monotonic()
        room = asyncio.Semaphore(self.concurrency + self.concurrency // 2)  # so that some always wait in the queue
        for planned in self.plan.jobs:
            if self.minutes:
                due = began + planned.index / len(self.plan.jobs) * self.minutes * 60
                await asyncio.sleep(max(0.0, due - time.monotonic()))
            await room.acquire()
            policy = {"executionTimeout": planned.execution_timeout} if planned.execution_timeout else None
            handle = await self.platform.submit(planned.input, policy=policy)
            self.jobs[planned.index] = handle.record
            self._spawn(self._follow(planned, handle, room))
            if fault := self.plan.faults.get(planned.index):
                self._spawn(self._hurt(fault))
            if planned.index == self.plan.stop_at:
                await self.platform.wait_for(lambda: any(j.status == "IN_PROGRESS" for j in self.jobs.values()))
                self._spawn(self.workers.stop(0))
                self._spawn(self.workers.start())

    async def _follow(self, planned: Planned, handle, room: asyncio.Semaphore) -> None:
        async def cancel():
            await asyncio.sleep(planned.cancel_after)
            if not handle.is_final:
                await self.platform.cancel(handle.id)
        cancelling = asyncio.create_task(cancel()) if planned.cancel_after is not None else None
        try:
            with contextlib.suppress(TimeoutError):
                await handle.finished(_PATIENCE)
            self._final += handle.is_final
        finally:
            if cancelling:
                cancelling.cancel()
            room.release()

    async def _hurt(self, fault: str) -> None:
        self.report.faults[fault] += 1
        worker, watch, _ = self.workers.all[0]
        if fault == "exit":  # the job itself is the fault
            watch.hurt += 1
            return
        async with self._hurting:
            # One fault at a time: the back-off between restarts that fail is not what is tested here.
            async with asyncio.timeout(_PATIENCE):
                await self.workers.ready(worker)
                await self.workers.measure_stops(worker)
                await watch.hit(fault)

    async def _progress(self, started: float) -> None:
        while True:
            await asyncio.sleep(2)
            states = Counter(job.status for job in self.jobs.values())
            ends = sum(len(watch.ends) for _, watch, _ in self.workers.all)
            print(f"{time.monotonic() - started:5.0f} s: {len(self.jobs)} of {len(self.plan.jobs)} submitted, "
                  f"{self._final} ended, {states['IN_PROGRESS']} running, {states['IN_QUEUE']} waiting, "
                  f"{ends} engines ended", file=sys.stderr, flush=True)

    # ------------------------------------------------------------ the end
    def _conclude(self, held: frozenset[str]) -> None:
        report = self.report
        ends = {f"worker-{i + 1}": watch.ends for i, (_, watch, _) in enumerate(self.workers.all)}
        facts = Facts(ends, self.workers.stopping, float(chaos_plan.ENVIRON["DRAIN_TIMEOUT"]), held,
                      frozenset(job for fault in self._stuck for job in fault.hurt if job))
        accepted = Counter(call.job_id for call in self.platform.calls
                           if call.kind == "job-done" and call.status == 200)
        for planned in self.plan.jobs:
            job = self.jobs.get(planned.index)
            verdict = judge(planned, job, accepted[job.id] if job else 0, facts)
            report.verdicts.append((planned, verdict))
            if verdict.outcome in BAD:
                report.problems.append(f"{verdict.outcome}: job {planned.index} ({planned.kind}, "
                                       f"{job.id if job else '-'}): {verdict.detail}\n    "
                                       f"{json.dumps(planned.input)[:600]}")
        for kind in ("job-stream", "job-done"):
            statuses = [call.status for call in self.platform.calls if call.kind == kind]
            report.posts[kind] = {"taken": statuses.count(200), "dropped": statuses.count(0),
                                  "refused": sum(status >= 500 for status in statuses),
                                  "unanswered": self.platform.begun[kind] - len(statuses)}
        if self.platform.store.oversized_chunks:
            report.problems.append(f"{self.platform.store.oversized_chunks} chunks above the platform's limit")
        for number, (worker, watch, _) in enumerate(self.workers.all, 1):
            report.restarts += sum("restarted: " in line for line in worker.lines)
            report.unexplained += max(0, len(watch.ends) - watch.hurt)
            trouble = [line for line in worker.lines if _TROUBLE.search(line)]
            if trouble:
                report.problems.append(f"worker-{number} reports {len(trouble)} faults of its own:\n    "
                                       + "\n    ".join(line[:400] for line in trouble[:10]))
        if report.unexplained:
            report.problems.append(f"{report.unexplained} engines ended for no reason of the plan")


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(prog="python -m bench.chaos", description=__doc__,
                                formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--front", choices=("queue", "http"), default="queue",
                   help="http: requests instead of jobs, see chaos_http.py (default: %(default)s)")
    p.add_argument("--jobs", type=int, default=5000, help="default: %(default)s")
    p.add_argument("--concurrency", type=int, default=64, help="default: %(default)s")
    p.add_argument("--seed", type=int, default=1, help="default: %(default)s")
    p.add_argument("--http-processes", type=int, default=1, metavar="N",
                   help="that carry the requests over HTTP; of several, three are killed (default: 1)")
    p.add_argument("--faults", type=int, help="faults of the engine (default: one for 200 jobs, at least 5)")
    p.add_argument("--minutes", type=float, default=0.0, help="spread the jobs over so long; default: as they fit")
    p.add_argument("--out", metavar="FILE", help="the table as JSON")
    p.add_argument("--log", metavar="FILE", help="the workers' output")
    return p


def main(argv: list[str] | None = None) -> int:
    options = parser().parse_args(argv)
    faults = options.faults if options.faults is not None else max(5, options.jobs // 200)
    make = chaos_http_plan.make if options.front == "http" else chaos_plan.make
    plan = make(options.seed, options.jobs, options.concurrency, faults)
    if options.front == "http":
        chaos = HttpChaos(plan, options.seed, options.concurrency, options.http_processes)
    else:
        chaos = Chaos(plan, options.seed, options.concurrency, options.minutes)
    report = asyncio.run(chaos.run())
    if options.out:
        with open(options.out, "w", encoding="utf-8") as f:
            json.dump(report.data(), f, indent=2)
    if options.log:
        with open(options.log, "w", encoding="utf-8") as f:
            for worker in [chaos.worker] if options.front == "http" else [one for one, _, _ in chaos.workers.all]:
                f.write(worker.output + "\n\n")
    print(report.markdown())
    for problem in report.problems[:50]:
        print(f"\n{problem}")
    if len(report.problems) > 50:
        print(f"\n… and {len(report.problems) - 50} more")
    return 0 if report.clean else 1


if __name__ == "__main__":
    sys.exit(main())
