"""How long the engine goes on for a client that has gone away, over HTTP.

    python -m bench.leaving --clients 300 --at-once 32

The real worker process and the scripted engine. Each client goes away once the engine is at its request: before the
first token of a stream, in the middle of one, or while a whole answer is being made. Exit status 1 when one is never
noticed, or takes longer than --within.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time

import aiohttp

from bench.serving_metrics import percentile
from tests.support import free_port
from tests.worker import WorkerProcess, contract_environ

KINDS = {"before the first token": ({"tokens": 9, "hang_at": 0}, True),
         "in a stream": ({"tokens": 9, "hang_at": 3}, True),
         "a whole answer": ({"tokens": 9, "hang_at": 3}, False)}
_PATIENCE = 60  # seconds


async def run(clients: int, at_once: int) -> dict[str, list[float]]:
    """Seconds from each client's end to that of its generation, by kind; infinite when that was never seen."""
    found: dict[str, list[float]] = {kind: [] for kind in KINDS}
    environ = contract_environ(WORKER_MODE="http", HOST="127.0.0.1", PORT=str(free_port()),
                               MAX_CONCURRENCY=str(at_once))
    async with WorkerProcess(None, environ) as worker, aiohttp.ClientSession(
            f"http://127.0.0.1:{environ['SGLANG_PORT']}", connector=aiohttp.TCPConnector(limit=0)) as engine:
        await worker.line("serving over HTTP", 120)
        room = asyncio.Semaphore(at_once)

        async def seen(rid: str, state: str) -> dict | None:
            async with engine.get("/_scripted/wait", params={"rid": rid, "state": state,
                                                             "timeout": str(_PATIENCE)}) as response:
                return (await response.json())[0] if response.status == 200 else None

        async def one(number: int) -> None:
            kind = list(KINDS)[number % len(KINDS)]
            (script, streams), rid = KINDS[kind], f"leaving-{number:08}-0123456789"
            body = json.dumps({"messages": [{"role": "user", "content": "#script " + json.dumps(script)}],
                               "stream": streams, "rid": rid}).encode()
            async with room:
                _, writer = await asyncio.open_connection("127.0.0.1", int(environ["PORT"]))
                writer.write(b"POST /v1/chat/completions HTTP/1.1\r\nHost: worker\r\nContent-Type: application/json\r\n"
                             b"Content-Length: %d\r\n\r\n" % len(body) + body)
                at_it = await seen(rid, "hanging")
                left = time.time()
                writer.close()
                ended = await seen(rid, "aborted,disconnected") if at_it else None
                found[kind].append(max(0.0, ended["ended"] - left) if ended else float("inf"))

        await asyncio.gather(*map(one, range(clients)))
    return found


def markdown(found: dict[str, list[float]]) -> str:
    """A line for each kind; milliseconds."""
    lines = ["| the client goes away | clients | p50 | p90 | p99 | most |", "|---|---|---|---|---|---|"]
    for kind, times in found.items():
        ordered = sorted(times)
        spread = " | ".join(f"{percentile(ordered, q) * 1000:.0f}" for q in (50, 90, 99, 100))
        lines.append(f"| {kind} | {len(times)} | {spread} |")
    return "\n".join(lines)


def main(argv: list[str] | None = None) -> int:
    p = argparse.ArgumentParser(prog="python -m bench.leaving", description=__doc__,
                                formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--clients", type=int, default=300, help="default: %(default)s")
    p.add_argument("--at-once", type=int, default=32, help="default: %(default)s")
    p.add_argument("--within", type=float, default=1.0, help="seconds that none may exceed (default: %(default)g)")
    options = p.parse_args(argv)
    found = asyncio.run(run(options.clients, options.at_once))
    print(markdown(found))
    return 1 if max(max(times, default=0.0) for times in found.values()) > options.within else 0


if __name__ == "__main__":
    sys.exit(main())
