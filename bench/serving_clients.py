"""The client processes of one run, seen from the benchmark; bench/serving_client.py is one of them."""

from __future__ import annotations

import asyncio
import json
import sys


class ClientsFailed(Exception):
    """A client process ended."""


class Clients:
    """The client processes of one run, ready to send."""

    def __init__(self, specs: list[dict]):
        self._specs = specs

    async def __aenter__(self) -> Clients:
        self._processes = await asyncio.gather(*(asyncio.create_subprocess_exec(
            sys.executable, "-m", "bench.serving_client", stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE, limit=2**30) for _ in self._specs))
        for process, spec in zip(self._processes, self._specs, strict=True):
            process.stdin.write(json.dumps(spec).encode() + b"\n")
        await self._lines()
        return self

    async def __aexit__(self, *_) -> None:
        for process in self._processes:
            if process.returncode is None:
                process.kill()
            await process.wait()

    async def _lines(self) -> list[bytes]:
        lines = await asyncio.gather(*(process.stdout.readline() for process in self._processes))
        if not all(lines):
            raise ClientsFailed("a client process ended")
        return lines

    async def send(self) -> float:
        """Until every answer has ended. Returns the CPU seconds of all clients."""
        for process in self._processes:
            process.stdin.write(b"go\n")
        return sum(map(float, await self._lines()))

    async def answers(self) -> list[dict]:
        return [answer for line in await self._lines() for answer in json.loads(line)]
