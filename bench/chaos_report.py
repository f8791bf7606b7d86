"""What a chaos run found: the table, as Markdown and as data, and the verdict."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from bench.chaos_checks import BAD, Verdict
from bench.chaos_plan import Planned


@dataclass
class Report:
    """rows: the table; problems: the jobs that must not be, as text; faults: what of the engine's was hurt."""

    plan: dict
    verdicts: list[tuple[Planned, Verdict]] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    faults: Counter = field(default_factory=Counter)
    posts: dict[str, dict[str, int]] = field(default_factory=dict)
    restarts: int = 0
    unexplained: int = 0
    slowest_stop: float = 0.0
    seconds: float = 0.0

    @property
    def outcomes(self) -> Counter:
        return Counter(verdict.outcome for _, verdict in self.verdicts)

    @property
    def clean(self) -> bool:
        return not self.problems and not any(self.outcomes[bad] for bad in BAD)

    def data(self) -> dict:
        codes = Counter(verdict.code for _, verdict in self.verdicts if verdict.outcome == "failed")
        return {**self.plan, "seconds": round(self.seconds, 1), "submitted": len(self.verdicts),
                "outcomes": {name: self.outcomes[name] for name in (
                    "completed", "failed", "cancelled", "timed out", *BAD)},
                "failed_by_code": {str(code): codes[code] for code in sorted(codes)},
                "engine_faults": dict(self.faults), "engine_restarts": self.restarts,
                "engine_ends_unexplained": self.unexplained, "slowest_stop_s": round(self.slowest_stop, 2),
                "posts": self.posts, "problems": self.problems}

    def markdown(self) -> str:
        data, outcomes = self.data(), self.outcomes
        codes = ", ".join(f"{count} with {code}" for code, count in data["failed_by_code"].items()) or "none"
        hurt = ", ".join(f"{count} {name}" for name, count in sorted(self.faults.items())) or "none"
        twins = len(self.verdicts) - len({repr(planned.input) for planned, _ in self.verdicts})
        rows = [("jobs submitted", len(self.verdicts)), ("the same as another", twins),
                ("completed exactly", outcomes["completed"]),
                ("failed with a reason", f"{outcomes['failed']} ({codes})"), ("cancelled", outcomes["cancelled"]),
                ("timed out", outcomes["timed out"]), *((f"**{bad}**", f"**{outcomes[bad]}**") for bad in BAD),
                ("faults of the engine", hurt), ("engine restarts", self.restarts),
                ("ends of an engine that nothing explains", self.unexplained),
                ("slowest stop of a cancelled or timed out job", f"{self.slowest_stop:.2f} s")]
        rows += [(f"{kind} POSTs", f"{count['taken']} taken, {count['refused']} answered 5xx, "
                  f"{count['dropped']} dropped, {count['unanswered']} never answered")
                 for kind, count in self.posts.items()]
        rows.append(("seconds", f"{self.seconds:.0f}"))
        return "\n".join(["| | |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows)])
