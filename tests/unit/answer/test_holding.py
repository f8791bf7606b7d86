"""Memory that is taken in turn and given back."""

import asyncio
import random

import pytest

from answer.holding import Room


async def started(*waits):
    tasks = [asyncio.ensure_future(wait) for wait in waits]
    await asyncio.sleep(0)
    return tasks


async def test_what_there_is_is_taken_and_the_rest_waits_in_turn():
    room = Room(100)
    assert await room.take(60) == 60
    large, small = await started(room.take(50), room.take(10))
    assert not large.done() and not small.done()  # the small one does not pass the large one
    room.give(60)
    assert (await large, await small) == (50, 10)
    assert room.free == 40


async def test_nobody_takes_more_than_there_is():
    room = Room(100)
    assert await room.take(1000) == 100
    room.give(100)
    assert room.free == 100


async def test_who_gives_up_waiting_holds_up_nobody():
    room = Room(100)
    await room.take(70)
    first, second = await started(room.take(80), room.take(20))
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    assert await second == 20 and room.free == 10


@pytest.mark.parametrize("given", [False, True])
async def test_who_gives_up_waiting_leaves_nothing_taken(given):
    room = Room(100)
    await room.take(100)
    first, second = await started(room.take(80), room.take(20))
    if given:
        room.give(90)  # its turn has come, and it is cancelled before it knows
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    if not given:
        room.give(90)
    assert await second == 20
    assert room.free == 70
    assert await room.take(70) == 70


@pytest.mark.parametrize("seed", range(20))
async def test_whoever_is_cancelled_whenever_leaves_nothing_taken(seed):
    chance, room = random.Random(seed), Room(100)

    async def user():
        taken = await room.take(chance.randrange(1, 130))
        try:
            for _ in range(chance.randrange(4)):
                await asyncio.sleep(0)
        finally:
            room.give(taken)

    users = []
    for _ in range(200):
        users.append(asyncio.create_task(user()))
        for _ in range(chance.randrange(2)):
            await asyncio.sleep(0)
        for other in users:
            if chance.random() < 0.02:
                other.cancel()
    ends = await asyncio.gather(*users, return_exceptions=True)
    assert {type(end) for end in ends} <= {type(None), asyncio.CancelledError}
    assert room.free == 100 and await room.take(100) == 100
