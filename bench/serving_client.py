"""One process of streaming clients: told on stdin what to send, it tells on stdout what came back.

    python -m bench.serving_client

stdin: one line of JSON, {"url", "headers", "tokens", "timeout", "lanes": [[{"at", "body"}, …], …]}. It answers
`ready`, waits for a line, sends, answers with the CPU seconds that this took, and then with one line of JSON, a list
of sse_reading.Answer.
A lane is one client: it sends its requests one after another, none before `at` seconds after the start.

A benchmark's client must cost less than what it measures. So this one speaks HTTP/1.1 itself, one connection a
request, and while the run lasts it only notes the time of each socket read and keeps the bytes.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import ssl
import sys
import time
from urllib.parse import urlsplit

from bench import sse_reading


class Stream(asyncio.Protocol):
    """One request, and the reads of its answer."""

    def __init__(self, request: bytes):
        self.request, self.reads = request, []
        self.ended = asyncio.get_running_loop().create_future()

    def connection_made(self, transport):
        transport.write(self.request)

    def data_received(self, data):
        self.reads.append((time.perf_counter(), data))

    def connection_lost(self, exc):
        if not self.ended.done():
            self.ended.set_result(time.perf_counter())


async def ask(url: str, headers: dict[str, str], body: str, tokens: int, timeout: float) -> sse_reading.Answer:
    """Send `body` and keep what comes until the server closes the connection."""
    parts, data = urlsplit(url), body.encode()
    tls = ssl.create_default_context() if parts.scheme == "https" else None
    lines = [f"POST {parts.path} HTTP/1.1", f"Host: {parts.netloc}", "Connection: close", "Accept-Encoding: identity",
             "Content-Type: application/json", f"Content-Length: {len(data)}",
             *(f"{name}: {value}" for name, value in headers.items())]
    request = "\r\n".join(lines).encode() + b"\r\n\r\n" + data
    sent, stream, transport = time.perf_counter(), None, None
    try:
        async with asyncio.timeout(timeout):
            transport, stream = await asyncio.get_running_loop().create_connection(
                lambda: Stream(request), parts.hostname, parts.port or (443 if tls else 80), ssl=tls)
            ended = await stream.ended
    except (OSError, TimeoutError) as error:
        if transport:
            transport.abort()
        return sse_reading.Answer(sent, time.perf_counter(), error=f"{type(error).__name__}: {error}"
                                  + (f", after {len(stream.reads)} reads" if stream else ""))
    return Recorded(sent, ended, stream.reads, tokens)


class Recorded:
    """An answer that is still to be read."""

    def __init__(self, *recorded):
        self.recorded = recorded

    def read(self) -> sse_reading.Answer:
        return sse_reading.read(*self.recorded)


async def run(spec: dict) -> list:
    """Everything that was sent, in the order of the lanes."""
    start = time.perf_counter()

    async def lane(requests: list[dict]) -> list:
        answers = []
        for request in requests:
            if (early := start + request["at"] - time.perf_counter()) > 0:
                await asyncio.sleep(early)
            answers.append(await ask(spec["url"], spec["headers"], request["body"], spec["tokens"], spec["timeout"]))
        return answers

    return [answer for answers in await asyncio.gather(*map(lane, spec["lanes"])) for answer in answers]


def main() -> None:
    spec = json.loads(sys.stdin.readline())
    gc.disable()  # a collection in the middle would be measured as the server's
    with contextlib.suppress(ImportError):
        import uvloop

        asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())
    print("ready", flush=True)
    sys.stdin.readline()
    before = time.process_time()
    recorded = asyncio.run(run(spec))
    print(time.process_time() - before, flush=True)
    answers = [one.read() if isinstance(one, Recorded) else one for one in recorded]
    print(json.dumps([answer.data() for answer in answers]), flush=True)


if __name__ == "__main__":
    main()
