"""How connections fall to the processes of the HTTP front: many at once, and one after the other.

    python -m bench.accept_spread [--processes 2,3,4] [--connections 8,128,512]

A whole worker with the scripted engine. What is shown is how many connections each process has.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib

from bench.process_usage import connections, with_fronts
from tests.support import free_port
from tests.worker import WorkerProcess, contract_environ

_ACCEPTED_WITHIN = 10.0  # seconds
_APART = 0.005  # seconds between two that come one after the other


async def spread(processes: int, count: int, apart: float = 0.0) -> list[int]:
    """Of `count` connections, how many each of so many processes accepted."""
    environ = contract_environ(WORKER_MODE="http", WORKER_API_KEY="none", PORT=str(free_port()),
                               HTTP_PROCESSES=str(processes))
    port = int(environ["PORT"])
    async with WorkerProcess(None, environ) as worker, contextlib.AsyncExitStack() as stack:
        await worker.line("serving over HTTP", 60)

        async def connect() -> None:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            stack.callback(writer.close)

        if apart:
            for _ in range(count):
                await connect()
                await asyncio.sleep(apart)
        else:
            await asyncio.gather(*[connect() for _ in range(count)])
        async with asyncio.timeout(_ACCEPTED_WITHIN):
            while True:
                found = [len(connections(pid, port)) for pid in with_fronts(worker.process.pid)[1:]]
                if sum(found) == count:
                    return sorted(found, reverse=True)
                await asyncio.sleep(0.05)


async def main(options: argparse.Namespace) -> None:
    print("| processes | connections | at once | one after the other |\n|---|---|---|---|")
    for processes in options.processes:
        for count in options.connections:
            shown = [", ".join(map(str, await spread(processes, count, apart))) for apart in (0.0, _APART)]
            print(f"| {processes} | {count} | {shown[0]} | {shown[1]} |", flush=True)


if __name__ == "__main__":
    def numbers(text: str) -> list[int]:
        return [int(part) for part in text.split(",")]

    p = argparse.ArgumentParser(prog="python -m bench.accept_spread", description=__doc__,
                                formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--processes", type=numbers, default=[2, 3, 4], metavar="N,…")
    p.add_argument("--connections", type=numbers, default=[8, 128, 512], metavar="N,…")
    asyncio.run(main(p.parse_args()))
