"""The cold-start benchmark: whole starts of this worker, one after another, each as in a new container.

    MODEL_NAME=… python -m bench.cold_start --profiles default,fast --alone default --out FOLDER
    python -m bench.cold_start --engine cpu
    python -m bench.cold_start --weights FOLDER --volume-rate 0.3

For each profile one start with nothing compiled, and later one with the archive of kernels that it left. With --alone
also the server's own command without a worker, and the worker plainly (HEAD_START=off) beside it, both with the kernels
of the start before in place. With --weights the model in that folder is served, and what is compared is how its weights
come: read ahead or not, in memory or not, from a volume of so many GB/s. With --streams each profile's steady speed is
measured too, once it is up. What is measured and how is in docs/cold-start.md. --out is written anew after every start.
Exit status 1 when a start failed or an answer was not complete.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path

from tqdm import tqdm

from bench import serving, serving_report, slow_volume
from bench.cold_start_plan import NONE, PROFILES, ROWS, Container, plan, plan_of_weights
from bench.cold_start_report import markdown, result, write
from bench.serving_clients import ClientsFailed
from bench.serving_plan import WORKER
from bench.serving_stack import Failed, Stack, Wanted, worker_environ
from server.guard import descendants
from settings import config, here
from start import start_report
from start.cold_start import ColdStart
from tests.support import ROOT

_LOOK_EVERY = 0.05  # seconds
_END_WITHIN = 30.0  # seconds


def load_options(options: argparse.Namespace, environ: dict[str, str]) -> argparse.Namespace:
    """What the serving benchmark would be told to measure the speed of a server that has just started."""
    told = serving.parser().parse_args([
        "--engine", options.engine, "--designs", "engine,worker", "--streams", ",".join(map(str, options.streams)),
        "--post-ms", "30", "--tokens", str(options.tokens), "--repeats", str(options.load_repeats),
        "--engine-warm-runs", "1", "--client-processes", str(options.client_processes), "--quiet"])
    told.worker_env = list(environ.items())
    if problem := serving.settle(told):
        raise Failed(problem)
    return told


async def with_worker(wanted: Wanted, load: argparse.Namespace | None) -> dict:
    """Start the worker, wait until it asks for jobs, put `load` on it, and stop it; the start's figures."""
    async with Stack(wanted) as stack:  # its end is that of the worker, which then keeps what was compiled
        runs = await serving.measure(stack, load) if load else []
    lines = (wanted.logs / f"{WORKER}.log").read_text(errors="replace").splitlines()
    spans = start_report.read(lines)
    began = min(span.start for span in spans if span.name != "container")
    phases = [span._replace(start=span.start - began, end=span.end - began) for span in spans
              if span.name != "container"]
    seconds = max(span.end for span in phases)
    ready = next(float(told[1]) for line in lines if (told := re.search(r"engine ready after (\d+\.\d) s", line)))
    return {"seconds": seconds, "worker_s": seconds - ready, "phases": [span._asdict() for span in phases],
            "load": serving_report.medians(runs), "line": _weights_line(lines)}


def _weights_line(lines: list[str]) -> str:
    """What the worker said of the weights; "" where it said nothing."""
    for line in lines:
        with contextlib.suppress(ValueError, KeyError, TypeError):
            message = json.loads(line)["message"]
            if message.startswith("weights: "):
                return message
    return ""


def without_worker(environ: dict[str, str], log: Path) -> dict:
    """Start the server by the command that the worker would use, until /ready answers 200, and stop it."""
    settings, snapshot = here.resolved(environ)
    cold = ColdStart(settings, snapshot, time.monotonic())
    command, variables = cold.command(), cold.environ(config.engine_environ(settings, environ))
    began, base = time.monotonic(), f"http://127.0.0.1:{settings.port}"
    with log.open("wb") as out:
        server = subprocess.Popen(command, env=variables, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=out, stderr=out)
    try:
        while not _ready(base):
            if server.poll() is not None or time.monotonic() - began > settings.startup_timeout:
                raise Failed("the server did not get ready:\n" + "\n".join(log.read_text().splitlines()[-30:]))
            time.sleep(_LOOK_EVERY)
        return {"seconds": time.monotonic() - began, "phases": [], "load": []}
    finally:
        end(server)


