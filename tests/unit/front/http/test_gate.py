"""How many requests run at once, and how long the next ones wait."""

import asyncio
import contextlib
import random

import pytest

from front.http.gate import Full, Gate


class Inside:
    """A request that goes in and stays until `leave`."""

    def __init__(self, gate: Gate):
        self.entered, self._leave = asyncio.Event(), asyncio.Event()
        self.task = asyncio.create_task(self._stay(gate))

    async def _stay(self, gate):
        async with gate.passing():
            self.entered.set()
            await self._leave.wait()

    async def leave(self):
        self._leave.set()
        await self.task


async def settled():
    for _ in range(5):
        await asyncio.sleep(0)


async def test_so_many_go_in_at_once():
    gate = Gate(2, 60)
    one, two, three = Inside(gate), Inside(gate), Inside(gate)
    await one.entered.wait()
    await two.entered.wait()
    await settled()
    assert not three.entered.is_set() and (gate.inside, gate.waiting) == (2, 1)
    await one.leave()
    await three.entered.wait()
    assert (gate.inside, gate.waiting) == (2, 0)
    await two.leave()
    await three.leave()
    assert (gate.inside, gate.waiting) == (0, 0)


async def test_first_come_first_served_and_nobody_overtakes():
    gate = Gate(1, 60)
    inside = Inside(gate)
    await inside.entered.wait()
    waiting = []
    for _ in range(3):
        if len(waiting) < gate.limit:
            waiting.append(Inside(gate))
        await settled()
    await inside.leave()
    late = Inside(gate)  # comes when there is room, but somebody waits for it
    await waiting[0].entered.wait()
    await settled()
    assert not late.entered.is_set()
    await waiting[0].leave()
    await late.leave()


async def test_a_wait_has_an_end_and_says_when_to_come_again():
    gate = Gate(1, 0.01)
    inside = Inside(gate)
    await inside.entered.wait()
    with pytest.raises(Full) as full:
        async with gate.passing():
            raise AssertionError("it is full")
    assert full.value.retry_after >= 1 and (gate.inside, gate.waiting) == (1, 0)
    await inside.leave()


async def test_as_many_wait_as_are_inside_and_more_are_refused_at_once():
    gate = Gate(1, 3600)
    inside, waiting = Inside(gate), Inside(gate)
    await inside.entered.wait()
    await settled()
    with pytest.raises(Full):
        async with gate.passing():
            pass
    await inside.leave()
    await waiting.leave()


async def test_no_patience_means_no_wait():
    gate = Gate(1, 0)
    inside = Inside(gate)
    await inside.entered.wait()
    with pytest.raises(Full):
        async with gate.passing():
            pass
    await inside.leave()


@pytest.mark.parametrize("when", ["waiting", "let in"])
async def test_who_goes_away_while_waiting_takes_no_place(when):
    gate = Gate(1, 3600)
    inside, waiting = Inside(gate), Inside(gate)
    await inside.entered.wait()
    await settled()
    if when == "let in":
        inside._leave.set()
        await asyncio.sleep(0)  # the one inside leaves, and the next has not run yet
    waiting.task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await waiting.task
    if not inside.task.done():
        await inside.leave()
    assert (gate.inside, gate.waiting) == (0, 0)
    after = Inside(gate)
    await after.entered.wait()
    await after.leave()


async def test_an_error_inside_leaves_the_place():
    gate = Gate(1, 60)
    with pytest.raises(ValueError):
        async with gate.passing():
            raise ValueError
    assert gate.inside == 0


@pytest.mark.parametrize("patience", [0, 0.001, 3600])
@pytest.mark.parametrize("seed", range(10))
async def test_whoever_is_cancelled_whenever_leaves_no_place_taken(seed, patience):
    chance, gate = random.Random(seed), Gate(3, patience)

    async def user():
        async with gate.passing():
            assert gate.inside <= gate.limit
            for _ in range(chance.randrange(5)):
                await asyncio.sleep(0)
            if chance.random() < 0.1:
                await asyncio.sleep(0.001)

    users = []
    for _ in range(200):
        users.append(asyncio.create_task(user()))
        for _ in range(chance.randrange(4)):
            await asyncio.sleep(0)
        for other in users:
            if chance.random() < 0.01:
                other.cancel()
    ends = await asyncio.gather(*users, return_exceptions=True)
    assert {type(end) for end in ends} <= {type(None), asyncio.CancelledError, Full}
    assert (gate.inside, gate.waiting) == (0, 0)
    async with gate.passing():
        assert gate.inside == 1
