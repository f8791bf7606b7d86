"""How far behind the engine one long stream ends, when every POST to the platform is slow.

    python -m bench.lone_stream --tokens 2000 --rate 100 --post-ms 100

The lag is the time from the moment at which the engine wrote the end of its answer to the moment at which the client
has it. A POST takes effect half-way, so a chunk that leaves at once is half a POST late, and one that has to wait for
the POST before it up to one and a half. Exit status 1 when the worker was later than --bar POSTs, or an answer was
not complete.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

from bench.serving_plan import DESIGNS, WORKER, Load, Run, Target
from bench.serving_runs import Bench
from bench.serving_stack import Stack, Wanted


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(prog="python -m bench.lone_stream", description=__doc__,
                                formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--tokens", type=int, default=2000, help="default: %(default)s")
    p.add_argument("--rate", type=float, default=100.0, help="tokens a second (default: %(default)g)")
    p.add_argument("--post-ms", type=float, default=100.0, help="round trip of a POST (default: %(default)g)")
    p.add_argument("--repeats", type=int, default=3, help="default: %(default)s")
    p.add_argument("--designs", default="worker,raw-chunks", help=f"of {','.join(DESIGNS[1:])} (default: %(default)s)")
    p.add_argument("--bar", type=float, default=2.0, help="most POSTs behind (default: %(default)g)")
    p.set_defaults(engine="scripted", model="tiny", seed=1, prompt_tokens=8, client_processes=1, timeout=600.0)
    return p


def _engine_ended(url: str) -> float:
    """When the engine wrote the end of its last answer, as time.perf_counter() has it."""
    with urllib.request.urlopen(url + "/_scripted/requests", timeout=30) as response:
        last = json.load(response)[-1]
    return last["ended"] - (time.time() - time.perf_counter())


async def run(options: argparse.Namespace, logs: Path) -> int:
    """Print a line for each design and repeat. Returns the exit status."""
    designs, status = options.designs.split(","), 0
    async with Stack(Wanted("scripted", designs, logs, options.rate)) as stack:
        bench = Bench(stack, options)
        await bench.warm([Target(design) for design in designs])
        print("| design | repeat | behind the engine at the end, ms | in POSTs | TTFT, ms | chunks |")
        print("|---|---|---|---|---|---|")
        for repeat in range(options.repeats):
            for design in designs:
                figures, answers = await bench.measure(Run(Target(design, options.post_ms), Load(1), repeat),
                                                       options.tokens)
                ended = await asyncio.to_thread(_engine_ended, stack.engine_urls[0])
                lag = (answers[0]["sent"] + answers[0]["e2e"] - ended) * 1000
                print(f"| {design} | {repeat + 1} | {lag:.0f} | {lag / options.post_ms:.2f} "
                      f"| {figures['ttft']['p50']:.0f} | {figures['posts_stream']:.0f} |", flush=True)
                if figures["failed"]:
                    print(f"NOT COMPLETE: {figures['errors']}")
                if figures["failed"] or design == WORKER and lag > options.bar * options.post_ms:
                    status = 1
    return status


def main(argv: list[str] | None = None) -> int:
    options = parser().parse_args(argv)
    with tempfile.TemporaryDirectory() as logs:
        return asyncio.run(run(options, Path(logs)))


if __name__ == "__main__":
    sys.exit(main())
