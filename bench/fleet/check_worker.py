"""The simulation beside the real worker: one small case, on the platform's stand-in with the scripted engine.

The worker's speed with few streams is measured first and becomes the curve. Then requests come by chance, more at times
than it may run at once, and each of them is played again in the simulation, at the very moment at which it was sent.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.fleet.curves import Curve
from bench.fleet.endpoint import Endpoint, run
from bench.fleet.scalers import Scaler
from bench.machine_facts import machine
from bench.serving_metrics import percentile
from bench.serving_plan import WORKER, Load, Run, Target
from bench.serving_report import command, rounded
from bench.serving_runs import Bench
from bench.serving_stack import Failed, Stack, Wanted


@dataclass(frozen=True)
class Case:
    """rate: requests a second; tokens: of each answer; engine_rate: tokens a second of each stream; alone: requests of
    each stream when its speed is measured."""

    concurrency: int = 4
    rate: float = 1.5
    tokens: int = 60
    engine_rate: float = 30.0
    post_ms: float = 30.0
    requests: int = 150
    repeats: int = 3
    alone: int = 5


_OPTIONS = argparse.Namespace(engine="scripted", seed=1, model="tiny", prompt_tokens=32, client_processes=1,
                              timeout=600.0)
_QUANTILES = (50, 90, 99)


async def main(out: Path | None, case: Case = Case()) -> int:
    """Measure, play, print; the exit status."""
    with tempfile.TemporaryDirectory() as logs:
        result = await _measured(case, Path(logs))
    text = markdown(case, result)
    if out:
        (out / "check-worker.json").write_text(json.dumps(rounded(result), indent=1) + "\n", encoding="utf-8")
        (out / "check-worker.md").write_text(text + "\n", encoding="utf-8")
    print(text)
    return 0


async def _measured(case: Case, logs: Path) -> dict[str, Any]:
    wanted = Wanted("scripted", [WORKER], logs, rate=case.engine_rate, concurrency=case.concurrency)
    target = Target(WORKER, case.post_ms)
    async with Stack(wanted) as stack:
        bench = Bench(stack, _OPTIONS)
        await bench.warm([target])
        alone = {}
        for streams in sorted({1, 2, case.concurrency}):
            figures, answers = await bench.measure(Run(target, Load(streams, case.alone), 0), case.tokens)
            _whole(answers)
            alone[streams] = figures["ttft"]["p50"] / 1000, figures["tpot"]["p50"] / 1000
        print(f"{case.repeats} runs of {case.requests / case.rate:.0f} s", file=sys.stderr, flush=True)
        load = Load(case.requests, case.requests, case.rate)
        runs = [(await bench.measure(Run(target, load, repeat), case.tokens))[1] for repeat in range(case.repeats)]
    curve = Curve([(n, ttft) for n, (ttft, _) in alone.items()], [(n, tpot) for n, (_, tpot) in alone.items()])
    return {"command": command("bench.fleet", sys.argv[1:]), "machine": machine(),
            "curve": [{"streams": n, "ttft_s": ttft, "tpot_s": tpot} for n, (ttft, tpot) in alone.items()],
            "runs": [compared(_whole(answers), curve, case.concurrency) for answers in runs]}


def _whole(answers: list[dict[str, Any]]) -> list[dict[str, Any]]:
    if wrong := [answer["error"] for answer in answers if answer["error"]]:
        raise Failed(f"{len(wrong)} answers were not complete: {wrong[0]}")
    return answers


def compared(answers: list[dict[str, Any]], curve: Curve, concurrency: int) -> dict[str, Any]:
    """{"first" and "e2e": {"worker", "simulated": {"mean", "p50", …}}}, seconds, of the same requests."""
    answers = sorted(answers, key=lambda answer: answer["sent"])
    begun = answers[0]["sent"]
    endpoint = Endpoint(concurrency, Scaler("count", 1), active=1, most=1)
    jobs = run(endpoint, curve, [(answer["sent"] - begun, answer["tokens"]) for answer in answers]).jobs
    return {"first": {"worker": _spread([answer["ttft"] for answer in answers]),
                      "simulated": _spread([job.first - job.came for job in jobs])},
            "e2e": {"worker": _spread([answer["e2e"] for answer in answers]),
                    "simulated": _spread([job.ended - job.came for job in jobs])},
            "waited": sum(job.taken > job.came for job in jobs) / len(jobs)}


def _spread(values: list[float]) -> dict[str, float]:
    ordered = sorted(values)
    return {"mean": sum(ordered) / len(ordered)} | {f"p{q}": percentile(ordered, q) for q in _QUANTILES}


def markdown(case: Case, result: dict[str, Any]) -> str:
    """A table: each run's requests, by the worker and simulated."""
    lines = [f"`{result['command']}`", "",
             f"One worker, {case.concurrency} jobs at once, {case.requests} requests of {case.tokens} tokens at "
             f"{case.rate:g} a second, {case.post_ms:g} ms a POST, the engine at {case.engine_rate:g} tokens a second "
             "for each stream. Seconds.", "",
             "| run | of the requests waited | what | | mean | p50 | p90 | p99 |", "|---|---|---|---|---|---|---|---|"]
    for number, one in enumerate(result["runs"], 1):
        for what, name in (("first", "to the first token"), ("e2e", "to the end")):
            for who in ("worker", "simulated"):
                cells = [f"{one[what][who][key]:.2f}" for key in ("mean", "p50", "p90", "p99")]
                lines.append(f"| {number} | {one['waited']:.0%} | {name} | {who} | " + " | ".join(cells) + " |")
    return "\n".join(lines)
