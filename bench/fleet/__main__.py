"""A fleet of workers simulated: what the settings of a RunPod endpoint do to waits and to the bill.

    python -m bench.fleet --out FOLDER
    python -m bench.fleet --patterns daily --peak 2 --tokens 300 --start volume-1 --price 0.00116
    python -m bench.fleet --check-worker --out FOLDER

Each traffic is played on every combination of --concurrency, --scaler, --idle and --active, with --seeds, and the
figures are means of those with 95 % confidence. --check-worker compares the simulation with the real worker behind the
platform's stand-in. What is simulated is in docs/operations.md.
"""

from __future__ import annotations

import argparse
import asyncio
import math
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from tqdm import tqdm

from bench.fleet import check_worker, plan, plots, report
from bench.fleet.curves import Curve, Starts, measured
from bench.fleet.endpoint import Endpoint
from bench.fleet.figures import Prices
from bench.fleet.plan import Grid
from bench.fleet.scalers import Scaler
from bench.fleet.traffic import PATTERNS, Pattern
from bench.machine_facts import machine
from bench.serving import numbers
from bench.serving_report import command
from bench.serving_stack import Failed
from builder import fit

_SCALERS = "delay:4,patient:4,count:4,share:0.5,share:1"


def scaler(text: str) -> tuple[str, float]:
    """kind:value."""
    kind, colon, value = text.partition(":")
    try:
        plan.scaler_of((kind, float(value)), 1)
    except ValueError as error:
        raise argparse.ArgumentTypeError("delay:SECONDS, patient:SECONDS, count:REQUESTS or share:PART") from error
    return kind, float(value)


def kept(text: str) -> float:
    return math.inf if text == "always" else 0.0 if text == "never" else float(text)


def parser() -> argparse.ArgumentParser:
    known, p = measured(), argparse.ArgumentParser(prog="python -m bench.fleet", description=__doc__,
                                                   formatter_class=argparse.RawDescriptionHelpFormatter)
    add = p.add_argument
    add("--patterns", type=numbers(str), default=list(PATTERNS), metavar="NAME,…", help=f"of {','.join(PATTERNS)}")
    add("--peak", type=float, help="requests a second at most, in place of each pattern's own")
    add("--low", type=float, help="requests a second at least: of bursty and daily")
    add("--burst", type=float, help="seconds of a burst")
    add("--gap", type=float, help="seconds between bursts, on average")
    add("--hours", type=float, help="how long the traffic goes on: of steady and bursty")
    add("--tokens", type=float, help="of an answer, on average (default: 800)")
    add("--concurrency", type=numbers(int), default=[8, 32, 128], metavar="N,…", help="default: 8,32,128")
    add("--scaler", type=numbers(scaler), default=_SCALERS, metavar="KIND:VALUE,…",
        help="delay:SECONDS adds a worker for each so many seconds that the oldest request waits; patient:SECONDS "
             "waits for one start after the other; count:REQUESTS; share:PART of the concurrency, by count (default: "
             "%(default)s)")
    add("--idle", type=numbers(float), default=[5.0, 60.0, 300.0], metavar="S,…", help="default: 5,60,300")
    add("--active", type=numbers(int), default=[0, 1, 2], metavar="N,…", help="default: 0,1,2")
    add("--max-workers", type=int, default=8, metavar="N", help="default: %(default)s")
    add("--curve", choices=list(known["curves"]), default="h200-8b", help="default: %(default)s")
    add("--start", choices=list(known["starts"]), default="volume-0.3", help="of a cold start (default: %(default)s)")
    add("--start-seconds", type=float, help="one of your own in its place")
    add("--flashboot", type=kept, default=0.0, metavar="never|always|SECONDS",
        help="how long after its end a worker can still be thawed (default: never)")
    add("--thaw-seconds", type=float, help="of a thawed start, in place of the one in measured.json")
    add("--fill", action="store_true", help="the fullest worker with room takes the next job, in place of any")
    add("--gpu", choices=list(fit.prices(fit.PRICES)[0]), default="HOPPER_141",
        help="one GPU of that pool a worker, at its price in builder/prices.json (default: %(default)s)")
    add("--price", type=float, metavar="DOLLARS", help="a second of one worker (all of its GPUs), in place of that")
    add("--active-price", type=float, metavar="DOLLARS", help="a second of an active worker (default: the same)")
    add("--bounds", type=numbers(float), default=[1.0, 10.0, 70.0], metavar="S,…",
        help="for the first token's p99, of which the cheapest settings are told (default: 1,10,70)")
    add("--seeds", type=int, default=3, help="runs of each setting (default: %(default)s)")
    add("--check-worker", action="store_true", help="compare with the real worker on the stand-in (six minutes)")
    add("--out", type=Path, metavar="FOLDER", help="for results.json, results.md and the plots")
    add("--quiet", action="store_true", help="no progress bar")
    return p


