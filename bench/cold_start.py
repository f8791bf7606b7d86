"""The cold-start benchmark: whole starts of this worker, one after another, each as in a new container.

    MODEL_NAME=… python -m bench.cold_start --profiles default,fast --alone default --out FOLDER
    python -m bench.cold_start --engine cpu

For each profile one start with nothing compiled, then one with the archive of kernels that it left. With --alone also
the server's own command without a worker, and the worker plainly (HEAD_START=off) beside it, both with the kernels of
the start before in place. What is measured and how is in docs/cold-start.md. Exit status 1 when a start failed.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
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
from pathlib import Path
from typing import NamedTuple

from tqdm import tqdm

import config
import model_source
import start_report
from bench.cold_start_report import markdown, result, write
from bench.serving import numbers, pair
from bench.serving_plan import WORKER
from bench.serving_stack import Failed, Stack, Wanted, worker_environ
from cold_start import ColdStart
from guard import descendants
from handler import visible_gpus
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
    """alone: the profiles for which the server is also started without a worker."""
    starts = []
    for profile in profiles:
        starts += [Start(profile, NONE, head_start), Start(profile, RESTORED, head_start)]
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


async def with_worker(wanted: Wanted) -> dict:
    """Start the worker, wait until it asks for jobs, and stop it; the start's figures."""
    async with Stack(wanted):
        pass  # it begins with that wait, and its end is that of the worker, which keeps what was compiled
    lines = (wanted.logs / f"{WORKER}.log").read_text(errors="replace").splitlines()
    spans = start_report.read(lines)
    began = min(span.start for span in spans if span.name != "container")
    phases = [span._replace(start=span.start - began, end=span.end - began) for span in spans
              if span.name != "container"]
    seconds = max(span.end for span in phases)
    ready = next(float(told[1]) for line in lines if (told := re.search(r"engine ready after (\d+\.\d) s", line)))
    return {"seconds": seconds, "worker_s": seconds - ready, "phases": [span._asdict() for span in phases]}


def without_worker(environ: dict[str, str], log: Path) -> dict:
    """Start the server by the command that the worker would use, until /health answers 200, and stop it."""
    snapshot = json.loads((ROOT / "builder" / "flags.json").read_text(encoding="utf-8"))
    settings = model_source.locate(config.load(environ, snapshot, visible_gpus(), sys.executable), snapshot, environ)
    cold = ColdStart(settings, snapshot, time.monotonic())
    command, variables = cold.command(), cold.environ(config.engine_environ(settings, environ))
    began, url = time.monotonic(), f"http://127.0.0.1:{settings.port}/health"
    with log.open("wb") as out:
        server = subprocess.Popen(command, env=variables, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=out, stderr=out)
    try:
        while not _healthy(url):
            if server.poll() is not None or time.monotonic() - began > settings.startup_timeout:
                raise Failed("the server did not get ready:\n" + "\n".join(log.read_text().splitlines()[-30:]))
            time.sleep(_LOOK_EVERY)
        return {"seconds": time.monotonic() - began, "phases": []}
    finally:
        end(server)


def _healthy(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return answer.status == 200
    except OSError:
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


async def run(options: argparse.Namespace, scratch: Path) -> list[dict]:
    """A record of each start: {"profile", "kernels", "head_start", "alone", "repeat", "seconds", "phases", …}."""
    container, records = Container(scratch), []
    starts = [(repeat, start) for repeat in range(options.repeats)
              for start in plan(options.profiles, options.head_start, options.alone)]
    with tqdm(starts, unit="start", disable=options.quiet) as bar:
        for number, (repeat, start) in enumerate(bar):
            bar.set_postfix_str(start.name)
            logs = (options.logs or scratch / "logs") / f"{number + 1}-{re.sub('[, ]+', '-', start.name)}"
            logs.mkdir(parents=True)
            wanted = Wanted(options.engine, [WORKER], logs, environ=dict(options.worker_env) | container.environ(start))
            figures = await (asyncio.to_thread(without_worker, worker_environ(wanted), logs / "server.log")
                             if start.alone else with_worker(wanted))
            records.append(start._asdict() | {"repeat": repeat} | figures)
            bar.write(f"{start.name}: {figures['seconds']:.1f} s", file=sys.stderr)
    return records


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(prog="python -m bench.cold_start", description=__doc__,
                                formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--engine", default="env", choices=("env", "cpu", "scripted"),
                   help="what the worker's variables ask for, SGLang on the CPU with the tiny model, or a scripted "
                        "engine (default: %(default)s)")
    p.add_argument("--worker-env", type=pair, action="append", default=[], metavar="KEY=VALUE",
                   help="a variable of the worker; any number of them")
    p.add_argument("--profiles", type=numbers(str), default=list(PROFILES), help=f"default: {','.join(PROFILES)}")
    p.add_argument("--head-start", choices=("auto", "on", "off"), default="auto", help="default: %(default)s")
    p.add_argument("--alone", type=numbers(str), default=[], metavar="PROFILE,…",
                   help="for these also the server without a worker, and the worker beside it")
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
    with tempfile.TemporaryDirectory() as scratch:
        try:
            records = asyncio.run(run(options, Path(scratch)))
        except (Failed, config.ConfigError) as error:
            print(error, file=sys.stderr)
            return 1
    found = result(records)
    if options.out:
        options.out.mkdir(parents=True, exist_ok=True)
        write(found, options.out)
    print(markdown(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
