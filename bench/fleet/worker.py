"""One worker: the jobs that it runs share the engine, each the slower the more there are."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from heapq import heappop, heappush

import simpy

from bench.fleet.curves import Curve

_NEARLY = 1e-9


@dataclass(slots=True)
class Job:
    """Seconds of the simulation: it came, was taken by a worker, had its first token, ended. tokens: of its answer."""

    came: float
    tokens: float
    taken: float = -1.0
    first: float = -1.0
    ended: float = -1.0


class Worker:
    """Takes jobs; calls `done(worker, job)` at the end of each.

    All streams advance alike, so one number, how many tokens a stream that was always there would have by now, says of
    each job when it ends.
    """

    __slots__ = ("env", "curve", "done", "running", "began", "ready", "idle_since", "busy", "_ends", "_each", "_at",
                 "_turn", "_count")

    def __init__(self, env: simpy.Environment, curve: Curve, done: Callable[[Worker, Job], None]):
        self.env, self.curve, self.done = env, curve, done
        self.running = 0
        self.began = env.now           # its start, from which it is paid for
        self.ready = -1.0              # when it took its first look for jobs; below 0: it still starts
        self.idle_since = -1.0         # below 0: it has jobs
        self.busy = 0.0                # seconds with at least one job, up to the last change
        self._ends: list[tuple[float, int, Job]] = []
        self._each, self._at = 0.0, env.now
        self._turn = self._count = 0

    def take(self, job: Job) -> None:
        now = self.env.now
        self.advance()
        self.running += 1
        self.idle_since = -1.0
        job.taken = now
        wait = self.curve.ttft(self.running)
        if wait > 0:
            self.env.timeout(wait, job).callbacks.append(self._first_token)
        else:
            self._generates(job)
        self._next_end()

    def _first_token(self, event: simpy.Event) -> None:
        self.advance()
        self._generates(event.value)
        self._next_end()

    def _generates(self, job: Job) -> None:
        job.first = self.env.now
        self._count += 1
        # Where the first token costs time of its own, it is not made again.
        more = job.tokens - 1 if job.first > job.taken else job.tokens
        heappush(self._ends, (self._each + more, self._count, job))

    def advance(self) -> None:
        """Reckon up to now, at the speed since the last change."""
        now = self.env.now
        if self.running:
            self._each += (now - self._at) / self.curve.tpot(self.running)
            self.busy += now - self._at
        self._at = now

    def _next_end(self) -> None:
        self._turn += 1
        if self._ends:
            left = max(0.0, self._ends[0][0] - self._each) * self.curve.tpot(self.running)
            self.env.timeout(left, self._turn).callbacks.append(self._maybe_ended)

    def _maybe_ended(self, event: simpy.Event) -> None:
        if event.value != self._turn:
            return  # more or fewer jobs since: another moment was reckoned
        self.advance()
        ended = []
        while self._ends and self._ends[0][0] <= self._each + _NEARLY * max(1.0, self._each):
            ended.append(heappop(self._ends)[2])
        self.running -= len(ended)
        if not self.running:
            self.idle_since = self.env.now
            self._each = 0.0
        self._next_end()
        for job in ended:
            job.ended = self.env.now
            self.done(self, job)
