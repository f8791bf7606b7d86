"""Memory that is asked for over messages, between one owner and its fronts."""

import asyncio

import pytest

from answer.holding import Room
from front.http.processes.rooms import Accounts, FarRoom, settle


class Pair:
    """A front's room and the owner's account for it; messages go at once, or when `carry` is called."""

    def __init__(self, room: Room):
        self.to_owner, self.to_front, self.asked = [], [], {}
        numbers = iter(range(1, 100))
        self.far = FarRoom("bodies", self.to_owner.append, lambda: next(numbers), self.asked)
        self.account = Accounts({"bodies": room}, self.to_front.append)

    async def carry(self):
        for _ in range(4):
            while self.to_owner:
                word, *about = self.to_owner.pop(0)
                getattr(self.account, word)(*about)
            await asyncio.sleep(0)
            while self.to_front:
                _, number, got, _which = self.to_front.pop(0)
                settle(self.asked, number, got, self.far)
            await asyncio.sleep(0)


async def test_all_fronts_share_one_room_in_turn():
    room = Room(100)
    one, other = Pair(room), Pair(room)
    first = asyncio.create_task(one.far.take(70))
    await asyncio.sleep(0)
    await one.carry()
    second = asyncio.create_task(other.far.take(50))
    await asyncio.sleep(0)
    await other.carry()
    assert await first == 70 and not second.done() and room.free == 30
    one.far.give(70)
    await one.carry()
    await other.carry()
    assert await second == 50 and room.free == 50
    other.account.close()  # the process ended
    assert room.free == 100


async def test_more_than_there_is_takes_all_of_it():
    room = Room(100)
    pair = Pair(room)
    asking = asyncio.create_task(pair.far.take(1000))
    await asyncio.sleep(0)
    await pair.carry()
    assert await asking == 100 and room.free == 0


@pytest.mark.parametrize("when", ["before the owner knows", "while it waits", "when it was given", "when it has it"])
async def test_who_leaves_while_asking_leaves_nothing_behind(when):
    room = Room(100)
    pair = Pair(room)
    if when == "while it waits":
        await room.take(100)
    asking = asyncio.create_task(pair.far.take(60))
    await asyncio.sleep(0)
    if when == "while it waits":
        await pair.carry()
        assert not asking.done()
    elif when == "when it was given":
        word, *about = pair.to_owner.pop(0)
        getattr(pair.account, word)(*about)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert pair.to_front and room.free == 40
    elif when == "when it has it":
        word, *about = pair.to_owner.pop(0)
        getattr(pair.account, word)(*about)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        pair.asked.pop(1).set_result(pair.to_front.pop()[2])
    asking.cancel()
    await asyncio.gather(asking, return_exceptions=True)
    await pair.carry()
    if when == "while it waits":
        room.give(100)
        await pair.carry()
    assert asking.cancelled() and room.free == 100 and not pair.asked


async def test_who_may_not_wait_has_what_is_free_or_is_told_at_once_that_nothing_is():
    room = Room(100)
    pair = Pair(room)
    for amount, free in ((60, 40), (40, 0)):
        asking = asyncio.create_task(pair.far.take_within(amount, 0))
        await asyncio.sleep(0)
        await pair.carry()
        assert await asking == amount and room.free == free
    asking = asyncio.create_task(pair.far.take_within(1, 0))
    await asyncio.sleep(0)
    await pair.carry()
    with pytest.raises(TimeoutError):
        await asking
    assert room.free == 0 and not pair.asked


async def test_what_is_asked_for_and_not_any_more_at_once_is_forgotten():
    pair = Pair(Room(100))
    asking = asyncio.create_task(pair.far.take(60))
    await asyncio.sleep(0)
    asking.cancel()
    await asyncio.gather(asking, return_exceptions=True)
    await pair.carry()  # both messages in one turn
    assert not pair.account._taking
