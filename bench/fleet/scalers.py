"""RunPod's two ways to decide how many workers there are, as its documentation has them. Pure.

runpod/docs serverless/endpoints/endpoint-configurations.mdx (revision 0a2b94f): "request count" keeps
ceil((requests in queue + in progress) / value) workers; "queue delay" adds workers when a request has waited for more
than `value` seconds. How many it adds, and when it looks again, is not documented. Two readings bound it: "delay" adds
one worker for each `value` seconds that the oldest request goes on waiting, "patient" none while another still starts.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

DELAY, PATIENT, COUNT = "delay", "patient", "count"


@dataclass(frozen=True)
class Scaler:
    """kind: "delay" or "patient", with value in seconds, or "count", with value in requests a worker."""

    kind: str
    value: float

    def __post_init__(self) -> None:
        if self.kind not in (DELAY, PATIENT, COUNT) or self.value <= 0:
            raise ValueError(f"no such scaler: {self.kind} {self.value}")

    @property
    def name(self) -> str:
        return f"{self.kind} {self.value:g}" + (" s" if self.kind != COUNT else "")

    def wanted(self, waiting: int, running: int) -> int:
        """Workers by the count of requests; 0 by delay, which goes by time alone."""
        return math.ceil((waiting + running) / self.value) if self.kind == COUNT else 0

    def due(self, oldest: float, last: float) -> float | None:
        """When the next worker is added for the wait of the oldest request, which came at `oldest`; `last` is when one
        was added before. None by count."""
        return max(oldest, last) + self.value if self.kind != COUNT else None

    def adds(self, starting: int) -> bool:
        """Whether a worker is added once one is due, while so many still start."""
        return self.kind == DELAY or not starting
