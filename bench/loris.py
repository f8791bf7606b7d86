"""Slow clients: many that dribble their heads, their bodies, or the reading of their answers, and what others notice.

    python -m bench.loris --heads 400 --bodies 200 --readers 64 --seconds 100

The real worker process over HTTP, and the scripted engine. A few ordinary clients send requests one after another,
first alone and then beside the slow ones; every answer is checked. Exit status 1 when one is wrong, when the slow ones
take more memory than they may, or when something is left of them afterwards.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import socket
import sys
import time
from collections import Counter
from dataclasses import dataclass, field

import aiohttp

from bench.chaos_checks import READERS, Corrupt
from bench.serving_metrics import percentile
from bench.soak import sample
from tests.support import free_port
from tests.worker import WorkerProcess, contract_environ

CHAT = "/v1/chat/completions"
_HEAD = f"POST {CHAT} HTTP/1.1\r\nHost: worker\r\nContent-Type: application/json\r\n".encode()
_ORDINARY, _BETWEEN = 8, 0.05  # clients at once, and the seconds between two requests of one
_TOKENS, _TOKEN_BYTES = 500, 16_000  # 8 MB for each slow reader, at little cost to the engine
_RECEIVE = 2**14  # bytes that the socket of a slow reader takes by itself
_HELD, _SPARE = 2.5, 50.0  # megabytes that a slow reader may take, and those that may be taken without any
_LET_GO = 30.0  # seconds, for what slow clients held


@dataclass(frozen=True)
class Slow:
    """How many clients dribble their heads, bodies and readings; a byte (or a few that are read) every `pause` seconds.
    """

    heads: int = 400
    bodies: int = 200
    readers: int = 64
    pause: float = 1.0

    @property
    def count(self) -> int:
        return self.heads + self.bodies + self.readers


@dataclass
class Report:
    """times: seconds of each ordinary request, by when it was; ends: how the slow clients ended, {kind: {how: count}};
    samples: the worker's process; wrong: what must not be."""

    slow: Slow
    seconds: float
    times: dict[str, list[float]] = field(default_factory=dict)
    ends: dict[str, Counter] = field(default_factory=dict)
    samples: dict[str, dict[str, float]] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)

    def markdown(self) -> str:
        rows = [(f"slow {kind}", ", ".join(f"{count} {how}" for how, count in sorted(ends.items())))
                for kind, ends in self.ends.items()]
        for when, times in self.times.items():
            ordered = sorted(times)
            spread = " / ".join(f"{percentile(ordered, q) * 1000:.0f}" for q in (50, 99, 100))
            rows.append((f"ordinary requests {when}", f"{len(times)}, ms p50 / p99 / most: {spread}"))
        rows += [(f"the worker's process {when}", ", ".join(f"{value:.4g} {name}" for name, value in values.items()))
                 for when, values in self.samples.items()]
        rows.append(("wrong", str(len(self.wrong))))
        return "\n".join(["| | |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows)])


class Loris:
    """One run. environ: more variables of the worker."""

    def __init__(self, slow: Slow, seconds: float, **environ: str):
        self.report = Report(slow, seconds)
        self._port = free_port()
        self._worker = WorkerProcess(None, contract_environ(**{
            "WORKER_MODE": "http", "HOST": "127.0.0.1", "PORT": str(self._port),
            "MAX_CONCURRENCY": str(slow.readers + 2 * _ORDINARY), **environ}))

    async def run(self) -> Report:
        report = self.report
        async with self._worker as worker, aiohttp.ClientSession(f"http://127.0.0.1:{self._port}") as session:
            await worker.line("serving over HTTP", 120)
            await self._ordinary(session, "alone", min(10.0, report.seconds))
            report.samples["before"] = sample(worker.process.pid, 0).values
            slow = [asyncio.create_task(self._slow(kind, client)) for kind, client, count in (
                ("heads", self._dribble_head, report.slow.heads), ("bodies", self._dribble_body, report.slow.bodies),
                ("readers", self._dribble_reading, report.slow.readers)) for _ in range(count)]
            peak = asyncio.create_task(self._peak(worker.process.pid))
            await self._ordinary(session, "beside them", report.seconds)
            peak.cancel()
            for task in slow:
                task.cancel()
            await asyncio.gather(*slow, return_exceptions=True)
            await self._let_go(worker, session)
            worker.process.terminate()
            most = report.samples["before"]["resident MB"] + _HELD * report.slow.readers + _SPARE
            if (seen := report.samples["at most"]["resident MB"]) > most:
                report.wrong.append(f"{seen} MB were taken, where {most:.0f} are borne")
            if (status := await worker.ended(60)) != 0:
                report.wrong.append(f"the worker ended with {status}")
        return report

    # ------------------------------------------------------------ ordinary clients
    async def _ordinary(self, session: aiohttp.ClientSession, when: str, seconds: float) -> None:
        until, times = time.monotonic() + seconds, self.report.times.setdefault(when, [])

        async def client(number: int) -> None:
            asked = 0
            while time.monotonic() < until or not asked:
                text, began = f"Answer {number}.{asked}: Paris, 東京.", time.monotonic()
                body = {"messages": [{"role": "user", "content": "#script " + json.dumps({"text": text})}],
                        "stream": True}
                try:
                    async with asyncio.timeout(60), session.post(CHAT, json=body) as response:
                        if response.status != 200 or READERS["chat-stream"]([await response.text()]) != [text]:
                            raise Corrupt(f"{response.status} {await response.text()}")
                except (Corrupt, aiohttp.ClientError, TimeoutError) as error:
                    self.report.wrong.append(f"{when}: {type(error).__name__} {error}"[:300])
                times.append(time.monotonic() - began)
                asked += 1
                await asyncio.sleep(_BETWEEN)

        await asyncio.gather(*map(client, range(_ORDINARY)))

    # ------------------------------------------------------------ slow clients
    async def _slow(self, kind: str, client) -> None:
        ends = self.report.ends.setdefault(kind, Counter())
        connection = socket.socket()
        connection.setblocking(False)
        if kind == "readers":
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE)
        how, writer = "still at it", None
        try:
            await asyncio.get_running_loop().sock_connect(connection, ("127.0.0.1", self._port))
            reader, writer = await asyncio.open_connection(sock=connection, limit=2**10)
            how = await client(reader, writer)
        except OSError:
            how = "closed by the worker"
        finally:
            ends[how] += 1
            if writer is not None:
                writer.transport.abort()
            connection.close()

    async def _dribble_head(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> str:
        return await self._dribble(reader, writer, _HEAD + b"X-Slow: ")

    async def _dribble_body(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> str:
        return await self._dribble(reader, writer, _HEAD + b"Content-Length: 1000000\r\n\r\n")

    async def _dribble(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, first: bytes) -> str:
        """Send it, and then a byte now and then, until there is an answer or an end."""
        writer.write(first)
        answer = asyncio.create_task(reader.readline())
        try:
            while not answer.done():
                writer.write(b" ")
                await asyncio.wait([answer], timeout=self.report.slow.pause)
            line = answer.result().split()
            return f"answered {line[1].decode()}" if len(line) > 1 else "closed by the worker"
        finally:
            answer.cancel()

    async def _dribble_reading(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> str:
        script = json.dumps({"tokens": _TOKENS, "token_bytes": _TOKEN_BYTES})
        body = json.dumps({"messages": [{"role": "user", "content": "#script " + script}], "stream": True}).encode()
        writer.write(_HEAD + b"Content-Length: %d\r\n\r\n" % len(body) + body)
        while data := await reader.read(200):
            if data.startswith(b"HTTP/1.1 4"):
                return f"answered {data[9:12].decode()}"
            await asyncio.sleep(self.report.slow.pause)
        return "closed by the worker"

    # ------------------------------------------------------------ what is left of them
    async def _peak(self, pid: int) -> None:
        most: dict[str, float] = {}
        while True:
            for name, value in sample(pid, 0).values.items():
                most[name] = max(value, most.get(name, 0))
            self.report.samples["at most"] = most
            await asyncio.sleep(0.25)

    async def _let_go(self, worker: WorkerProcess, session: aiohttp.ClientSession) -> None:
        before, deadline = self.report.samples["before"], time.monotonic() + _LET_GO
        values, busy = before, None
        while time.monotonic() < deadline:
            async with session.get(f"http://127.0.0.1:{worker.environ['SGLANG_PORT']}/_scripted/process") as response:
                state = await response.json()
            busy = {key: state[key] for key in ("running", "queued") if state[key]}
            values = sample(worker.process.pid, 0).values
            # Connections to the engine are kept for a while: one for each reader.
            if not busy and values["descriptors"] <= before["descriptors"] + self.report.slow.readers + _ORDINARY:
                break
            await asyncio.sleep(0.25)
        else:
            self.report.wrong.append(f"after {_LET_GO:.0f} s the engine still has {busy}, the worker {values}")
        self.report.samples["afterwards"] = values


def main(argv: list[str] | None = None) -> int:
    p = argparse.ArgumentParser(prog="python -m bench.loris", description=__doc__,
                                formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, count in (("heads", 400), ("bodies", 200), ("readers", 64)):
        p.add_argument(f"--{name}", type=int, default=count, help="clients that dribble them (default: %(default)s)")
    p.add_argument("--pause", type=float, default=1.0, help="seconds between two bytes (default: %(default)g)")
    p.add_argument("--seconds", type=float, default=100.0, help="beside ordinary requests (default: %(default)g)")
    options = p.parse_args(argv)
    slow = Slow(options.heads, options.bodies, options.readers, options.pause)
    report = asyncio.run(Loris(slow, options.seconds).run())
    print(report.markdown())
    for line in report.wrong[:20]:
        print(f"\n{line}", file=sys.stderr)
    return 1 if report.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
