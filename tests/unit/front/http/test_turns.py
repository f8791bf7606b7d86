"""How many requests begin in one turn of the event loop."""

import asyncio

from front.http.turns import Turns


async def beginning(turns: Turns, count: int) -> list[list[int]]:
    """Who began in each turn of the loop, until all have."""
    begun: list[int] = []

    async def one(number: int):
        await turns.mine()
        begun.append(number)

    tasks, seen = [asyncio.create_task(one(number)) for number in range(count)], []
    while len(begun) < count:
        before = len(begun)
        await asyncio.sleep(0)
        seen.append(begun[before:])
    await asyncio.gather(*tasks)
    return [group for group in seen if group]


async def test_few_begin_at_once_in_the_order_in_which_they_came():
    turns = Turns(4)
    groups = await beginning(turns, 11)
    assert max(map(len, groups)) <= 4 and sum(groups, []) == list(range(11))
    assert len(groups) <= 4 and len(groups[0]) == 4  # and nobody waits for longer than need be


async def test_a_lone_one_does_not_wait():
    turns = Turns(1)
    for _ in range(3):
        assert await beginning(turns, 1) == [[0]]
        while turns._counting:  # noqa: ASYNC110 - the loop's own turns are what is counted
            await asyncio.sleep(0)


async def test_one_that_goes_away_takes_no_place():
    turns = Turns(1)
    waiting = [asyncio.create_task(turns.mine()) for _ in range(3)]
    await asyncio.sleep(0)
    waiting[1].cancel()
    async with asyncio.timeout(30):
        await waiting[2]
    assert waiting[0].done() and waiting[1].cancelled()