def _ready(base: str) -> bool:
    """As the worker finds it out: /health runs a generation, which takes a second and up to five during the start."""
    for path in ("/ready", "/health"):
        try:
            with urllib.request.urlopen(base + path, timeout=5) as answer:
                return answer.status == 200
        except OSError as error:
            if getattr(error, "code", None) != 404:  # servers before /ready answer that
                return False
    return False


def end(server: subprocess.Popen) -> None:
    """In order, or with all that it started."""
    started = descendants(server.pid)
    server.terminate()
    try:
        server.wait(_END_WITHIN)
    except subprocess.TimeoutExpired:
        for pid in [*started, server.pid]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        server.wait()


async def run(options: argparse.Namespace, scratch: Path, records: list[dict], told: Callable[[], None]) -> None:
    """Append a record of each start, and call `told` after each.

    {"profile", "kernels", "head_start", "alone", "repeat", "seconds", "phases", "load", …}; load: the medians of the
    serving benchmark.
    """
    with contextlib.ExitStack() as stack:
        model = options.weights and options.weights.absolute()
        if model and options.volume_rate:
            place = options.volume_in or scratch
            more = 0.8 if any("packed" in row for row in options.rows) else 0.0
            model = stack.enter_context(slow_volume.volume(model, options.volume_rate * 1e9, place, more))
        await _starts(options, scratch, Container(options.scratch or scratch, model), records, told)


