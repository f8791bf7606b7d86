"""What the platform's stand-in does wrong on purpose, and its record of every worker call."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

KINDS = ("job-take", "job-take-batch", "job-stream", "job-done", "job-stop", "ping")


@dataclass(frozen=True)
class Call:
    """One call of a worker. time: time.monotonic of its arrival; size: bytes of the body;
    status: what it was answered, 0 when the connection was dropped."""

    time: float
    kind: str
    worker_id: str
    job_id: str | None
    size: int
    status: int


@dataclass
class Fault:
    """One planned fault. `times` left (None: for ever), of a seeded `fraction` of the calls; `hurt`: the jobs that it
    met, in order."""

    kind: str
    status: int | None = None
    seconds: float = 0.0
    dropped: bool = False
    times: int | None = None
    fraction: float = 1.0
    after: bool = False
    job_id: str | None = None
    random: random.Random | None = None
    hurt: list[str | None] = field(default_factory=list)

    def hits(self, kind: str, job_id: str | None) -> bool:
        if kind != self.kind or self.times == 0 or self.job_id not in (None, job_id):
            return False
        if self.random is not None and self.random.random() >= self.fraction:
            return False
        if self.times is not None:
            self.times -= 1
        self.hurt.append(job_id)
        return True


class Faults:
    """The plan. Each method adds a fault for one kind of call; the first that fits a call is used.

    after: the call takes effect first and only its answer is lost, so that a retry repeats it.
    job_id: only calls of this job.
    """

    def __init__(self):
        self.plan: list[Fault] = []

    def fail(self, kind: str, status: int = 500, times: int | None = 1, *, after: bool = False,
             job_id: str | None = None) -> None:
        """Answer the next `times` calls with `status`."""
        self._add(Fault(kind, status=status, times=times, after=after, job_id=job_id))

    def fail_fraction(self, kind: str, fraction: float, status: int = 500, *, seed: int = 0,
                      after: bool = False) -> None:
        """Answer that share of the calls with `status`; the same seed picks the same calls."""
        self._add(Fault(kind, status=status, fraction=fraction, after=after, random=random.Random(seed)))

    def slow(self, kind: str, seconds: float, times: int | None = None, *, job_id: str | None = None) -> None:
        """Hold calls back for `seconds` before they take effect."""
        self._add(Fault(kind, seconds=seconds, times=times, job_id=job_id))

    def drop(self, kind: str, times: int | None = 1, *, after: bool = False,
             job_id: str | None = None) -> None:
        """Reset the connection instead of answering."""
        self._add(Fault(kind, dropped=True, times=times, after=after, job_id=job_id))

    def clear(self) -> None:
        self.plan.clear()

    def _add(self, fault: Fault) -> None:
        if fault.kind not in KINDS:
            raise ValueError(f"unknown kind of call {fault.kind!r}: one of {', '.join(KINDS)}")
        self.plan.append(fault)

    def pick(self, kind: str, job_id: str | None) -> Fault | None:
        return next((fault for fault in self.plan if fault.hits(kind, job_id)), None)
