"""How many bytes the worker posts for one streamed answer of the native route, and how that grows with its length.

    python -m bench.native_bytes --tokens 500,1000,2000,4000 --rate 200 --post-ms 30

Each event of SGLang's native stream repeats the whole answer so far, so what the engine sends grows with the square of
the length. What reaches the platform need not. growth: the exponent k of bytes ~ tokens^k from the length before: 1 is
linear, 2 quadratic. Exit status 1 when a job fails.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

from bench.serving_plan import WORKER, Target
from bench.serving_stack import Stack, Wanted

_HEADERS = {"Authorization": "Bearer local", "Content-Type": "application/json"}


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(prog="python -m bench.native_bytes", description=__doc__,
                                formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--tokens", default="500,1000,2000,4000", help="lengths to compare (default: %(default)s)")
    p.add_argument("--rate", type=float, default=200.0, help="tokens a second (default: %(default)g)")
    p.add_argument("--post-ms", type=float, default=30.0, help="round trip of a POST (default: %(default)g)")
    return p


def _ask(url: str, body: dict | None = None) -> dict:
    data = None if body is None else json.dumps(body).encode()
    with urllib.request.urlopen(urllib.request.Request(url, data, _HEADERS), timeout=30) as response:
        return json.load(response)


def _generate(url: str, tokens: int, patience: float) -> tuple[str, str]:
    """(status, error) of one job; `patience` in seconds."""
    job = _ask(url + "/run", {"input": {"text": "Say it all.", "stream": True,
                                        "sampling_params": {"max_new_tokens": tokens, "ignore_eos": True}}})
    deadline = time.monotonic() + patience
    while (state := _ask(f"{url}/status/{job['id']}"))["status"] in ("IN_QUEUE", "IN_PROGRESS"):
        if time.monotonic() > deadline:
            return "TIMED OUT", ""
        time.sleep(0.2)
    return state["status"], str(state.get("error") or "")


def growth(points: list[tuple[int, int]]) -> float:
    """The exponent k of bytes ~ tokens^k between the last two (tokens, bytes): 1 linear, 2 quadratic."""
    (few, little), (many, much) = points[-2:]
    return math.log(much / little) / math.log(many / few)


async def run(options: argparse.Namespace, logs: Path) -> int:
    """Print a line for each length. Returns the exit status."""
    lengths = [int(text) for text in options.tokens.split(",")]
    points, failed = [], False
    async with Stack(Wanted("scripted", [WORKER], logs, options.rate)) as stack:
        target = Target(WORKER, options.post_ms)
        print("| tokens | status | POSTs of chunks | bytes in them | a token | growth | bytes of the result |")
        print("|---|---|---|---|---|---|---|")
        for tokens in lengths:
            await stack.prepare(target)
            status, error = await asyncio.to_thread(_generate, stack.platform.urls[0], tokens,
                                                    60 + 5 * tokens / options.rate)
            counters = await stack.counters(target)
            chunks = counters["bytes"].get("job-stream", 0)
            if status == "COMPLETED":
                points.append((tokens, chunks))
            grown = f"{growth(points):.2f}" if status == "COMPLETED" and len(points) > 1 else "-"
            print(f"| {tokens} | {status} | {counters['posts'].get('job-stream', 0)} | {chunks:,} "
                  f"| {chunks / tokens:.1f} | {grown} | {counters['bytes'].get('job-done', 0):,} |", flush=True)
            if status != "COMPLETED":
                failed = True
                print(f"NOT COMPLETED: {error[:300]}", flush=True)
    return 1 if failed else 0


def main(argv: list[str] | None = None) -> int:
    options = parser().parse_args(argv)
    with tempfile.TemporaryDirectory() as logs:
        return asyncio.run(run(options, Path(logs)))


if __name__ == "__main__":
    sys.exit(main())
