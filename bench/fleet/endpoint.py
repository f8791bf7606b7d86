"""The endpoint: a queue, workers that come and go by the scaler, and what they are paid for."""

from __future__ import annotations

import math
import random
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import simpy

from bench.fleet.curves import Curve, Starts
from bench.fleet.scalers import Scaler
from bench.fleet.traffic import Request
from bench.fleet.worker import Job, Worker

_AGAIN = 1.0  # seconds after which an idle worker that the scaler still wants is looked at again


@dataclass(frozen=True)
class Endpoint:
    """The settings. concurrency: jobs that a worker runs at once. idle, cold, thawed: seconds.

    kept: how long after its end a worker can still be thawed in place of started, in seconds; 0 without FlashBoot.
    spread: the worker that takes a job is any that has room, as when all ask the same queue; otherwise the one with the
    most jobs.
    """

    concurrency: int
    scaler: Scaler
    idle: float = 5.0
    active: int = 0
    most: int = 3
    kept: float = 0.0
    cold: Starts = Starts(60.0)
    thawed: Starts = Starts(7.5)
    spread: bool = True


@dataclass
class Outcome:
    """jobs: all of them, ended. flex, always: GPU seconds of workers that come and go, and of active ones, since
    `warm`. busy: of both, with at least one job. starts, thaws: how often; most: workers at once; seconds: until the
    last job had ended."""

    jobs: list[Job]
    flex: float = 0.0
    always: float = 0.0
    busy: float = 0.0
    starts: int = 0
    thaws: int = 0
    most: int = 0
    seconds: float = 0.0


def run(settings: Endpoint, curve: Curve, requests: Sequence[Request], seed: int = 0, warm: float = 0.0) -> Outcome:
    """Play `requests` to their end. Active workers are ready at the beginning; nothing before `warm` counts."""
    return _Play(settings, curve, requests, seed, warm).outcome()


class _Play:
    def __init__(self, settings: Endpoint, curve: Curve, requests: Sequence[Request], seed: int, warm: float):
        self.settings, self.curve, self.warm = settings, curve, warm
        self.env = simpy.Environment()
        self.rng = random.Random(f"endpoint {seed}")
        self.queue: deque[Job] = deque()
        self.workers: list[Worker] = []
        self.frozen: list[float] = []  # when each worker that could be thawed ended, the newest last
        self.running = 0
        self.added = -math.inf
        self.watched = False
        self.found = Outcome([Job(at, tokens) for at, tokens in requests])
        for _ in range(settings.active):
            self._ready(self._worker())
        self.env.process(self._arrivals())
        if warm:
            self.env.timeout(warm).callbacks.append(self._warmed)

    def outcome(self) -> Outcome:
        jobs = self.found.jobs
        while jobs and jobs[-1].ended < 0 or self.queue or self.running:
            self.env.step()
        self.found.seconds = end = max(self.env.now, jobs[-1].came if jobs else 0.0)
        for worker in list(self.workers):
            self._account(worker, end)
        always = self.settings.active * _billed(end - self.warm)
        self.found.always, self.found.flex = always, max(0.0, self.found.flex - always)
        return self.found

    # -------------------------------------------------------------- requests
    def _arrivals(self):
        for job in self.found.jobs:
            yield self.env.timeout(job.came - self.env.now)
            self.queue.append(job)
            self._hand_out()
            self._scale()

    def _hand_out(self) -> None:
        limit = self.settings.concurrency
        while self.queue:
            free = [worker for worker in self.workers if worker.ready >= 0 and worker.running < limit]
            if not free:
                return
            if len(free) == 1:
                worker = free[0]
            elif self.settings.spread:
                worker = self.rng.choice(free)
            else:
                worker = max(free, key=lambda one: one.running)
            self.running += 1
            worker.take(self.queue.popleft())

    def _done(self, worker: Worker, job: Job) -> None:
        self.running -= 1
        if self.queue:
            self._hand_out()
        if not worker.running:
            self._idles(worker)

    # --------------------------------------------------------------- workers
    def _warmed(self, event: simpy.Event) -> None:
        for worker in self.workers:
            worker.advance()
            worker.busy = 0.0

    def _scale(self) -> None:
        settings = self.settings
        wanted = min(settings.most, settings.scaler.wanted(len(self.queue), self.running))
        while len(self.workers) < wanted:
            self._start()
        if self.queue and not self.watched and (due := settings.scaler.due(self.queue[0].came, self.added)) is not None:
            self.watched = True
            self.env.timeout(max(0.0, due - self.env.now)).callbacks.append(self._waited)

    def _waited(self, event: simpy.Event) -> None:
        """The moment at which the oldest request, if it still waits, has waited too long."""
        self.watched = False
        if not self.queue:
            return
        due = self.settings.scaler.due(self.queue[0].came, self.added)
        if due is not None and due <= self.env.now + 1e-9:
            self.added = self.env.now
            starting = sum(worker.ready < 0 for worker in self.workers)
            if len(self.workers) < self.settings.most and self.settings.scaler.adds(starting):
                self._start()
        self._scale()

    def _worker(self) -> Worker:
        worker = Worker(self.env, self.curve, self._done)
        self.workers.append(worker)
        self.found.most = max(self.found.most, len(self.workers))
        return worker

    def _start(self) -> None:
        worker, thawed = self._worker(), bool(self.frozen) and self.frozen[-1] + self.settings.kept >= self.env.now
        if thawed:
            self.frozen.pop()
        if self.env.now >= self.warm:
            self.found.starts += not thawed
            self.found.thaws += thawed
        wait = (self.settings.thawed if thawed else self.settings.cold).draw(self.rng)
        self.env.timeout(wait, worker).callbacks.append(lambda event: self._ready(event.value))

    def _ready(self, worker: Worker) -> None:
        worker.ready = worker.idle_since = self.env.now
        self._hand_out()
        if not worker.running:
            self._idles(worker)

    def _idles(self, worker: Worker) -> None:
        if len(self.workers) > self.settings.active:
            self.env.timeout(self.settings.idle, (worker, worker.idle_since)).callbacks.append(self._idle_long)

    def _idle_long(self, event: simpy.Event) -> None:
        worker, since = event.value
        if worker.idle_since != since or worker not in self.workers:
            return
        needed = max(self.settings.active, min(self.settings.most,
                                               self.settings.scaler.wanted(len(self.queue), self.running)))
        if len(self.workers) > needed:
            self._account(worker, self.env.now)
            if self.settings.kept:
                self.frozen.append(self.env.now)
        elif len(self.workers) > self.settings.active:
            self.env.timeout(_AGAIN, (worker, since)).callbacks.append(self._idle_long)

    def _account(self, worker: Worker, end: float) -> None:
        """The worker ends."""
        self.workers.remove(worker)
        worker.advance()
        begun = max(worker.began, self.warm)
        if end > begun:
            self.found.flex += _billed(end - begun)
            self.found.busy += worker.busy


def _billed(seconds: float) -> int:
    """Whole seconds, as they are paid for (runpod/docs serverless/pricing.mdx)."""
    return max(0, math.ceil(seconds - 1e-9))
