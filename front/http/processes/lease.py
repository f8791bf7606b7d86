"""A front process's side of the permits (see ledger.py): the gate through which its requests pass. No I/O."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

from front.http.gate import Full, overfull

_DECIDED = 5.0  # seconds that the owner may take to say that nobody may wait, where nobody may


class Lease:
    """What front/http/gate.py `Gate` is in a worker of one process. patience: seconds that a request waits; send: takes
    a message for the owner."""

    def __init__(self, patience: float, send: Callable[[list[Any]], None]):
        self.limit, self.patience, self._send = 1, patience, send
        self.inside = self.spare = 0
        self._asks: dict[int, asyncio.Future[None]] = {}
        self._looks: dict[int, asyncio.Future[bool]] = {}
        self._number = 0
        self._round = 0
        self._full = False

    @property
    def waiting(self) -> int:
        """How many wait outside, of this process."""
        return len(self._asks)

    @contextlib.asynccontextmanager
    async def passing(self) -> AsyncIterator[float]:
        """Be inside; gives the seconds that were waited. Raises Full."""
        began = time.monotonic()
        if self.spare and not self._round:
            self.spare -= 1
        else:
            await self._asked()
        self.inside += 1
        try:
            yield time.monotonic() - began
        finally:
            self.inside -= 1
            self._back(1)

    def check(self) -> None:
        """Raises Full when a request need not even wait."""
        if self._full:
            raise overfull(self.limit, self.patience)

    async def look(self) -> None:
        """The same, by what all processes know: before something that takes long. Raises Full."""
        if self.spare and not self._round:
            return
        self._number += 1
        number = self._number
        self._looks[number] = asyncio.get_running_loop().create_future()
        self._send(["look", number])
        try:
            async with asyncio.timeout(_DECIDED):
                full = await self._looks[number]
        except TimeoutError:
            full = True
        finally:
            del self._looks[number]
        if full:
            raise overfull(self.limit, self.patience)

    async def _asked(self) -> None:
        self._number += 1
        number, place = self._number, asyncio.get_running_loop().create_future()
        self._asks[number] = place
        self._send(["ask", number])
        try:
            async with asyncio.timeout(self.patience or _DECIDED):
                await place
        except BaseException as error:
            granted = place.done() and not place.cancelled() and place.exception() is None
            if granted and isinstance(error, TimeoutError):  # let in at the very moment
                return
            if granted:
                self._back(1)
            elif self._asks.pop(number, None) is not None:
                self._send(["withdraw", number])
            if isinstance(error, TimeoutError):
                raise overfull(self.limit, self.patience) from None
            raise

    def _back(self, count: int) -> None:
        """Permits on which nobody runs any more."""
        if self._round:
            self._send(["give", count, self._round])
        else:
            self.spare += count

    # ------------------------------------------------------------ what the owner says
    def granted(self, numbers: list[int], more: int) -> None:
        """Permits for these asks, and `more` to keep."""
        for number in numbers:
            place = self._asks.pop(number, None)
            if place is None or place.done():  # it was withdrawn meanwhile
                more += 1
            else:
                place.set_result(None)
        if more:
            self._back(more)

    def refused(self, number: int) -> None:
        """There is no room for this ask."""
        place = self._asks.pop(number, None)
        if place is not None and not place.done():
            place.set_exception(overfull(self.limit, self.patience))

    def seen(self, number: int, full: bool) -> None:
        """Whether an ask would be refused."""
        if (place := self._looks.get(number)) and not place.done():
            place.set_result(full)

    def pressed(self, number: int) -> None:
        """Permits are short from now on, by the round of this number; 0: they are not any more."""
        self._round = number
        if number:
            spare, self.spare = self.spare, 0
            self._send(["give", spare, number])

    def full(self, yes: bool) -> None:
        """Whether a request need not even ask."""
        self._full = yes


__all__ = ["Full", "Lease"]
