"""What a run comes to, and what several runs with other seeds say together. Pure."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from bench.fleet.endpoint import Outcome
from bench.serving_metrics import percentile

# Student's t, two-sided 95 %, by degrees of freedom; beyond, the normal distribution's is near enough.
_T = (math.inf, 12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145,
      2.131, 2.120, 2.110, 2.101, 2.093, 2.086)
_NORMAL = 1.96
UNCERTAIN = ("wait_p99", "first_p99", "late_share", "gpu_s", "dollars_million")  # what intervals are told of
LATE = 10.0  # seconds: a first token that comes later waited for a worker


@dataclass(frozen=True)
class Prices:
    """Dollars a second of one worker (all of its GPUs), of those that come and go and of active ones."""

    flex: float
    active: float


def figures(outcome: Outcome, prices: Prices, warm: float = 0.0) -> dict[str, float]:
    """Seconds: `wait_…` in the queue, `first_…` from arrival to the first token, `e2e_…` to the end, of requests that
    came after `warm`; late_share: of them, those whose first token took longer than LATE. gpu_s, flex_s, active_s:
    of workers; idle_share: of gpu_s without a job, starts among it. dollars_million: of a million tokens of answers;
    dollars_hour."""
    jobs = [job for job in outcome.jobs if job.came >= warm]
    waits = sorted(job.taken - job.came for job in jobs)
    firsts = sorted(job.first - job.came for job in jobs)
    ends = sorted(job.ended - job.came for job in jobs)
    gpu = outcome.flex + outcome.always
    dollars = outcome.flex * prices.flex + outcome.always * prices.active
    tokens = sum(job.tokens for job in jobs)
    found = {"requests": float(len(jobs)), "waited_share": sum(wait > 0 for wait in waits) / max(1, len(jobs)),
             "late_share": sum(first > LATE for first in firsts) / max(1, len(jobs))}
    for name, values in (("wait", waits), ("first", firsts), ("e2e", ends)):
        found |= {f"{name}_p50": percentile(values, 50), f"{name}_p99": percentile(values, 99)}
    return found | {
        "gpu_s": gpu, "flex_s": outcome.flex, "active_s": outcome.always,
        "idle_share": 1 - outcome.busy / gpu if gpu else 0.0, "starts": float(outcome.starts),
        "thaws": float(outcome.thaws), "most": float(outcome.most),
        "dollars_million": 1e6 * dollars / tokens if tokens else 0.0,
        "dollars_hour": 3600 * dollars / (outcome.seconds - warm) if outcome.seconds > warm else 0.0}


def interval(values: Sequence[float]) -> tuple[float, float]:
    """(mean, half the width of its 95 % confidence interval); infinite for one value."""
    mean = statistics.fmean(values)
    if len(values) < 2:
        return mean, math.inf
    t = _T[len(values) - 1] if len(values) <= len(_T) else _NORMAL
    return mean, t * statistics.stdev(values) / math.sqrt(len(values))


def together(runs: Sequence[dict[str, float]]) -> dict[str, dict[str, float]]:
    """{"mean": each figure's mean, "half": half the width of the 95 % confidence interval of each of UNCERTAIN}."""
    both = {name: interval([run[name] for run in runs]) for name in runs[0]}
    return {"mean": {name: mean for name, (mean, _) in both.items()},
            "half": {name: both[name][1] for name in UNCERTAIN if name in both and math.isfinite(both[name][1])}}
