"""Memory that all jobs' fetched media share."""

from __future__ import annotations

import asyncio
import collections
import contextlib


class Room:
    """`total` bytes. Who wants to fetch first takes as much as it may come to need, and waits for it in turn; it gives
    back at once what it did not need, and the rest when it is done. So nobody waits while it holds an unfinished part,
    and all of it together never exceeds the total.
    """

    def __init__(self, total: int):
        self.total, self.free = total, total
        self._waiting: collections.deque[tuple[int, asyncio.Future[None]]] = collections.deque()

    async def take(self, amount: int) -> int:
        """Returns the bytes taken: `amount`, or the total where that is less."""
        amount = min(amount, self.total)
        if not self._waiting and amount <= self.free:
            self.free -= amount
            return amount
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((amount, turn))
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.give(amount)
            else:
                with contextlib.suppress(ValueError):  # passed over meanwhile
                    self._waiting.remove((amount, turn))
                self._admit()
            raise
        return amount

    async def take_within(self, amount: int, patience: float) -> int:
        """The same within so many seconds, or TimeoutError."""
        async with asyncio.timeout(patience):
            return await self.take(amount)

    def give(self, amount: int) -> None:
        """Give `amount` bytes back."""
        self.free += amount
        self._admit()

    def _admit(self) -> None:
        while self._waiting and self._waiting[0][0] <= self.free:
            amount, turn = self._waiting.popleft()
            if turn.cancelled():
                continue
            self.free -= amount
            turn.set_result(None)
