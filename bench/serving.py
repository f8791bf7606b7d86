"""The serving benchmark: the engine itself, this worker (behind the queue and over HTTP), and two reference designs,
side by side in one run.

    python -m bench.serving --engine scripted --streams 1,8,32,64 --post-ms 0,30,100 --repeats 5 --out FOLDER
    python -m bench.serving --engine cpu --streams 1,4,8 --tokens 64
    MODEL_NAME=… python -m bench.serving --engine env --client-processes 4

The same clients send the same prompts to the same engine, directly and through each design. What is measured and how
is in docs/performance.md. Exit status 1 when any answer was not complete.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import tempfile
from pathlib import Path

from tqdm import tqdm

from bench import serving_metrics, serving_plan, serving_plots, serving_report
from bench.serving_clients import ClientsFailed
from bench.serving_plan import DESIGNS, HTTP, HTTP_MANY, KNOWN, WORKER, Load
from bench.serving_runs import Bench
from bench.serving_stack import Failed, Stack, Wanted
from local import corpus


async def run(options: argparse.Namespace, logs: Path) -> list[dict]:
    """Start everything, and measure; see `measure`."""
    wanted = Wanted(options.engine, options.designs, logs, options.engine_rate, options.max_concurrency,
                    dict(options.worker_env), options.http_processes, engine_pid=options.engine_pid)
    print("starting the engine, the platform and the workers", file=sys.stderr, flush=True)
    async with Stack(wanted) as stack:
        return await measure(stack, options)


async def measure(stack: Stack, options: argparse.Namespace) -> list[dict]:
    """Every run's record: {"design", "post_ms", "load", "streams", "repeat", and the figures}."""
    targets = serving_plan.targets(options.designs, options.post_ms)
    plan = serving_plan.runs(targets, options.loads, options.repeats, options.seed)
    bench, records = Bench(stack, options), []
    await bench.warm(targets)
    for one in [*serving_plan.warm_runs(options.loads, options.engine_warm_runs),
                *serving_plan.warm_runs(options.loads, options.warm_runs, tuple(targets))]:
        await bench.measure(one, options.tokens)
    with tqdm(plan, unit="run", disable=options.quiet) as bar:
        for one in bar:
            bar.set_postfix_str(f"{one.load.name}, {one.target.name}")
            figures, _ = await bench.measure(one, options.tokens)
            records.append({"design": one.target.design, "post_ms": one.target.post_ms, "load": one.load.name,
                            "streams": one.load.streams, "repeat": one.repeat, **figures})
            if figures["failed"]:
                bar.write(f"{figures['failed']} of {figures['requests']} FAILED: {one.target.name}, "
                          f"{one.load.name}: {figures['errors'][:2]}", file=sys.stderr)
    return serving_metrics.compared(records)


def numbers(kind):
    return lambda text: [kind(part) for part in text.split(",")]


def pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals:
        raise argparse.ArgumentTypeError("KEY=VALUE")
    return name, value


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(prog="python -m bench.serving", description=__doc__,
                                formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--engine", default="scripted", metavar="scripted|cpu|env|URL",
                   help="a scripted engine; SGLang on the CPU with the tiny model; the one that the worker's variables "
                        "ask for; one that runs already, for the reference designs; several of those, with a comma "
                        "between, share the clients of `engine` (default: %(default)s)")
    p.add_argument("--engine-pid", type=int, metavar="PID",
                   help="of an engine that runs already: the CPU of each of its processes is measured too")
    p.add_argument("--engine-rate", type=float, default=30.0, metavar="N",
                   help="tokens a second of each stream of the scripted engine (default: %(default)g)")
    p.add_argument("--worker-env", type=pair, action="append", default=[], metavar="KEY=VALUE",
                   help="a variable of the worker; any number of them")
    p.add_argument("--model", help="the model's name in the requests (default: what the worker serves)")
    p.add_argument("--designs", type=numbers(str), default=list(DESIGNS),
                   help=f"of {','.join(DESIGNS)} (default: all); and "
                        f"{HTTP_MANY[0]} to {HTTP_MANY[-1]}: http with so many HTTP_PROCESSES")
    p.add_argument("--post-ms", type=numbers(float), default=[0.0, 30.0, 100.0], metavar="N,…",
                   help="round trips of a POST to the platform (default: 0,30,100)")
    p.add_argument("--streams", type=numbers(int), default=[1, 8, 32, 64], metavar="N,…",
                   help="clients at once (default: 1,8,32,64)")
    p.add_argument("--sweep", action="store_true", help="1, 2, 4 … 512 streams, in place of --streams")
    p.add_argument("--requests-per-stream", type=int, default=1, metavar="N",
                   help="each client sends so many, one after another (default: 1, a burst)")
    p.add_argument("--arrivals", choices=("closed", "poisson"), default="closed",
                   help="poisson: requests come at --rate, whatever is still running (default: %(default)s)")
    p.add_argument("--rate", type=float, default=8.0, help="requests a second, with poisson (default: %(default)g)")
    p.add_argument("--requests", type=int, default=64, help="in all, with poisson (default: %(default)s)")
    p.add_argument("--tokens", type=int, default=128, help="of each answer (default: %(default)s)")
    p.add_argument("--prompt-tokens", type=int, default=32, help="of each prompt, about (default: %(default)s)")
    p.add_argument("--repeats", type=int, default=5, help="runs of which the median counts (default: %(default)s)")
    p.add_argument("--engine-warm-runs", type=int, default=0, metavar="N",
                   help="runs of the engine itself under each load that do not count: a GPU engine compiles for shapes "
                        "of batches that it meets for the first time (default: %(default)s)")
    p.add_argument("--warm-runs", type=int, default=0, metavar="N",
                   help="the same of every design, each of which brings about batches of its own (default: "
                        "%(default)s)")
    p.add_argument("--seed", type=int, default=1, help="of prompts, arrivals and order (default: %(default)s)")
    p.add_argument("--max-concurrency", type=int, metavar="N",
                   help="jobs that a worker takes at once (default: twice the most streams, 256 at least)")
    p.add_argument("--http-processes", type=int, default=1, metavar="N",
                   help="processes that carry the requests of the worker over HTTP (default: 1)")
    p.add_argument("--client-processes", type=int, default=1, metavar="N", help="default: %(default)s")
    p.add_argument("--timeout", type=float, default=600.0, help="seconds for one answer (default: %(default)g)")
    p.add_argument("--out", type=Path, metavar="FOLDER", help="for results.json, results.md and the plots")
    p.add_argument("--logs", type=Path, metavar="FOLDER", help="for the output of the worker and the designs")
    p.add_argument("--quiet", action="store_true", help="no progress bar")
    return p


def settle(options: argparse.Namespace) -> str | None:
    """Fill in what depends on other options; returns what is wrong with them."""
    if unknown := set(options.designs) - set(KNOWN):
        return f"unknown designs: {', '.join(sorted(unknown))}"
    if "://" in options.engine and {WORKER, HTTP, *HTTP_MANY} & set(options.designs):
        return "the worker starts its engine itself: with a URL, choose --designs without it, or use --engine env"
    if options.sweep:
        options.streams = [2**n for n in range(10)]
    if options.arrivals == "poisson":
        options.loads = [Load(options.requests, options.requests, options.rate)]
    else:
        options.loads = [Load(n, options.requests_per_stream) for n in sorted(options.streams)]
    options.max_concurrency = options.max_concurrency or max(256, 2 * max(load.streams for load in options.loads))
    served = dict(options.worker_env)
    options.model = options.model or served.get("SERVED_MODEL_NAME") or {
        "scripted": "tiny", "cpu": corpus.SERVED_NAME}.get(options.engine) or os.environ.get(
        "SERVED_MODEL_NAME") or served.get("MODEL_NAME") or os.environ.get("MODEL_NAME")
    return None if options.model else "which model? --model NAME"


def main(argv: list[str] | None = None) -> int:
    options = parser().parse_args(argv)
    if wrong := settle(options):
        print(wrong, file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory() as scratch:
        logs = options.logs or Path(scratch)
        for folder in filter(None, (logs, options.out)):
            folder.mkdir(parents=True, exist_ok=True)
        try:
            records = asyncio.run(run(options, logs))
        except (Failed, ClientsFailed) as error:
            print(error, file=sys.stderr)
            return 1
    result = serving_report.result(records, options)
    if options.out:
        serving_report.write(result, options.out)
        if problem := serving_plots.write(result, options.out):
            print(problem, file=sys.stderr)
    print(serving_report.markdown(result))
    return 1 if any(record["failed"] for record in records) else 0


if __name__ == "__main__":
    sys.exit(main())