async def _starts(options: argparse.Namespace, scratch: Path, container: Container, records: list[dict],
                  told: Callable[[], None]) -> None:
    planned = (plan_of_weights(options.profiles, options.head_start, options.rows) if options.weights
               else plan(options.profiles, options.head_start, options.alone))
    if any(start.packed for start in planned):
        made = await asyncio.to_thread(container.pack, max(1, (os.cpu_count() or 1) - 1))
        if made["error"]:
            raise Failed(f"no packed copies: {made['error']}")
        print(f"packed copies: {made}", file=sys.stderr)
    starts = [(repeat, start) for repeat in range(options.repeats) for start in planned]
    began = time.monotonic()
    with tqdm(starts, unit="start", disable=options.quiet) as bar:
        for number, (repeat, start) in enumerate(bar):
            bar.set_postfix_str(start.name)
            if options.limit and time.monotonic() - began > options.limit:
                raise Failed(f"{len(starts) - number} starts were not made within {options.limit:g} s (--limit)")
            logs = (options.logs or scratch / "logs") / f"{number + 1}-{re.sub('[, ]+', '-', start.name)}"
            logs.mkdir(parents=True)
            environ = dict(options.worker_env) | container.environ(start)
            # The steady speed of a profile is the same however its kernels came.
            load = load_options(options, environ) if options.streams and start.kernels == NONE else None
            wanted = Wanted(options.engine, [WORKER], logs, environ=environ)
            await asyncio.to_thread(container.settle, start, options.forget == "all", options.bare)
            figures = await (asyncio.to_thread(without_worker, worker_environ(wanted), logs / "server.log")
                             if start.alone else with_worker(wanted, load))
            rate = {"volume_rate": options.volume_rate} if options.weights else {}
            records.append(start._asdict() | {"repeat": repeat} | rate | figures)
            bar.write(f"{start.name}: {figures['seconds']:.1f} s", file=sys.stderr)
            told()


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(prog="python -m bench.cold_start", description=__doc__,
                                formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--engine", default="env", choices=("env", "cpu", "scripted"),
                   help="what the worker's variables ask for, SGLang on the CPU with the tiny model, or a scripted "
                        "engine (default: %(default)s)")
    p.add_argument("--worker-env", type=serving.pair, action="append", default=[], metavar="KEY=VALUE",
                   help="a variable of the worker; any number of them")
    p.add_argument("--profiles", type=serving.numbers(str), default=list(PROFILES),
                   help=f"default: {','.join(PROFILES)}")
    p.add_argument("--head-start", choices=("auto", "on", "off"), default="auto", help="default: %(default)s")
    p.add_argument("--alone", type=serving.numbers(str), default=[], metavar="PROFILE,…",
                   help="for these also the server without a worker, and the worker beside it")
    p.add_argument("--weights", type=Path, metavar="FOLDER",
                   help="a model with real weights: compare how they come, instead of how the kernels do")
    p.add_argument("--volume-rate", type=float, metavar="GB/s",
                   help="serve a copy of it on a disk of its own that gives so much, as root (default: FOLDER itself)")
    p.add_argument("--volume-in", type=Path, metavar="FOLDER",
                   help="where that disk's file is made, such as /dev/shm (default: a temporary folder)")
    p.add_argument("--rows", type=serving.numbers(str),
                   default=[row for row in ROWS if row != "bare" and "packed" not in row],
                   metavar="ROW,…", help=f"of {','.join(ROWS)}, or fast:ahead for one profile alone; none makes the "
                   "kernels for the others (default: all but bare and those with packed copies)")
    p.add_argument("--bare", type=Path, metavar="FOLDER",
                   help="SGLang's own folder, whose bytecode is removed before each start of the row bare")
    p.add_argument("--forget", choices=("weights", "all"), default="weights",
                   help="what the page cache forgets before a start: the weights alone, or all that it has, as on "
                        "another machine, as root (default: %(default)s)")
    p.add_argument("--scratch", type=Path, metavar="FOLDER",
                   help="keeps home and kernels from one call to the next (default: a temporary folder)")
    p.add_argument("--limit", type=float, metavar="SECONDS", help="begin no start after so long")
    p.add_argument("--streams", type=serving.numbers(int), default=[], metavar="N,…",
                   help="measure the speed of each profile's first start with so many streams at once, of the server "
                        "itself and through the worker at 30 ms a POST")
    p.add_argument("--tokens", type=int, default=256, help="of each of their answers (default: %(default)s)")
    p.add_argument("--load-repeats", type=int, default=3, metavar="N",
                   help="runs of which the median counts (default: %(default)s)")
    p.add_argument("--client-processes", type=int, default=1, metavar="N", help="default: %(default)s")
    p.add_argument("--repeats", type=int, default=1, help="of the whole row of starts (default: %(default)s)")
    p.add_argument("--out", type=Path, metavar="FOLDER", help="for results.json, results.md and a picture each start")
    p.add_argument("--logs", type=Path, metavar="FOLDER", help="for the output of the workers")
    p.add_argument("--quiet", action="store_true", help="no progress bar")
    return p


def main(argv: list[str] | None = None) -> int:
    options = parser().parse_args(argv)
    if unknown := {*options.profiles, *options.alone} - set(PROFILES):
        print(f"unknown profiles: {', '.join(sorted(unknown))}", file=sys.stderr)
        return 2
    if extra := set(options.alone) - set(options.profiles):
        print(f"--alone needs the kernels of the profile's own start: add {', '.join(sorted(extra))} to --profiles",
              file=sys.stderr)
        return 2
    wrong = "--volume-rate needs --weights" if options.volume_rate and not options.weights else ""
    try:
        starts = plan_of_weights(options.profiles, options.head_start, options.rows)
        if not options.bare and not all(start.bytecode for start in starts):
            wrong = "the row bare needs --bare"
    except ValueError as error:
        wrong = str(error)
    if wrong:
        print(wrong, file=sys.stderr)
        return 2
    for folder in filter(None, (options.out, options.scratch)):
        folder.mkdir(parents=True, exist_ok=True)
    records: list[dict] = []

    def told() -> None:
        if options.out:
            write(result(records), options.out)

    with tempfile.TemporaryDirectory() as scratch:
        try:
            asyncio.run(run(options, Path(scratch), records, told))
        except (Failed, ClientsFailed, config.ConfigError, slow_volume.Impossible) as error:
            print(error, file=sys.stderr)
            return 1
    print(markdown(result(records)))
    return 1 if any(one["failed"] for record in records for one in record["load"]) else 0


if __name__ == "__main__":
    sys.exit(main())
