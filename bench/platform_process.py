"""Several stand-ins of RunPod's platform in a process of their own, one an endpoint, and the handle on it.

    python -m bench.platform_process COUNT

stdout: one line of JSON, a list of {"url", "environ"}. Then for each line on stdin, {"number", "delay_ms"?, "reset"?},
one line: {"posts": {kind: answered}, "bytes": {kind: posted}, "polls": calls for jobs so far}. posts and bytes count
from the last reset. It ends with its stdin.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from collections import Counter

import uvloop

from local.platform_records import Limits
from local.runpod_platform import Platform

_KEEP = 5.0  # seconds that an answer is kept after its end: its reader has had it by then


class Counted:
    """A platform and what was posted to it."""

    def __init__(self):
        self.platform = Platform(limits=Limits(keep_run=_KEEP, keep_runsync=_KEEP, execution_timeout=(1, 10**9)))
        self._posts, self._bytes = Counter(), Counter()

    def sum_up(self) -> None:
        for call in self.platform.calls:
            self._posts[call.kind] += 1
            self._bytes[call.kind] += call.size
        self.platform.calls.clear()

    def reset(self) -> None:
        self.platform.calls.clear()
        self._posts.clear()
        self._bytes.clear()

    def state(self) -> dict:
        self.sum_up()
        begun = self.platform.begun
        return {"posts": dict(self._posts), "bytes": dict(self._bytes),
                "polls": begun["job-take"] + begun["job-take-batch"]}


async def serve(count: int) -> None:
    counted = [Counted() for _ in range(count)]
    async with contextlib.AsyncExitStack() as stack:
        for one in counted:
            await stack.enter_async_context(one.platform)
        print(json.dumps([{"url": one.platform.url, "environ": one.platform.worker_environ()} for one in counted]),
              flush=True)
        lines = asyncio.StreamReader()
        await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
        while line := await lines.readline():
            wish = json.loads(line)
            one = counted[wish["number"]]
            if "delay_ms" in wish:
                one.platform.post_delay_ms = wish["delay_ms"]
            if wish.get("reset"):
                one.reset()
            print(json.dumps(one.state()), flush=True)


class PlatformProcess:
    """`async with PlatformProcess(3) as platforms:`. url: base URLs of the clients' API; environ: a worker's variables.

    The calls of a run are kept until `ask` sums them up, about 200 bytes each.
    """

    def __init__(self, count: int):
        self._count = count
        self.urls: list[str] = []
        self.environs: list[dict[str, str]] = []

    async def __aenter__(self) -> PlatformProcess:
        self._process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "bench.platform_process", str(self._count), stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE, limit=2**24)
        for one in json.loads(await self._process.stdout.readline()):
            self.urls.append(one["url"])
            self.environs.append(one["environ"])
        return self

    async def __aexit__(self, *_) -> None:
        self._process.stdin.close()
        try:
            await asyncio.wait_for(self._process.wait(), 10)
        except TimeoutError:
            self._process.kill()
            await self._process.wait()

    @property
    def pid(self) -> int:
        return self._process.pid

    async def ask(self, number: int, **wish) -> dict:
        """Its counters, after `delay_ms` (the round trip of a POST) or `reset` took effect."""
        self._process.stdin.write(json.dumps({"number": number, **wish}).encode() + b"\n")
        return json.loads(await self._process.stdout.readline())


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1])))
