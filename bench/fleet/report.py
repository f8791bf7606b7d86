"""The result of a sweep: as data, and as Markdown tables."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.fleet.plan import KNOBS, Row, around, cheapest
from bench.serving_report import rounded

_HEAD = ("concurrency", "scaler", "idle, s", "active", "waits p50 / p99, s", "first token p50 / p99, s",
         "later than 10 s", "GPU s", "of it idle", "starts", "$ a million tokens")


def seconds(value: float) -> str:
    """Two digits where it is short, none where it is long."""
    return f"{value:.2f}" if value < 10 else f"{value:.0f}"


def _cells(row: Row) -> list[str]:
    mean, half = row["mean"], row["half"]
    pair = {name: f"{seconds(mean[f'{name}_p50'])} / {seconds(mean[f'{name}_p99'])}" for name in ("wait", "first")}
    if "first_p99" in half:
        pair["first"] += f" ±{seconds(half['first_p99'])}"
    begun = f"{mean['starts']:.0f}" + (f" + {mean['thaws']:.0f} thawed" if mean["thaws"] else "")
    dollars = f"{mean['dollars_million']:.2f}" + (f" ±{half['dollars_million']:.2f}" if half else "")
    return [str(row["concurrency"]), row["scaler"], f"{row['idle']:g}", str(row["active"]), pair["wait"], pair["first"],
            f"{mean['late_share']:.1%}", f"{mean['gpu_s']:,.0f}", f"{mean['idle_share']:.0%}", begun, dollars]


def table(found: Sequence[Row], title: str = "", first: Sequence[str] = ()) -> str:
    """One row a setting. title, first: a column before the others, if there is a title."""
    titles = [*([title] if title else []), *_HEAD]
    lines = ["| " + " | ".join(titles) + " |", "|" + "---|" * len(titles)]
    for number, row in enumerate(found):
        lines.append("| " + " | ".join([*([first[number]] if title else []), *_cells(row)]) + " |")
    return "\n".join(lines)


def recommended(found: Sequence[Row], bounds: Sequence[float]) -> str:
    """For each bound of the first token's 99th percentile, the cheapest setting; bounds that it shares, together."""
    picked: list[Row] = []
    kept: list[list[float]] = []
    missed = []
    for bound in bounds:
        row = cheapest(found, bound)
        if row is None:
            missed.append(bound)
        elif picked and picked[-1] is row:
            kept[-1].append(bound)
        else:
            picked.append(row)
            kept.append([bound])
    told = table(picked, "first token within", [_seconds(bounds_) for bounds_ in kept])
    return told + (f"\n\nNo setting keeps {_seconds(missed)}." if missed else "")


def _seconds(bounds: Sequence[float]) -> str:
    return ", ".join(f"{bound:g}" for bound in bounds) + " s"


def knobs(found: Sequence[Row], base: Row) -> str:
    """What each setting does when it alone is changed from `base`."""
    picked, first = [], []
    for knob in KNOBS:
        for row in around(found, base, knob):
            if row is not base or knob == KNOBS[0]:
                picked.append(row)
                first.append("-" if row is base else knob)
    return table(picked, "what is changed", first)


def markdown(result: dict[str, Any]) -> str:
    """Of each pattern: the cheapest within each bound, each setting changed alone from the middle one of those, and
    all."""
    parts = [f"`{result['command']}`", "", result["about"]]
    for pattern, name in result["patterns"].items():
        found, bounds = [row for row in result["rows"] if row["pattern"] == pattern], result["bounds"]
        parts += ["", f"## {name}", "", "The cheapest settings whose p99 of the first token is within a bound.", "",
                  recommended(found, bounds)]
        if base := base_of(found, bounds):
            parts += ["", "One setting changed alone.", "", knobs(found, base)]
        parts += ["", "All of them.", "", table(found)]
    return "\n".join(parts)


def base_of(found: Sequence[Row], bounds: Sequence[float]) -> Row | None:
    """The cheapest within the tightest bound that any setting keeps."""
    return next((row for bound in bounds if (row := cheapest(found, bound))), None)


def write(result: dict[str, Any], folder: Path) -> None:
    """results.json, with one line a setting, and results.md."""
    found, parts = rounded(result), []
    for key, value in found.items():
        lines = key == "rows"
        text = "[\n" + ",\n".join(json.dumps(one) for one in value) + "\n]" if lines else json.dumps(value, indent=1)
        parts.append(f"{json.dumps(key)}: {text}")
    (folder / "results.json").write_text("{" + ",\n".join(parts) + "}\n", encoding="utf-8")
    (folder / "results.md").write_text(markdown(found) + "\n", encoding="utf-8")
