"""Memory for bodies and media, which all front processes share: asked for and given back by messages.

Only what is large needs any, so that each asking is worth its message. No I/O.
"""

from __future__ import annotations

import asyncio
import collections
from collections.abc import Callable, Mapping
from typing import Any

from answer.holding import Room

BODIES, MEDIA = "bodies", "media"


class FarRoom(Room):
    """A front process's view of one of the owner's rooms. which: of them; number: gives each asking one of its own."""

    def __init__(self, which: str, send: Callable[[list[Any]], None], number: Callable[[], int],
                 asked: dict[int, asyncio.Future[int]]):
        super().__init__(0)
        self._which, self._send, self._next, self._asked = which, send, number, asked

    async def take(self, amount: int) -> int:
        return await self._took(amount, None)

    async def take_within(self, amount: int, patience: float) -> int:
        return await self._took(amount, patience)  # the owner knows when it asks for nothing but what is free

    async def _took(self, amount: int, patience: float | None) -> int:
        number = self._next()
        got: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._asked[number] = got
        self._send(["take", number, self._which, amount, patience])
        try:
            return await got
        except asyncio.CancelledError:
            if got.done() and not got.cancelled() and got.exception() is None:
                self.give(got.result())
            else:
                self._asked.pop(number, None)
                self._send(["untake", number])
            raise

    def give(self, amount: int) -> None:
        if amount:
            self._send(["put", self._which, amount])


def settle(asked: dict[int, asyncio.Future[int]], number: int, got: int | None, room: Room) -> None:
    """What the owner says to an asking: so many bytes of `room`, or None, that there were none in time."""
    place = asked.pop(number, None)
    if place is None or place.done():  # it was not waited for any longer
        room.give(got or 0)
    elif got is None:
        place.set_exception(TimeoutError())
    else:
        place.set_result(got)


class Accounts:
    """The owner's: what one front process has of each of `rooms`. send: takes a message for it."""

    def __init__(self, rooms: Mapping[str, Room], send: Callable[[list[Any]], None]):
        self._rooms, self._send = rooms, send
        self._taken: collections.Counter[str] = collections.Counter()
        self._taking: dict[int, asyncio.Task[None]] = {}

    def take(self, number: int, which: str, amount: int, patience: float | None) -> None:
        """It asks for so many bytes, for so many seconds; None: for as long as it takes."""
        task = asyncio.get_running_loop().create_task(self._take(number, which, amount, patience))
        self._taking[number] = task
        task.add_done_callback(lambda _: self._taking.pop(number, None))  # also of one that never began

    async def _take(self, number: int, which: str, amount: int, patience: float | None) -> None:
        room = self._rooms[which]
        try:
            got = await (room.take(amount) if patience is None else room.take_within(amount, patience))
            self._taken[which] += got
        except TimeoutError:
            got = None
        self._send(["room", number, got, which])

    def untake(self, number: int) -> None:
        """It does not ask any more. Where it was given some meanwhile, that is given back when it finds out."""
        if task := self._taking.get(number):
            task.cancel()

    def put(self, which: str, amount: int) -> None:
        """It gives some back."""
        self._taken[which] -= amount
        self._rooms[which].give(amount)

    def close(self) -> None:
        """It is gone."""
        for task in self._taking.values():
            task.cancel()
        for which, amount in self._taken.items():
            self._rooms[which].give(amount)
        self._taken.clear()
