"""Chaos over HTTP: the real worker process and the scripted engine, with everything going wrong at once.

Engines end, are killed and hang; clients go away, read nothing for seconds, send nonsense, and are more than there is
room for. Every request's end is known beforehand (chaos_http_plan.py); in the end nothing may be left of any.
`python -m bench.chaos --front http` runs it.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
import sys
import time
from collections import Counter

import aiohttp

from bench.chaos_checks import BAD
from bench.chaos_engine import EngineWatch, gone, tree
from bench.chaos_http_checks import HttpFacts, judge
from bench.chaos_http_client import Answer, ask, name_of
from bench.chaos_http_plan import ENVIRON, ROOM, Asked, HttpPlan
from bench.chaos_http_report import HttpReport
from bench.process_usage import with_fronts
from bench.soak import sample
from tests.support import free_port
from tests.worker import WorkerProcess, contract_environ

_PATIENCE = 120.0  # seconds that a request may take
_AFTER_REFUSAL = 1.0  # seconds that a client stays away which was told that there is no room
_LATE = 15.0  # seconds that the engine may go on for a client that has gone: a bound for a busy machine, not a figure
_EMPTY_WITHIN = 60.0  # seconds until nothing is left; idle connections to the engine are kept for 30
_GROWTH = 30.0  # megabytes that the process may keep of the load
_TROUBLE = re.compile("internal error|never retrieved|never awaited|Unclosed|Task was destroyed|Traceback")


class HttpChaos:
    """One run of a plan. processes: that carry the requests; of several, some are killed."""

    def __init__(self, plan: HttpPlan, seed: int, concurrency: int, processes: int = 1):
        self.plan, self.seed, self.concurrency = plan, seed, concurrency
        self.report = HttpReport({"requests": len(plan.requests), "seed": seed, "concurrency": concurrency,
                                  "processes": processes})
        self.processes = processes
        # Descriptors that come and go; with several processes also those that each opens once for its threads.
        self._breath = 4 if processes == 1 else 5 * (1 + processes)
        self._falls: list[tuple[float, float]] = []  # of front processes: when each was killed, and was back
        self.room = max(1, int(concurrency * ROOM))
        self.answers: dict[int, Answer] = {}
        self.worker = WorkerProcess(None, contract_environ(**ENVIRON, PORT=str(free_port()),
                                                           MAX_CONCURRENCY=str(self.room),
                                                           HTTP_PROCESSES=str(processes)))
        self._under_way: dict[int, int] = {}  # the most that were under way at once while a request was
        self._hurting = asyncio.Lock()
        self._delays: dict[str, float] = {}

    async def run(self) -> HttpReport:
        started = time.monotonic()
        async with self.worker, contextlib.AsyncExitStack() as stack:
            self._session = await stack.enter_async_context(aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(20)))
            await self.worker.line("serving over HTTP", 120)
            self._pid = self.worker.process.pid
            self._watch = EngineWatch(self._pid)
            following = asyncio.create_task(self._watch.run())
            stack.callback(following.cancel)
            progress = asyncio.create_task(self._progress(started))
            stack.callback(progress.cancel)
            self.report.samples["before"] = self._sample(0)
            await self._feed()
            progress.cancel()
            await self._emptied()
            following.cancel()
            await self._stopped()
            self._conclude()
        self.report.seconds = time.monotonic() - started
        return self.report

    # ------------------------------------------------------------ requests
    async def _feed(self) -> None:
        room, port = asyncio.Semaphore(self.concurrency), int(self.worker.environ["PORT"])

        async def one(asked: Asked) -> None:
            try:
                self._under_way[asked.index] = 0
                for index in self._under_way:
                    self._under_way[index] = max(self._under_way[index], len(self._under_way))
                answer = await ask(port, asked, name_of(self.seed, asked.index))
                answer.crowd = self._under_way[asked.index]
                self.answers[asked.index] = answer
            finally:
                self._under_way.pop(asked.index, None)
            if answer.status == 429:  # or all of the plan would be refused while an engine starts
                await asyncio.sleep(_AFTER_REFUSAL)
            room.release()

        async with asyncio.TaskGroup() as group:
            for asked in self.plan.requests:
                await room.acquire()
                group.create_task(one(asked))
                if fault := self.plan.faults.get(asked.index):
                    group.create_task(self._hurt(fault))
                if asked.index == len(self.plan.requests) // 5:
                    self.report.samples["after a fifth"] = self._sample(asked.index)
                if self.processes > 1 and asked.index in self._falling:
                    group.create_task(self._fell())

    @property
    def _falling(self) -> set[int]:
        """The requests at which a front process is killed: three, so that the worker bears it."""
        return {len(self.plan.requests) * part // 4 for part in (1, 2, 3)}

    async def _fell(self) -> None:
        fronts = await asyncio.to_thread(with_fronts, self._pid)
        self.report.faults["front process"] += 1
        began = time.monotonic()
        os.kill(fronts[1], signal.SIGKILL)
        async with asyncio.timeout(_PATIENCE):
            now = fronts
            while len(now) <= self.processes or fronts[1] in now:
                await asyncio.sleep(0.05)
                now = await asyncio.to_thread(with_fronts, self._pid)
        self._falls.append((began, time.monotonic()))

    def _sample(self, ended: int) -> dict[str, float]:
        """What the worker's processes have, all together."""
        values: Counter[str] = Counter()
        for pid in with_fronts(self._pid):
            values.update(sample(pid, ended).values)
        return dict(values)

    async def _hurt(self, fault: str) -> None:
        self.report.faults[fault] += 1
        if fault == "exit":  # the request itself is the fault
            self._watch.hurt += 1
            return
        async with self._hurting, asyncio.timeout(_PATIENCE):
            while await self._engine("/ready") != 200:  # noqa: ASYNC110 - it is another process's
                await asyncio.sleep(0.1)
            await self._measure()
            await self._watch.hit(fault)

    async def _progress(self, started: float) -> None:
        while True:
            await asyncio.sleep(2)
            statuses = Counter(answer.status for answer in self.answers.values())
            print(f"{time.monotonic() - started:5.0f} s: {len(self.answers)} of {len(self.plan.requests)} ended, "
                  f"{len(self._under_way)} under way, {len(self._watch.ends)} engines ended, {dict(statuses)}",
                  file=sys.stderr, flush=True)

    # ------------------------------------------------------------ what the engine says
    async def _engine(self, path: str):
        """What the engine itself says, None when there is no answer."""
        url = f"http://127.0.0.1:{self.worker.environ['SGLANG_PORT']}{path}"
        with contextlib.suppress(aiohttp.ClientError, TimeoutError, ValueError):
            async with self._session.get(url) as response:
                return await response.json() if response.content_type == "application/json" else response.status

    async def _measure(self) -> None:
        """How long the present engine went on for clients that had gone."""
        to_wall = time.time() - time.monotonic()
        left = {answer.name: answer.left + to_wall for answer in self.answers.values() if answer.left}
        now = time.time()
        for request in await self._engine("/_scripted/requests") or []:
            name = request["headers"].get("x-request-id", "")
            if name in left and (delay := (request["ended"] or now) - left[name]) > 0:
                self._delays[name] = max(delay, self._delays.get(name, 0.0))

    # ------------------------------------------------------------ the end
    async def _emptied(self) -> None:
        """Wait until neither engine nor worker holds anything of the requests, and say what they still hold."""
        before, deadline, busy = self.report.samples["before"], time.monotonic() + _EMPTY_WITHIN, None
        while time.monotonic() < deadline:
            state = await self._engine("/_scripted/process")
            busy = state and {key: state[key] for key in ("running", "queued") if state[key]}
            values = self._sample(len(self.answers))
            if state and not busy and values["descriptors"] <= before["descriptors"] + self._breath:
                break
            await asyncio.sleep(0.5)
        else:
            self.report.problems.append(f"not idle after {_EMPTY_WITHIN:.0f} s: the engine {busy}, the worker {values}")
        self.report.samples["idle at the end"] = values
        base = self.report.samples.get("after a fifth", before)
        if values["resident MB"] - base["resident MB"] > _GROWTH:
            self.report.problems.append(f"memory: {base['resident MB']} MB after a fifth, {values['resident MB']} idle")
        await self._measure()

    async def _stopped(self) -> None:
        """SIGTERM, and an orderly end."""
        children = set(await asyncio.to_thread(tree, self._pid))
        self.worker.process.send_signal(signal.SIGTERM)
        try:
            status = await self.worker.ended(120)
        except TimeoutError:
            self.report.problems.append("the worker did not end within 120 s of SIGTERM")
            return
        if status != 0:
            self.report.problems.append(f"the worker ended with {status}:\n" + "\n".join(self.worker.lines[-30:]))
        if not any("stopping: 0 running requests" in line for line in self.worker.lines):
            self.report.problems.append("the worker still had requests when all had ended")
        if left := [pid for pid in children if not gone(pid)]:
            self.report.problems.append(f"the worker left processes behind: {left}")

    def _conclude(self) -> None:
        report, facts = self.report, HttpFacts(self._watch.ends, self.room, _PATIENCE, self._falls)
        for asked in self.plan.requests:
            verdict = judge(asked, self.answers.get(asked.index), facts)
            report.verdicts.append((asked, verdict))
            if verdict.outcome in BAD:
                report.problems.append(f"{verdict.outcome}: request {asked.index} ({asked.planned.kind}): "
                                       f"{verdict.detail}\n    {asked.method} {asked.path} {str(asked.body)[:600]}")
        report.restarts = sum("restarted: " in line for line in self.worker.lines)
        if unexplained := max(0, len(self._watch.ends) - self._watch.hurt):
            report.problems.append(f"{unexplained} engines ended for no reason of the plan")
        if trouble := [line for line in self.worker.lines if _TROUBLE.search(line)]:
            report.problems.append(f"the worker reports {len(trouble)} faults of its own:\n    "
                                   + "\n    ".join(line[:400] for line in trouble[:10]))
        report.stops = sorted(self._delays.values())
        report.problems += [f"the engine went on with {name} for {delay:.1f} s after its client had gone"
                            for name, delay in self._delays.items() if delay > _LATE]

