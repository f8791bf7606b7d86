"""The cold-start benchmark: whole starts of this worker, one after another, each as in a new container.

    MODEL_NAME=… python -m bench.cold_start --profiles default,fast --alone default --out FOLDER
    python -m bench.cold_start --engine cpu

For each profile one start with nothing compiled, and later one with the archive of kernels that it left. With --alone
also the server's own command without a worker, and the worker plainly (HEAD_START=off) beside it, both with the kernels
of the start before in place. With --streams each profile's steady speed is measured too, once it is up. What is
measured and how is in docs/cold-start.md. --out is written anew after every start. Exit status 1 when a start failed or
an answer was not complete.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import re
import shutil
import signal
import site
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from tqdm import tqdm

from bench import serving, serving_report
from bench.cold_start_report import markdown, result, write
from bench.serving_clients import ClientsFailed
from bench.serving_plan import WORKER
from bench.serving_stack import Failed, Stack, Wanted, worker_environ
from server.guard import descendants
from settings import config, here
from start import start_report
from start.cold_start import ColdStart
from tests.support import ROOT

PROFILES = ("default", "fast")
NONE, RESTORED, IN_PLACE = "none", "restored", "in place"
_LOOK_EVERY = 0.05  # seconds
_END_WITHIN = 30.0  # seconds


class Start(NamedTuple):
    """One start. kernels: NONE, RESTORED or IN_PLACE; alone: the server's command without a worker."""

    profile: str
    kernels: str
    head_start: str
    alone: bool = False

    @property
    def name(self) -> str:
        return f"{'server' if self.alone else 'worker'}, {self.profile}, kernels {self.kernels}"


def plan(profiles: list[str], head_start: str, alone: list[str]) -> list[Start]:
    """alone: the profiles for which the server is also started without a worker. Starts that are compared with each
    other are neighbours: first those with nothing compiled."""
    starts = [Start(profile, NONE, head_start) for profile in profiles]
    for profile in profiles:
        starts.append(Start(profile, RESTORED, head_start))
        if profile in alone:
            starts += [Start(profile, IN_PLACE, "off", alone=True), Start(profile, IN_PLACE, "off")]
    return starts


class Container:
    """The folders that starts see: a home that a new container would have, and a volume that outlives it.

    The home has the same path each time, as in containers of one image: compilers write paths into what they keep.
    """

    def __init__(self, folder: Path):
        self._home, self._volumes = folder / "home", folder / "volumes"

    def environ(self, start: Start) -> dict[str, str]:
        volume = self._volumes / start.profile
        if start.kernels == NONE:
            shutil.rmtree(volume, ignore_errors=True)
        if start.kernels != IN_PLACE:
            shutil.rmtree(self._home, ignore_errors=True)
        for one in (self._home, volume):
            one.mkdir(parents=True, exist_ok=True)
        models = os.environ.get("HF_HOME") or os.path.expanduser("~/.cache/huggingface")
        return {"HOME": str(self._home), "XDG_CACHE_HOME": str(self._home / ".cache"), "HF_HOME": models,
                "PYTHONUSERBASE": site.getuserbase(), "COMPILE_CACHE_DIR": str(volume),
                "START_PROFILE": start.profile, "HEAD_START": start.head_start}


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
            "load": serving_report.medians(runs)}


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
    container = Container(scratch)
    starts = [(repeat, start) for repeat in range(options.repeats)
              for start in plan(options.profiles, options.head_start, options.alone)]
    with tqdm(starts, unit="start", disable=options.quiet) as bar:
        for number, (repeat, start) in enumerate(bar):
            bar.set_postfix_str(start.name)
            logs = (options.logs or scratch / "logs") / f"{number + 1}-{re.sub('[, ]+', '-', start.name)}"
            logs.mkdir(parents=True)
            environ = dict(options.worker_env) | container.environ(start)
            # The steady speed of a profile is the same however its kernels came.
            load = load_options(options, environ) if options.streams and start.kernels == NONE else None
            wanted = Wanted(options.engine, [WORKER], logs, environ=environ)
            figures = await (asyncio.to_thread(without_worker, worker_environ(wanted), logs / "server.log")
                             if start.alone else with_worker(wanted, load))
            records.append(start._asdict() | {"repeat": repeat} | figures)
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
    if options.out:
        options.out.mkdir(parents=True, exist_ok=True)
    records: list[dict] = []

    def told() -> None:
        if options.out:
            write(result(records), options.out)

    with tempfile.TemporaryDirectory() as scratch:
        try:
            asyncio.run(run(options, Path(scratch), records, told))
        except (Failed, ClientsFailed, config.ConfigError) as error:
            print(error, file=sys.stderr)
            return 1
    print(markdown(result(records)))
    return 1 if any(one["failed"] for record in records for one in record["load"]) else 0


if __name__ == "__main__":
    sys.exit(main())
