"""Two workers over HTTP as two nodes on loopback, for contract and e2e tests."""

from __future__ import annotations

import asyncio
import os
import signal

import aiohttp

from local.ports import free_port
from tests.contract.front.http_worker import KEY, Http
from tests.support import say
from tests.worker import WorkerProcess

LOST, WAIT = 2.0, 60.0


class Pair:
    """nodes: those that were started, the first before the second. given: variables, of the two."""

    def __init__(self, session: aiohttp.ClientSession, given: list[dict[str, str]], **extra: str):
        self.session = session
        self.port = free_port()
        common = {"NUM_NODES": "2", "NODE_ADDR": "127.0.0.1", "PRIMARY_ADDR": "127.0.0.1", "MASTER_ADDR": "127.0.0.1",
                  "PRIMARY_PORT": str(self.port), "NODE_LOST_TIMEOUT": str(LOST), "NODE_WAIT_TIMEOUT": str(WAIT)}
        self.environs = [{**given[rank], "WORKER_MODE": "http", "WORKER_API_KEY": KEY, **common,
                          "NODE_RANK": str(rank), **extra} for rank in range(2)]
        self.nodes: list[Http] = []
        self.all: list[WorkerProcess] = []

    async def begin(self, rank: int) -> Http:
        """Start that node's worker, for the first time or in place of one that is gone."""
        worker = WorkerProcess(None, self.environs[rank])
        self.all.append(await worker.__aenter__())
        http = Http(worker, self.session)
        self.nodes[rank:rank + 1] = [http]
        return http

    async def both(self) -> Pair:
        for rank in range(2):
            await self.begin(rank)
        return await self.up()

    async def up(self, within: float = 60.0) -> Pair:
        for node in self.nodes:
            await node.becomes(200, within=within)
        return self

    async def pid(self, rank: int) -> int:
        """Of that node's engine."""
        return (await self.nodes[rank].engine("/_scripted/process"))["pid"]

    async def answers(self) -> None:
        async with self.nodes[0].post(body={"messages": say({"text": "here"})}) as response:
            assert response.status == 200, await response.text()
            assert "here" in await response.text()

    def stream(self, **script) -> asyncio.Task[str]:
        """A stream that runs through node 0: a task of what came of it."""
        async def read() -> str:
            body = {"messages": say(script), "stream": True, "rid": "running"}
            async with self.nodes[0].post(body=body) as response:
                return await response.text()
        return asyncio.create_task(read())

    async def running(self, state: str = "hanging") -> None:
        await self.nodes[0].engine(f"/_scripted/wait?state={state}")

    async def ended(self) -> list[int]:
        return [await node.worker.ended(60) for node in self.nodes]

    def said(self, rank: int) -> str:
        return self.nodes[rank].worker.output


def kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)
