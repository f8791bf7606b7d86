"""Curves of several serving benchmarks in one picture: tokens a second over the number of streams.

    python -m bench.curves OUT.svg "NAME=FOLDER[:DESIGN]" …

Each FOLDER has the results.json of `bench.serving --out`; DESIGN is one of its designs (default: engine). Names are
drawn beside their lines in the order given.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import NamedTuple


class Curve(NamedTuple):
    """One line. points: (streams, tokens a second), by streams."""

    name: str
    points: list[tuple[int, float]]


def curve(text: str) -> Curve:
    """Of "NAME=FOLDER[:DESIGN]". Raises ValueError where there is no such thing."""
    name, equals, place = text.rpartition("=")
    folder, _, design = place.partition(":")
    try:
        medians = json.loads((Path(folder) / "results.json").read_text(encoding="utf-8"))["medians"]
    except (OSError, KeyError) as error:
        raise ValueError(f"{folder}: {error}") from None
    points = sorted((row["streams"], row["tok_s"]) for row in medians if row["design"] == (design or "engine"))
    if not equals or not name or not points:
        raise ValueError(f"{text!r} names no curve")
    return Curve(name, points)


def draw(curves: list[Curve], out: Path) -> None:
    import matplotlib

    matplotlib.use("svg")
    # The same figures give the same file, and text stays text.
    matplotlib.rcParams |= {"svg.hashsalt": "curves", "svg.fonttype": "none", "font.size": 9}
    from matplotlib import pyplot

    figure, axis = pyplot.subplots(figsize=(8.5, 5), layout="constrained")
    for one in curves:
        axis.plot(*zip(*one.points, strict=True), marker=".", linewidth=1.4, label=one.name)
    ticks = sorted({streams for one in curves for streams, _ in one.points})
    axis.set_xscale("log", base=2)
    axis.set_xticks(ticks, [str(tick) for tick in ticks])
    axis.set_xlabel("streams")
    axis.set_ylabel("tokens a second")
    axis.set_ylim(bottom=0)
    axis.grid(True, linewidth=0.3)
    axis.legend(fontsize=8)
    figure.savefig(out, metadata={"Date": None})
    pyplot.close(figure)


def main(argv: list[str] | None = None) -> int:
    p = argparse.ArgumentParser(prog="python -m bench.curves", description=__doc__,
                                formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("out", type=Path, metavar="OUT.svg")
    p.add_argument("curves", nargs="+", metavar="NAME=FOLDER[:DESIGN]")
    options = p.parse_args(argv)
    try:
        curves = [curve(text) for text in options.curves]
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2
    draw(curves, options.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
