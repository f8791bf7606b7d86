"""A whole worker that is reached over HTTP, for contract tests, and raw connections to it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
from urllib.request import urlopen

import aiohttp
import pytest

from tests.support import free_port
from tests.worker import WorkerProcess, contract_environ

KEY = "sesame-open-now"
CHAT = "/v1/chat/completions"


def environ(**extra: str) -> dict[str, str]:
    # Set by hand, the whole suite runs so.
    processes = os.environ.get("TEST_HTTP_PROCESSES", "1")
    return contract_environ(**{"WORKER_MODE": "http", "PORT": str(free_port()), "WORKER_API_KEY": KEY,
                               "HTTP_PROCESSES": processes, **extra})


class Http:
    """A worker and a client of it."""

    def __init__(self, worker: WorkerProcess, session: aiohttp.ClientSession):
        self.worker, self.session = worker, session
        self.base = f"http://127.0.0.1:{worker.environ['PORT']}"

    async def stage(self, path: str = "/ping", port: str | None = None) -> int | None:
        try:
            async with self.session.get(f"http://127.0.0.1:{port or self.worker.environ['PORT']}{path}") as response:
                return response.status
        except aiohttp.ClientConnectionError:
            return None

    async def becomes(self, *stages: int | None, port: str | None = None, within: float = 60) -> list[int | None]:
        """Ask for health until it is one of `stages`; returns every answer on the way."""
        seen = []
        async with asyncio.timeout(within):
            while not seen or seen[-1] not in stages:
                seen.append(await self.stage(port=port))
                await asyncio.sleep(0.02)
        return seen

    def post(self, path: str = CHAT, body=None, **more):
        headers = {"Authorization": f"Bearer {KEY}", **more.pop("headers", {})}
        return self.session.post(self.base + path, json=body, headers=headers, **more)

    async def engine(self, path: str):
        def fetch():
            with urlopen(f"http://127.0.0.1:{self.worker.environ['SGLANG_PORT']}{path}", timeout=30) as response:
                return json.load(response)
        return await asyncio.to_thread(fetch)

    @contextlib.asynccontextmanager
    async def raw(self):
        """A connection of bytes: `async with http.raw() as wire`."""
        reader, writer = await asyncio.open_connection("127.0.0.1", int(self.worker.environ["PORT"]), limit=2**20)
        try:
            yield Wire(reader, writer)
        finally:
            writer.close()


class Wire:
    """One connection, spoken to in bytes."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter):
        self.reader, self.writer = reader, writer

    async def send(self, *pieces: bytes) -> None:
        for piece in pieces:
            self.writer.write(piece)
            await self.writer.drain()

    async def head(self, path: str = CHAT, method: str = "POST", **headers: str) -> None:
        """Send a request's head; names of headers have _ for -."""
        given = {"Host": "x", "Authorization": f"Bearer {KEY}", **headers}
        lines = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in given.items())
        await self.send(f"{method} {path} HTTP/1.1\r\n{lines}\r\n".encode())

    async def answer(self) -> tuple[int, dict[str, str], bytes]:
        """(status, headers with names in lower case, body) of the next answer; its status alone for a 100."""
        async with asyncio.timeout(60):
            head = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
            status = int(head[0].split()[1])
            headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:] if line)}
            if status == 100:
                return status, headers, b""
            if headers.get("transfer-encoding") == "chunked":
                body = b""
                while size := int(await self.reader.readline(), 16):
                    body += await self.reader.readexactly(size)
                    await self.reader.readexactly(2)
                await self.reader.readexactly(2)
                return status, headers, body
            return status, headers, await self.reader.readexactly(int(headers.get("content-length", "0")))

    async def closed(self) -> bytes:
        """What still comes until the other side closes."""
        async with asyncio.timeout(60):
            with contextlib.suppress(ConnectionError):
                return await self.reader.read()
            return b""


@pytest.fixture
async def start():
    """start(NAME=value, …): a worker that was started with these; `await http.becomes(200)` waits until it is ready."""
    entered = []

    async def run(given=None, **extra):
        worker = WorkerProcess(None, given or environ(**extra))
        await worker.__aenter__()
        session = aiohttp.ClientSession()
        entered.append((worker, session))
        return Http(worker, session)

    yield run
    for worker, session in entered:
        await session.close()
        await worker.__aexit__()


@pytest.fixture
async def http(start):
    up = await start()
    await up.becomes(200)
    return up
