"""Which settings are played, under which traffic, and which of them are the ones to take."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

from bench.fleet import traffic
from bench.fleet.curves import Curve
from bench.fleet.endpoint import Endpoint, run
from bench.fleet.figures import Prices, figures, together
from bench.fleet.scalers import COUNT, PATIENT, Scaler
from bench.fleet.traffic import Pattern

KNOBS = ("concurrency", "scaler", "idle", "active")
SHARE = "share"
Row = dict[str, Any]


@dataclass(frozen=True)
class Grid:
    """The values of each setting. scalers: ("delay" or "patient", seconds), ("count", requests) or ("share", a part of
    the concurrency, which "count" gets for its value)."""

    concurrency: Sequence[int]
    scalers: Sequence[tuple[str, float]]
    idle: Sequence[float]
    active: Sequence[int]

    def endpoints(self, base: Endpoint) -> list[tuple[str, Endpoint]]:
        """Every combination, with all else from `base`, each with the name of its scaler."""
        return [(scaler_name(scaler), replace(base, concurrency=at_once, scaler=scaler_of(scaler, at_once), idle=idle,
                                              active=active, most=max(base.most, active)))
                for at_once, scaler, idle, active in product(self.concurrency, self.scalers, self.idle, self.active)]


def scaler_of(scaler: tuple[str, float], concurrency: int) -> Scaler:
    kind, value = scaler
    return Scaler(COUNT, max(1, round(value * concurrency))) if kind == SHARE else Scaler(kind, value)


def scaler_name(scaler: tuple[str, float]) -> str:
    """As `scaler_of` it; a share of the concurrency c by itself."""
    kind, value = scaler
    if kind == SHARE:
        return "count c" if value == 1 else f"count {value:g}c"
    return Scaler(kind, value).name


def rows(pattern: Pattern, endpoints: Iterable[tuple[str, Endpoint]], curve: Curve, prices: Prices,
         seeds: Sequence[int]) -> Iterator[Row]:
    """One a setting: its settings, and the figures of all seeds together. All settings get the same requests."""
    coming = {seed: traffic.requests(pattern, seed) for seed in seeds}
    for name, endpoint in endpoints:
        found = [figures(run(endpoint, curve, coming[seed], seed, pattern.warm), prices, pattern.warm)
                 for seed in seeds]
        yield {"pattern": pattern.kind, "concurrency": endpoint.concurrency, "scaler": name,
               "idle": endpoint.idle, "active": endpoint.active, **together(found)}


def cheapest(found: Iterable[Row], bound: float) -> Row | None:
    """The setting with the least cost whose first tokens come within `bound` seconds at the 99th percentile, the
    uncertainty of that counted against it; among equally cheap ones the quicker, and among equally quick ones request
    count, whose rule is documented. "patient" is left out: it is the kinder reading of what nobody can choose."""
    good = [row for row in found if not row["scaler"].startswith(PATIENT)
            and row["mean"]["first_p99"] + row["half"].get("first_p99", 0.0) <= bound]
    return min(good, key=lambda row: (round(row["mean"]["dollars_million"], 4), row["mean"]["first_p99"],
                                      not row["scaler"].startswith(COUNT)), default=None)


def around(found: Sequence[Row], base: Row, knob: str) -> list[Row]:
    """`base` and every row that differs from it in `knob` alone."""
    same = [name for name in ("pattern", *KNOBS) if name != knob]
    return [row for row in found if all(row[name] == base[name] for name in same)]
