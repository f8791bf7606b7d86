"""What a chaos run over HTTP found: the table, as Markdown and as data, and the verdict."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from bench.chaos_checks import BAD, Verdict
from bench.chaos_http_plan import Asked
from bench.serving_metrics import percentile


@dataclass
class HttpReport:
    """samples: the worker's process at several moments; stops: seconds that the engine went on after a client had gone,
    sorted; problems: what must not be, as text; faults: what of the engine's was hurt."""

    plan: dict
    verdicts: list[tuple[Asked, Verdict]] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    faults: Counter = field(default_factory=Counter)
    samples: dict[str, dict[str, float]] = field(default_factory=dict)
    stops: list[float] = field(default_factory=list)
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

    def data(self) -> dict:
        return {**self.plan, "seconds": round(self.seconds, 1),
                "outcomes": {name: self.outcomes[name] for name in (
                    "completed", "failed", "left", "hung", "corrupted")},
                "failed_by_code": self.codes(), "engine_faults": dict(self.faults), "engine_restarts": self.restarts,
                "samples": self.samples, "stops_s": [round(stop, 4) for stop in self.stops], "problems": self.problems}

    def markdown(self) -> str:
        outcomes = self.outcomes
        codes = ", ".join(f"{count} with {code}" for code, count in self.codes().items()) or "none"
        hurt = ", ".join(f"{count} {name}" for name, count in sorted(self.faults.items())) or "none"
        stops = " / ".join(f"{percentile(self.stops, q) * 1000:.0f}" for q in (50, 99, 100))
        slow = sum(asked.stalls > 0 for asked, _ in self.verdicts)
        rows = [("requests", len(self.verdicts)), ("of readers that stall", slow),
                ("completed exactly", outcomes["completed"]),
                ("failed with a true status", f"{outcomes['failed']} ({codes})"),
                ("whose client went away", outcomes["left"]),
                *((f"**{bad}**", f"**{outcomes[bad]}**") for bad in ("hung", "corrupted")),
                ("faults of the engine", hurt), ("engine restarts", self.restarts),
                ("generation after its client had gone, ms p50 / p99 / most", f"{stops} of {len(self.stops)}"),
                *((f"the worker's process {when}", ", ".join(f"{value:.4g} {name}" for name, value in values.items()))
                  for when, values in self.samples.items()), ("seconds", f"{self.seconds:.0f}")]
        return "\n".join(["| | |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows)])
