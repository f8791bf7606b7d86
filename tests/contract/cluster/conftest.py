"""Each node has a scripted engine of its own, which know nothing of each other: what ends together does so by the
workers' doing."""

import signal

import aiohttp
import pytest

from tests.contract.front.http_worker import environ
from tests.two_nodes import Pair


@pytest.fixture
async def pair():
    """pair(NAME=value, …): two nodes that are not started yet."""
    made: list[Pair] = []
    async with aiohttp.ClientSession() as session:
        def make(**extra: str) -> Pair:
            made.append(Pair(session, [environ(), environ()], **extra))
            return made[-1]

        yield make
        for one in made:
            for worker in one.all:
                if worker.process.returncode is None:
                    worker.process.send_signal(signal.SIGCONT)
                await worker.__aexit__()

