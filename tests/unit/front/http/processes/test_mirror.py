"""The engine as a front process was told of it."""

import asyncio

import pytest

from engine import Served, State
from front.http.processes.mirror import Mirror
from utils import JobError


async def test_requests_wait_for_the_engine_that_the_owner_starts_again():
    mirror = Mirror()
    engine = Served(1, None, mirror)
    assert not engine.up and engine.life == 0
    mirror.told("RESTARTING", 2, {"1": "killed by SIGKILL"})
    waiting = asyncio.create_task(engine.available(30))
    await asyncio.sleep(0)
    assert not waiting.done()
    mirror.told("UP", 2, {"1": "killed by SIGKILL"})
    assert await waiting == 2 and engine.up
    assert await engine.fate(1) == "The engine ended while this job was running: killed by SIGKILL."


async def test_none_is_waited_for_that_will_not_come():
    mirror = Mirror()
    engine = Served(1, None, mirror)
    mirror.told("DYING", 3, {})
    waiting = asyncio.create_task(engine.available(30))
    await asyncio.sleep(0)
    mirror.told("GIVEN_UP", 3, {})
    with pytest.raises(JobError) as caught:
        await waiting
    assert caught.value.code == 503 and engine.state is State.GIVEN_UP
