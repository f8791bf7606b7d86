"""The result of a cold-start benchmark: as data, as a Markdown table, and a picture of each start."""

from __future__ import annotations

import json
import operator
import statistics
import sys
from pathlib import Path

from bench.machine_facts import machine
from bench.serving_report import command, rounded, table
from start.waterfall import svg

_OF_WEIGHTS = ("server imports", "scheduler imports", "weights", "read ahead", "prefill graphs", "decode graphs",
               "server warm-up", "warm-up")
_SHOWN = ("server imports", "scheduler imports", "prefill graphs", "decode graphs", "server warm-up", "warm-up")


def result(records: list[dict]) -> dict:
    """The machine, the command line, and every start."""
    return {"machine": machine(), "command": command("bench.cold_start", sys.argv[1:]), "starts": records}


def write(found: dict, folder: Path) -> None:
    """results.json, with one line a start, results.md, and the picture of each worker's first start of its kind."""
    starts = rounded(found["starts"])
    head = json.dumps({key: value for key, value in found.items() if key != "starts"}, indent=1)
    rows = ",\n".join(json.dumps(one) for one in starts)
    (folder / "results.json").write_text(f'{head[:-2]},\n "starts": [\n{rows}\n]}}\n')
    (folder / "results.md").write_text(f"`{found['command']}`\n\n{markdown(found)}\n")
    for one in starts:
        if one["repeat"] == 0 and not one["alone"]:
            name = f"{one['profile']}-{one['kernels'].replace(' ', '-')}"
            spans = [tuple(phase.values()) for phase in one["phases"]]
            title = f"Profile {one['profile']}, kernels {one['kernels']}"
            if one.get("weights"):
                name += f"-{one['weights']}-{'ahead' if one['read_ahead'] == 'auto' else 'off'}"
                name += "" if one["bytecode"] else "-bare"
                name += "-packed" if one.get("packed") else ""
                title += f", weights {_came(one)}"
            (folder / f"{name}.svg").write_text(svg(spans, title) + "\n")


def _came(one: dict) -> str:
    """How the weights of a start came, in words."""
    rate = f" at {one['volume_rate']:g} GB/s" if one.get("volume_rate") else ""
    place = "in memory" if one["weights"] == "warm" else f"on the disk{rate}"
    bare = "" if one.get("bytecode", True) else ", SGLang without bytecode"
    ahead = "read ahead" if one["read_ahead"] == "auto" else "not read ahead"
    return f"{place}, {'unpacked ahead' if one.get('packed') else ahead}{bare}"


def of_weights(found: dict) -> str:
    """The same where the starts differ in how their weights came."""
    kinds: dict[tuple, list[dict]] = {}
    for one in found["starts"]:
        kinds.setdefault((one["profile"], one["kernels"], _came(one)), []).append(one)
    lines = ["| profile | kernels | weights | to the first poll | " + " | ".join(_OF_WEIGHTS) + " |",
             "|---|---|---|---|" + "---|" * len(_OF_WEIGHTS)]
    for (profile, kernels, came), starts in kinds.items():
        phases = [f"{_median(_lasted(one, name) for one in starts):.1f}" for name in _OF_WEIGHTS]
        lines.append(f"| {profile} | {kernels} | {came} | {_median(one['seconds'] for one in starts):.1f} | "
                     + " | ".join(phases) + " |")
    told = dict.fromkeys(f"- {profile}, {came}: `{one['line']}`" for (profile, _, came), starts in kinds.items()
                         for one in starts if one.get("line"))
    return "\n".join([*lines, "", *told]).rstrip()


def markdown(found: dict) -> str:
    """A line for each kind of start, seconds and medians of the repeats, and what they say of each other."""
    if any(one.get("weights") for one in found["starts"]):
        return of_weights(found)
    kinds: dict[tuple, list[dict]] = {}
    for one in found["starts"]:
        kinds.setdefault((one["profile"], one["kernels"], one["head_start"], one["alone"]), []).append(one)
    lines = ["| start | profile | kernels | head start | to the first poll | the worker's own | "
             + " | ".join(_SHOWN) + " |", "|---|---|---|---|---|---|" + "---|" * len(_SHOWN)]
    for (profile, kernels, head_start, alone), starts in kinds.items():
        phases = ["-" if alone else f"{_median(_lasted(one, name) for one in starts):.1f}" for name in _SHOWN]
        own = "-" if alone else f"{_median(one['worker_s'] for one in starts):.2f}"
        seconds = f"{_median(one['seconds'] for one in starts):.1f}"
        lines.append(f"| {'server alone (to ready)' if alone else 'worker'} | {profile} | {kernels} | {head_start} | "
                     f"{seconds} | {own} | " + " | ".join(phases) + " |")
    return "\n".join([*lines, "", *_comparisons(kinds), *_speeds(found["starts"])]).rstrip()


def _speeds(starts: list[dict]) -> list[str]:
    """The steady speed of each start under load: the server itself, and through the worker."""
    lines = []
    for one in starts:
        for load in dict.fromkeys(run["load"] for run in one["load"]):
            lines += ["", f"Profile {one['profile']}, {load}:", "",
                      *table([run for run in one["load"] if run["load"] == load])]
    return lines


def _median(values) -> float:
    return statistics.median(values)


def _lasted(start: dict, name: str) -> float:
    return sum(phase["end"] - phase["start"] for phase in start["phases"] if phase["name"] == name)


def _comparisons(kinds: dict[tuple, list[dict]]) -> list[str]:
    """Of each start with its counterpart in the same repeat, if that was made."""
    def compare(text: str, figure, one: tuple, other: tuple) -> list[str]:
        found = [figure(a["seconds"], b["seconds"])
                 for a, b in zip(kinds.get(one, ()), kinds.get(other, ()), strict=False)]
        return [text.format(_median(found))] if found else []

    lines = []
    for profile, kernels, head_start, alone in kinds:
        here = (profile, kernels, head_start, alone)
        if kernels == "restored":
            lines += compare(f"- {profile}: restored is {{:.2f}} times faster than none", operator.truediv,
                             (profile, "none", head_start, False), here)
        if profile != "default" and not alone:
            lines += compare(f"- {profile}, kernels {kernels}: {{:.2f}} times faster than default", operator.truediv,
                             ("default", *here[1:]), here)
        if alone:
            lines += compare(f"- {profile}: the worker's first poll comes {{:.2f}} s after the time in which the "
                             "server alone is ready", lambda server, worker: worker - server,
                             here, (*here[:3], False))
    return lines