def chosen(name: str, options: argparse.Namespace) -> Pattern:
    """The pattern of that name, with what the options change of it."""
    base = PATTERNS[name]
    given = {key: value for key in ("peak", "low", "burst", "gap", "tokens")
             if (value := getattr(options, key)) is not None}
    if options.hours and name != "daily":
        given["seconds"] = base.warm + 3600 * options.hours
    return replace(base, **given)


def endpoint(options: argparse.Namespace) -> Endpoint:
    """What all settings have in common."""
    cold = Starts(options.start_seconds) if options.start_seconds is not None else Starts.named(options.start)
    thawed = Starts(options.thaw_seconds) if options.thaw_seconds is not None else Starts.named("thawed")
    return Endpoint(1, Scaler("count", 1), most=options.max_workers, kept=options.flashboot, cold=cold, thawed=thawed,
                    spread=not options.fill)


def prices(options: argparse.Namespace) -> Prices:
    flex = options.price if options.price is not None else fit.prices(fit.PRICES)[0][options.gpu]
    return Prices(flex, options.active_price if options.active_price is not None else flex)


def sweep(options: argparse.Namespace) -> dict[str, Any]:
    grid = Grid(options.concurrency, options.scaler, options.idle, options.active)
    patterns = [chosen(name, options) for name in options.patterns]
    settings, curve, paid = grid.endpoints(endpoint(options)), Curve.named(options.curve), prices(options)
    rows = []
    with tqdm(total=len(patterns) * len(settings), unit="setting", disable=options.quiet) as bar:
        for pattern in patterns:
            for row in plan.rows(pattern, settings, curve, paid, range(1, options.seeds + 1)):
                rows.append(row)
                bar.update()
    base = endpoint(options)
    about = (f"Curve {options.curve}; answers of {patterns[0].tokens:g} tokens on average; a cold start takes "
             f"{base.cold.seconds:g} s, a thawed one {base.thawed.seconds:g} s; at most {base.most} workers; "
             f"${paid.flex:g} a second of a worker, ${paid.active:g} of an active one; {options.seeds} seeds, "
             "means ± half of the 95 % confidence interval.")
    return {"command": command("bench.fleet", sys.argv[1:]), "machine": machine(), "about": about,
            "patterns": {pattern.kind: pattern.name for pattern in patterns}, "bounds": sorted(options.bounds),
            "rows": rows}


def main(argv: list[str] | None = None) -> int:
    options = parser().parse_args(argv)
    if unknown := set(options.patterns) - set(PATTERNS):
        print(f"unknown patterns: {', '.join(sorted(unknown))}", file=sys.stderr)
        return 2
    if options.out:
        options.out.mkdir(parents=True, exist_ok=True)
    if options.check_worker:
        try:
            return asyncio.run(check_worker.main(options.out))
        except Failed as error:
            print(error, file=sys.stderr)
            return 1
    result = sweep(options)
    if options.out:
        report.write(result, options.out)
        if problem := plots.write(result, options.out):
            print(problem, file=sys.stderr)
    for pattern, name in result["patterns"].items():
        found = [row for row in result["rows"] if row["pattern"] == pattern]
        print(f"\n{name}\n\n{report.recommended(found, result['bounds'])}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
