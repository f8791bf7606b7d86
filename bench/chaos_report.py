"""What a chaos run found: the table, as Markdown and as data, and the verdict."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from bench.chaos_checks import BAD, Verdict


@dataclass
class Run:
    """What a run found, over whichever front. problems: what must not be, as text; faults: what of the engine's was
    hurt."""

    plan: dict
    verdicts: list[tuple[Any, Verdict]] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    faults: Counter = field(default_factory=Counter)
    restarts: int = 0
    seconds: float = 0.0

    @property
    def outcomes(self) -> Counter:
        return Counter(verdict.outcome for _, verdict in self.verdicts)

    @property
    def clean(self) -> bool:
        return not self.problems and not any(self.outcomes[bad] for bad in BAD)

    def codes(self) -> dict[str, int]:
        """How many failed with each status, or with a stream's last event of that code."""
        counts = Counter(verdict.code for _, verdict in self.verdicts if verdict.outcome == "failed")
        return {str(code): counts[code] for code in sorted(counts)}

    def hurt(self) -> str:
        """The engine's faults in words."""
        return ", ".join(f"{count} {name}" for name, count in sorted(self.faults.items())) or "none"

    def failures(self) -> str:
        """Codes of failures in words."""
        return ", ".join(f"{count} with {code}" for code, count in self.codes().items()) or "none"


@dataclass
class Report(Run):
    """Of a run behind the queue. posts: of each kind, how many ended how; slowest_stop: seconds."""

    posts: dict[str, dict[str, int]] = field(default_factory=dict)
    unexplained: int = 0
    slowest_stop: float = 0.0

    def data(self) -> dict:
        return {**self.plan, "seconds": round(self.seconds, 1), "submitted": len(self.verdicts),
                "outcomes": {name: self.outcomes[name] for name in (
                    "completed", "failed", "cancelled", "timed out", *BAD)},
                "failed_by_code": self.codes(),
                "engine_faults": dict(self.faults), "engine_restarts": self.restarts,
                "engine_ends_unexplained": self.unexplained, "slowest_stop_s": round(self.slowest_stop, 2),
                "posts": self.posts, "problems": self.problems}

    def markdown(self) -> str:
        outcomes = self.outcomes
        twins = len(self.verdicts) - len({repr(planned.input) for planned, _ in self.verdicts})
        rows = [("jobs submitted", len(self.verdicts)), ("the same as another", twins),
                ("completed exactly", outcomes["completed"]),
                ("failed with a reason", f"{outcomes['failed']} ({self.failures()})"),
                ("cancelled", outcomes["cancelled"]),
                ("timed out", outcomes["timed out"]),
                *((f"**{bad}**", f"**{outcomes[bad]}**") for bad in BAD),
                ("faults of the engine", self.hurt()), ("engine restarts", self.restarts),
                ("ends of an engine that nothing explains", self.unexplained),
                ("slowest stop of a cancelled or timed out job", f"{self.slowest_stop:.2f} s")]
        rows += [(f"{kind} POSTs", f"{count['taken']} taken, {count['refused']} answered 5xx, "
                  f"{count['dropped']} dropped, {count['unanswered']} never answered")
                 for kind, count in self.posts.items()]
        rows.append(("seconds", f"{self.seconds:.0f}"))
        return "\n".join(["| | |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows)])
