"""The plots of a sweep: what waits cost under each pattern, and what each setting does alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bench.fleet.plan import KNOBS, around
from bench.fleet.report import base_of

FILES = ("cost-and-waits.svg", "settings.svg")
_COLOURS = ("#1b6ca8", "#2f8f5b", "#c8553d", "#e0a030", "#555555")
_MARKERS = ("o", "s", "^", "D", "v", "P", "X")


def write(result: dict[str, Any], folder: Path) -> str | None:
    """Write the plots; returns what is missing for it, if anything."""
    try:
        import matplotlib
    except ImportError:
        return "no plots: matplotlib is missing (it is in local/requirements-dev.txt)"
    matplotlib.use("svg")
    # The same figures give the same file, and text stays text.
    matplotlib.rcParams |= {"svg.hashsalt": "fleet", "svg.fonttype": "none", "font.size": 9}
    from matplotlib import pyplot

    for file, draw in zip(FILES, (_frontier, _settings), strict=True):
        figure = draw(pyplot, result)
        figure.savefig(folder / file, metadata={"Date": None})
        pyplot.close(figure)
    return None


def _frontier(pyplot: Any, result: dict[str, Any]) -> Any:
    """One panel a pattern: the cost against the first token's p99, a point a setting."""
    patterns = result["patterns"]
    figure, axes = pyplot.subplots(1, len(patterns), figsize=(4.2 * len(patterns), 4.6), layout="constrained",
                                   squeeze=False)
    at_once = sorted({row["concurrency"] for row in result["rows"]})
    scalers = list(dict.fromkeys(row["scaler"] for row in result["rows"]))
    for axis, (pattern, name) in zip(axes.flat, patterns.items(), strict=True):
        for row in result["rows"]:
            if row["pattern"] != pattern:
                continue
            colour = _COLOURS[at_once.index(row["concurrency"]) % len(_COLOURS)]
            axis.plot(row["mean"]["dollars_million"], row["mean"]["first_p99"], color=colour, markersize=5,
                      marker=_MARKERS[scalers.index(row["scaler"]) % len(_MARKERS)],
                      markerfacecolor=colour if row["active"] else "none")
        axis.set(title=name, xlabel="$ a million tokens", xscale="log", yscale="log")
        axis.grid(True, linewidth=0.3)
    axes.flat[0].set_ylabel("first token, p99, s")
    for number, streams in enumerate(at_once):
        axes.flat[0].plot([], [], color=_COLOURS[number % len(_COLOURS)], linewidth=3, label=f"concurrency {streams}")
    for number, scaler in enumerate(scalers):
        axes.flat[0].plot([], [], color="#888888", marker=_MARKERS[number % len(_MARKERS)], linestyle="", label=scaler,
                          markerfacecolor="none")
    figure.legend(*axes.flat[0].get_legend_handles_labels(), loc="outside lower center", ncols=4, fontsize=8)
    figure.suptitle("filled: with an active worker; the three of one kind differ in their idle timeout")
    return figure


def _settings(pyplot: Any, result: dict[str, Any]) -> Any:
    """One column a setting: cost and p99 as it alone changes from the recommended one, a line a pattern."""
    figure, axes = pyplot.subplots(2, len(KNOBS), figsize=(13, 6.2), layout="constrained", sharey="row")
    for number, pattern in enumerate(result["patterns"]):
        found = [row for row in result["rows"] if row["pattern"] == pattern]
        base = base_of(found, result["bounds"])
        if base is None:
            continue
        for column, knob in enumerate(KNOBS):
            rows = around(found, base, knob)
            names = [f"{row[knob]:g}" if isinstance(row[knob], float) else str(row[knob]) for row in rows]
            for line, figure_name in enumerate(("dollars_million", "first_p99")):
                axis = axes[line][column]
                axis.errorbar(names, [row["mean"][figure_name] for row in rows], color=_COLOURS[number],
                              yerr=[row["half"].get(figure_name, 0.0) for row in rows], marker=".", linewidth=1.2,
                              label=pattern, capsize=2)
                axis.plot([names[rows.index(base)]], [base["mean"][figure_name]], "x", color=_COLOURS[number],
                          markersize=9)
    for column, knob in enumerate(KNOBS):
        axes[1][column].set_xlabel({"idle": "idle timeout, s", "active": "active workers"}.get(knob, knob))
        axes[1][column].tick_params(axis="x", labelrotation=30 if knob == "scaler" else 0)
        for line in (0, 1):
            axes[line][column].set_yscale("log")
            axes[line][column].grid(True, linewidth=0.3)
    axes[0][0].set_ylabel("$ a million tokens")
    axes[1][0].set_ylabel("first token, p99, s")
    figure.legend(*axes[0][0].get_legend_handles_labels(), loc="outside lower center", ncols=3, fontsize=8)
    figure.suptitle("each setting alone, from the cheapest that keeps the first token's bound (crossed)")
    return figure
