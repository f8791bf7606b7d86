"""Two real workers as two nodes on loopback, each with a scripted engine of its own, which know nothing of each other:
what ends together does so by the workers' doing."""

from __future__ import annotations

import asyncio
import json
import os
import signal

import aiohttp
import pytest

from local.ports import free_port
from tests.contract.front.http_worker import CHAT, KEY, Http, environ
from tests.support import say
from tests.worker import WorkerProcess

LOST, WAIT = 2.0, 60.0


class Pair:
    """nodes: [the first, the second], None where it was not started yet."""

    def __init__(self, session: aiohttp.ClientSession, **extra: str):
        self.session = session
        self.port = free_port()
        common = {"NUM_NODES": "2", "NODE_ADDR": "127.0.0.1", "PRIMARY_ADDR": "127.0.0.1", "MASTER_ADDR": "127.0.0.1",
                  "PRIMARY_PORT": str(self.port), "NODE_LOST_TIMEOUT": str(LOST), "NODE_WAIT_TIMEOUT": str(WAIT)}
        self.environs = [environ(**{**common, "NODE_RANK": str(rank), **extra}) for rank in range(2)]
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

    async def up(self) -> Pair:
        for node in self.nodes:
            await node.becomes(200)
        return self

    async def pid(self, rank: int) -> int:
        """Of that node's engine."""
        return (await self.nodes[rank].engine("/_scripted/process"))["pid"]

    async def answers(self) -> None:
        async with self.nodes[0].post(body={"messages": say({"text": "here"})}) as response:
            assert response.status == 200, await response.text()
            assert "here" in await response.text()

    def stream(self, **script) -> asyncio.Task:
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


@pytest.fixture
async def pair():
    """pair(NAME=value, …): two nodes that are not started yet."""
    made: list[Pair] = []
    async with aiohttp.ClientSession() as session:
        def make(**extra: str) -> Pair:
            made.append(Pair(session, **extra))
            return made[-1]

        yield make
        for one in made:
            for worker in one.all:
                if worker.process.returncode is None:
                    worker.process.send_signal(signal.SIGCONT)
                await worker.__aexit__()


__all__ = ["CHAT", "KEY", "LOST", "Pair", "json", "kill"]
