"""What a run of freezes found, as a table."""

from __future__ import annotations

import statistics
from collections import Counter, defaultdict
from dataclasses import dataclass, field


@dataclass
class Report:
    """bad: how often each thing was wrong; problems: in words. noticed: freezes after which the worker said so; extra:
    how often it said so beside them, as on a machine that did not let it run for as long. handed_out_again: jobs that
    the platform had handed out over a connection that was gone, by what had become of it. times: seconds, by the same,
    without jobs of that kind and those that waited for a restart."""

    count: int
    workers: int
    jobs: int = 0
    noticed: int = 0
    extra: int = 0
    chunks_twice: int = 0
    seconds: float = 0.0
    moments: Counter = field(default_factory=Counter)
    ways: Counter = field(default_factory=Counter)
    handed_out_again: Counter = field(default_factory=Counter)
    bad: Counter = field(default_factory=Counter)
    problems: list[str] = field(default_factory=list)
    times: defaultdict[str, list[float]] = field(default_factory=lambda: defaultdict(list))

    def frozen(self, moment: str, way: str) -> None:
        self.moments[moment] += 1
        self.ways[way] += 1

    def recovered(self, way: str, seconds: float) -> None:
        """From the thaw to the end of the first job submitted after it."""
        self.times[way].append(seconds)

    def wrong(self, kind: str, problem: str) -> None:
        self.bad[kind] += 1
        self.problems.append(f"{kind}: {problem}")

    @property
    def clean(self) -> bool:
        return not self.bad and sum(self.moments.values()) == self.noticed == self.count

    def markdown(self) -> str:
        lines = ["| | |", "|---|---|", f"| freezes | {sum(self.moments.values())}, of {self.workers} workers |",
                 "| moments | " + ", ".join(f"{n} {moment}" for moment, n in sorted(self.moments.items())) + " |",
                 f"| noticed by the worker | {self.noticed} |",
                 f"| alarms without a freeze | {self.extra} |",
                 f"| jobs, each exactly its own text | {self.jobs} |"]
        lines += [f"| **{kind}** | **{self.bad[kind]}** |" for kind in ("lost", "hung", "doubled", "failed")]
        lines += [f"| chunks shown twice, whose first answer was lost | {self.chunks_twice} |",
                  f"| handed out over a connection that was gone, and again | {sum(self.handed_out_again.values())} |",
                  f"| seconds | {self.seconds:.0f} |", "",
                  "| connections | freezes | the next job has ended after, s: median | 95 % | longest |",
                  "|---|---|---|---|---|"]
        for way, times in sorted(self.times.items()):
            ordered = sorted(times)
            lines.append(f"| {way} | {self.ways[way]} | {statistics.median(ordered):.2f} | "
                         f"{ordered[int(0.95 * (len(ordered) - 1))]:.2f} | {ordered[-1]:.2f} |")
        return "\n".join(lines)
