"""What a chaos run over HTTP found: the table, as Markdown and as data, and the verdict."""

from __future__ import annotations

from dataclasses import dataclass, field

from bench.chaos_report import Run
from bench.serving_metrics import percentile


@dataclass
class HttpReport(Run):
    """samples: the worker's process at several moments; stops: seconds that the engine went on after a client had gone,
    sorted."""

    samples: dict[str, dict[str, float]] = field(default_factory=dict)
    stops: list[float] = field(default_factory=list)

    def data(self) -> dict:
        return {**self.plan, "seconds": round(self.seconds, 1),
                "outcomes": {name: self.outcomes[name] for name in (
                    "completed", "failed", "left", "hung", "corrupted")},
                "failed_by_code": self.codes(), "engine_faults": dict(self.faults), "engine_restarts": self.restarts,
                "samples": self.samples, "stops_s": [round(stop, 4) for stop in self.stops], "problems": self.problems}

    def markdown(self) -> str:
        outcomes = self.outcomes
        stops = " / ".join(f"{percentile(self.stops, q) * 1000:.0f}" for q in (50, 99, 100))
        slow = sum(asked.stalls > 0 for asked, _ in self.verdicts)
        rows = [("requests", len(self.verdicts)), ("of readers that stall", slow),
                ("completed exactly", outcomes["completed"]),
                ("failed with a true status", f"{outcomes['failed']} ({self.failures()})"),
                ("whose client went away", outcomes["left"]),
                *((f"**{bad}**", f"**{outcomes[bad]}**") for bad in ("hung", "corrupted")),
                ("faults of the engine", self.hurt()), ("engine restarts", self.restarts),
                ("generation after its client had gone, ms p50 / p99 / most", f"{stops} of {len(self.stops)}"),
                *((f"the worker's process {when}", ", ".join(f"{value:.4g} {name}" for name, value in values.items()))
                  for when, values in self.samples.items()), ("seconds", f"{self.seconds:.0f}")]
        return "\n".join(["| | |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows)])
