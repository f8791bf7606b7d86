"""A worker that loads adapters of a folder on first use, before the scripted engine."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from urllib.request import Request, urlopen

import pytest

from local import tiny_adapters
from local.runpod_platform import Platform
from tests.support import say
from tests.worker import WorkerProcess, contract_environ

LIMIT = 4  # adapters loaded at once


class Stage:
    """The platform, the worker, and what the scripted engine saw of adapters."""

    def __init__(self, platform: Platform, worker: WorkerProcess, folder: Path):
        self.platform, self.worker, self.folder = platform, worker, folder

    def adapter(self, name: str, rank: int = 4, **more) -> Path:
        return tiny_adapters.make(self.folder / name, 1, rank, **more)

    async def ask(self, name: str | None, script: dict | None = None, **more):
        """A chat job that names an adapter."""
        model = {"model": f"tiny:{name}"} if name else {}
        return await self.platform.submit({"messages": say(script or {"text": "Paris."}), **model, **more})

    async def engine(self, path: str, body: dict | None = None, timeout: float = 60) -> dict | list:
        url = f"http://127.0.0.1:{self.worker.environ['SGLANG_PORT']}/_scripted/{path}"

        def fetch():
            data = None if body is None else json.dumps(body).encode()
            with urlopen(Request(url, data), timeout=timeout) as response:
                return json.load(response)
        return await asyncio.to_thread(fetch)

    async def events(self, *whats: str) -> list[tuple[str, str]]:
        """What became of adapters, in order."""
        found = (await self.engine("adapters"))["events"]
        assert not [event for event in found if event["what"] == "absent"], "a request came before its adapter"
        assert not [event for event in found if event["what"] == "load" and event["beside"]], "two loads at once"
        assert not [event for event in found if event["what"] == "unload" and event["running"]], "unloaded while in use"
        return [(event["what"], event["name"]) for event in found if event["what"] in whats]

    async def until(self, what: str, count: int = 1) -> None:
        await self.engine(f"adapters?what={what}&count={count}")

    async def steer(self, **faults) -> None:
        await self.engine("adapters", faults)


def environ_of(folder: Path, **extra: str) -> dict[str, str]:
    return contract_environ(**{"LORA_SOURCES": str(folder), "MAX_LOADED_LORAS": str(LIMIT), "MAX_LORAS_PER_BATCH": "2",
                               "MAX_LORA_RANK": "8", **extra})


@pytest.fixture
def folder(tmp_path) -> Path:
    (tmp_path / "adapters").mkdir()
    return tmp_path / "adapters"


@pytest.fixture
def more() -> dict[str, str]:
    """Further variables of the worker; a test that wants some has its own."""
    return {}


@pytest.fixture
def front():
    """The front that the jobs go through; a test that goes through both has its own."""
    return Platform


@pytest.fixture
async def stage(folder, more, front):
    async with front() as platform, WorkerProcess(platform, environ_of(folder, **more)) as worker:
        yield Stage(platform, await worker.connected(), folder)
