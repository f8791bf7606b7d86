"""Fuzz: arbitrary JSON as the input of jobs, straight into the handler, in front of a scripted engine.

    python -m bench.fuzz --inputs 10000 --seed 1 [--keep]

Every job must end: with one JSON value, with text chunks of whole events, or with exactly one {"error": JSON text},
which comes last; and whatever it gives must be encodable as the SDK encodes it. Some jobs are cancelled on the way.
Afterwards no task and no socket may be left, memory must not have grown, and an ordinary request must work. Exit
status 1 otherwise. Before the new inputs come those that once failed, from fuzz_corpus.jsonl; --keep adds to them what
fails now.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import json
import os
import random
import sys
import tempfile
import time
import tracemalloc
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from bench import fuzz_corpus, fuzz_inputs
from bench.chaos_checks import READERS, Corrupt
from bench.fuzz_checks import wrong_with
from job.model import ModelFacts
from job.worker import Worker
from settings import config
from tests.support import ROOT, Scripted, say
from tests.worker import contract_environ

AT_ONCE = 16
_HANG = 60.0  # seconds; nothing in a run takes one
_MOST_GROWTH = 4e6  # bytes that may stay allocated after the first fifth of the inputs, caches included
# Every prompt gets the same short answer, whatever number of tokens an input asks for.
_SCRIPT = json.dumps({"text": "Paris is the capital of France. 🦜"})


@dataclass
class Report:
    """endings: how many jobs ended how; failing: the inputs that must not fail so; growth: bytes that stayed allocated,
    and of resident memory."""

    inputs: int
    seed: int
    endings: Counter = field(default_factory=Counter)
    failing: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    growth: int = 0
    resident_growth: int = 0
    tasks_left: int = 0
    sockets_open: int = 0
    sockets_left: int = 0
    seconds: float = 0.0

    @property
    def clean(self) -> bool:
        return not self.problems

    def markdown(self) -> str:
        codes = ", ".join(f"{count} with {name[7:]}" for name, count in sorted(self.endings.items())
                          if name.startswith("failed "))
        rows = [("inputs", self.inputs), ("answered with one JSON value", self.endings["value"]),
                ("answered with a stream", self.endings["stream"]), ("failed with a reason", codes or "none"),
                ("cancelled on the way", self.endings["cancelled"]), ("wrong", len(self.problems)),
                ("tasks left", self.tasks_left), ("sockets open at most, and left", f"{self.sockets_open}, "
                                                  f"{self.sockets_left}"),
                ("memory that stayed allocated after the first fifth", f"{self.growth / 1e3:.0f} kB"),
                ("resident memory after the first fifth", f"{self.resident_growth / 1e6:+.1f} MB"),
                ("seconds", f"{self.seconds:.0f}")]
        return "\n".join(["| | |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows)])


def _sockets() -> int:
    count = 0
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):
            count += os.readlink(f"/proc/self/fd/{name}").startswith("socket:")
    return count


def _resident() -> int:
    with open("/proc/self/statm") as f:
        return int(f.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


class Fuzz:
    """One run over prepared inputs."""

    def __init__(self, worker: Worker, report: Report):
        self.worker, self.report = worker, report
        self._rng = random.Random(report.seed)

    async def run(self, path: str) -> None:
        sockets, warm = _sockets(), 0
        resident = 0
        with open(path, encoding="utf-8") as lines:
            batch: list[str] = []
            for number, line in enumerate(lines, 1):
                batch.append(line)
                if len(batch) == AT_ONCE or number == self.report.inputs:
                    await asyncio.gather(*map(self._one, batch))
                    self.report.sockets_open = max(self.report.sockets_open, _sockets() - sockets)
                    batch.clear()
                if not warm and number >= self.report.inputs / 5:
                    warm, resident = number, self._measure_from_now()
                if number % 1000 == 0:
                    print(f"{number} of {self.report.inputs}", file=sys.stderr, flush=True)
        gc.collect()
        self.report.growth, self.report.resident_growth = tracemalloc.get_traced_memory()[0], _resident() - resident
        tracemalloc.stop()
        await self._ordinary()
        await self.worker.upstream.close()
        self._left_behind(sockets)

    @staticmethod
    def _measure_from_now() -> int:
        gc.collect()
        tracemalloc.start()
        return _resident()

    async def _one(self, line: str) -> None:
        value = json.loads(line)
        outputs: list = []
        job = asyncio.create_task(self._collect(value, outputs))
        if self._rng.random() < 0.08:
            asyncio.get_running_loop().call_later(self._rng.random() * 0.05, job.cancel)
        try:
            async with asyncio.timeout(_HANG):
                await asyncio.wait({job})
        except TimeoutError:
            self.report.problems.append(f"did not end within {_HANG:.0f} s: {line[:600]}")
            self.report.failing.append(line)
            job.cancel()
            return
        if job.cancelled():
            self.report.endings["cancelled"] += 1
            return
        wrong = f"raised {job.exception()!r}" if job.exception() else wrong_with(outputs)
        if wrong:
            self.report.problems.append(f"{wrong}\n    {line[:600]}")
            self.report.endings["wrong"] += 1
            self.report.failing.append(line)
        elif isinstance(outputs[-1], dict) and "error" in outputs[-1] and outputs[-1]["error"]:
            self.report.endings[f"failed {json.loads(outputs[-1]['error'])['code']}"] += 1
        else:
            self.report.endings["stream" if isinstance(outputs[0], str) else "value"] += 1

    async def _collect(self, value: object, outputs: list) -> None:
        async with contextlib.aclosing(self.worker.handle({"id": f"fuzz-{id(outputs)}", "input": value})) as answer:
            async for output in answer:
                outputs.append(output)

    async def _ordinary(self) -> None:
        for reading, stream in (("chat", False), ("chat-stream", True)):
            outputs: list = []
            await self._collect({"messages": say({"text": "Paris."}), "stream": stream}, outputs)
            try:
                right = READERS[reading](outputs) == ["Paris."]
            except Corrupt:
                right = False
            if not right:
                self.report.problems.append(f"an ordinary request afterwards gave {outputs}"[:500])

    def _left_behind(self, sockets: int) -> None:
        report = self.report
        report.tasks_left = len(asyncio.all_tasks() - {asyncio.current_task()})
        report.sockets_left = _sockets() - sockets
        if report.tasks_left:
            report.problems.append(f"tasks left: {asyncio.all_tasks()}"[:1000])
        if self.worker.upstream.running:
            report.problems.append(f"the worker counts {self.worker.upstream.running} requests as running")
        if report.sockets_left > 0 or report.sockets_open > 2 * AT_ONCE:
            report.problems.append(f"{report.sockets_left} sockets left, {report.sockets_open} open at most")
        if report.growth > _MOST_GROWTH:
            report.problems.append(f"{report.growth} bytes more stay allocated than after the first fifth")


def run(inputs: int, seed: int) -> Report:
    """The corpus, then so many new inputs: run them, judge."""
    kept = fuzz_corpus.read()
    report = Report(inputs + len(kept), seed)
    started = time.monotonic()
    environ = contract_environ(MAX_INPUT_MB="0.4", RETRY_TIMEOUT="0.5", REQUEST_TIMEOUT="30", ENGINE_IDLE_TIMEOUT="30")
    snapshot = json.loads((Path(ROOT) / "builder" / "flags.json").read_text(encoding="utf-8"))
    with tempfile.TemporaryDirectory() as folder, Scripted("--script", _SCRIPT) as scripted:
        path = f"{folder}/inputs"
        with open(path, "w", encoding="utf-8") as out:
            out.writelines(line + "\n" for line in kept)
            fuzz_inputs.write(out, inputs, seed)

        async def all_of_them() -> None:
            worker = Worker(config.load(environ, snapshot, 0, sys.executable), scripted.engine)
            worker.facts = ModelFacts(256, True)  # the scripted engine's tokens are bytes
            await Fuzz(worker, report).run(path)
        asyncio.run(all_of_them())
        if scripted.engine.returncode is not None:
            report.problems.append("the engine ended")
    report.seconds = time.monotonic() - started
    return report


def main(argv: list[str] | None = None) -> int:
    p = argparse.ArgumentParser(prog="python -m bench.fuzz", description=__doc__,
                                formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--inputs", type=int, default=10_000, help="default: %(default)s")
    p.add_argument("--seed", type=int, default=1, help="default: %(default)s")
    p.add_argument("--keep", action="store_true", help="add what fails to the corpus")
    options = p.parse_args(argv)
    with open(os.devnull, "w", encoding="utf-8") as nowhere, contextlib.redirect_stdout(nowhere):  # the worker's log
        report = run(options.inputs, options.seed)
    if options.keep:
        fuzz_corpus.keep(report.failing, f"found with seed {options.seed}")
    print(report.markdown())
    for problem in report.problems[:30]:
        print(f"\n{problem}")
    return 0 if report.clean else 1


if __name__ == "__main__":
    sys.exit(main())
