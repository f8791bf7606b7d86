"""The plots of a serving benchmark: how cost and delay grow with the number of streams, one line a design."""

from __future__ import annotations

from pathlib import Path

from bench.serving_plan import DIRECT
from bench.serving_saturation import saturation

FILE = "streams.svg"
_COLOURS = {"engine": "#555555", "worker": "#1b6ca8", "http": "#2f8f5b", "every-event": "#c8553d",
            "raw-chunks": "#e0a030"}
_STYLES = ("-", "--", ":", "-.")
# (title, the figure of a row of medians or None, logarithmic, a line to compare with)
_PANELS = (
    ("throughput, of the engine's own", lambda m: m.get("throughput_ratio"), False, 1.0),
    ("TTFT p50, ms", lambda m: m["ttft"]["p50"], True, None),
    ("worker CPU, µs a token", lambda m: m.get("cpu_us_token"), False, None),
    ("behind the engine at the end, p50, ms", lambda m: m.get("lag") if m["design"] != "engine" else None, True, None))


def write(result: dict, folder: Path) -> str | None:
    """Write the plots; returns what is missing for it, if anything."""
    try:
        import matplotlib
    except ImportError:
        return "no plots: matplotlib is missing (it is in local/requirements-dev.txt)"
    matplotlib.use("svg")
    # The same figures give the same file, and text stays text.
    matplotlib.rcParams |= {"svg.hashsalt": "serving", "svg.fonttype": "none", "font.size": 9}
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(2, 2, figsize=(11, 8.5), layout="constrained")
    rows, limits = result["medians"], saturation(result["medians"])
    posts = sorted({row["post_ms"] for row in rows if row["design"] not in DIRECT})
    ticks = sorted({row["streams"] for row in rows})
    for axis, (title, value, logarithmic, reference) in zip(axes.flat, _PANELS, strict=True):
        for design, post_ms in dict.fromkeys((row["design"], row["post_ms"]) for row in rows):
            points = [(row["streams"], value(row)) for row in rows
                      if (row["design"], row["post_ms"]) == (design, post_ms) and value(row) is not None]
            if not points:
                continue
            style = "-" if design in DIRECT else _STYLES[posts.index(post_ms) % len(_STYLES)]
            name = design if design in DIRECT else f"{design}, {post_ms:g} ms"
            colour, full = _COLOURS.get(design), limits.get((design, post_ms))
            axis.plot(*zip(*points, strict=True), style, color=colour, marker=".", linewidth=1.4, label=name)
            for streams, y in points:
                if streams == full:
                    axis.plot(streams, y, "x", color=colour, markersize=9)
        if reference is not None:
            axis.axhline(reference, color="#aaaaaa", linewidth=0.8)
        axis.set_title(title)
        axis.set_xlabel("streams")
        axis.set_xscale("log", base=2)
        axis.set_xticks(ticks, [str(tick) for tick in ticks])
        if logarithmic:
            axis.set_yscale("symlog", linthresh=10)  # of 10 and less: noise, and sometimes below 0
        axis.set_ylim(bottom=0)
        axis.grid(True, linewidth=0.3)
    figure.legend(*axes.flat[0].get_legend_handles_labels(), loc="outside lower center", ncols=5, fontsize=8)
    figure.suptitle(f"{result['options']['engine']} engine, {result['options']['tokens']} tokens a stream; "
                    "a cross marks saturation")
    figure.savefig(folder / FILE, metadata={"Date": None})
    pyplot.close(figure)
    return None
