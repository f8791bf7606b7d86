"""A node's own side, node 0's too: what it does with its engine by the word of node 0, or without it. Pure but for a
line in the log.

Orders, as lists: send, message (to node 0); allow, number / doom, number, why / finish, why (to the engine's owner, see
server/orders.py); close, why (the connection); end, status, why (of the worker); leave (in order, node 0's alone).
"""

from __future__ import annotations

from typing import Any

import utils
from cluster.lead import BEAT, shortened

Order = list[Any]


class Member:
    """rank: of this node; wait: seconds that it is without node 0 before it ends; silence: seconds without a word of it
    after which it counts as lost."""

    def __init__(self, rank: int, wait: float, silence: float, now: float):
        self.rank = rank
        self._wait, self._silence = wait, silence
        self.engine = "rest"     # or "starting", "up"
        self._number = self._generation = 0  # of the newest start: here, and what node 0 calls it
        self._linked = False
        self._since = now        # without a connection
        self._heard = self._beat_at = now
        self.over: tuple[int, str] | None = None
        self._refusal = ""       # the last word of why there is no connection

    # ------------------------------------------------------------ the connection
    def linked(self, now: float) -> list[Order]:
        """Node 0 has let it in."""
        self._linked, self._heard, self._refusal = True, now, ""
        return [self._state()]

    def unlinked(self, why: str, now: float) -> list[Order]:
        """There is no connection (any more)."""
        self._refusal = why
        if not self._linked:
            return []
        self._linked, self._since = False, now
        utils.log(f"node 0 is lost: {why}", "warn")
        return self._doomed(f"node 0 is lost: {why}")

    def told(self, message: list[Any], now: float) -> list[Order]:
        """By node 0. Raises ValueError or TypeError for what is no message."""
        self._heard = now
        word, *about = message
        if word == "start":
            (generation,) = about
            if self.engine != "rest" or self.over:
                return [self._state()]
            self._number, self._generation, self.engine = self._number + 1, generation, "starting"
            return [["allow", self._number]]
        if word == "stop":
            generation, why = about
            return self._doomed(str(why)) if generation == self._generation else []
        if word == "end":
            status, why = about
            return self.ended(int(status), str(why))
        return [["leave"]] if word == "leave" else []

    # ------------------------------------------------------------ the engine, and the time
    def became(self, what: str, number: int, text: str) -> list[Order]:
        """What the engine's owner tells of its start of that number: begun, up, gone or stuck, and why."""
        if number != self._number or what == "begun":
            return []
        text = shortened(text)
        if what == "stuck":
            return [["send", ["state", self._generation, "stuck", text]]]
        self.engine = {"up": "up", "gone": "rest"}[what]
        return [self._state(text)]

    def tick(self, now: float) -> list[Order]:
        """Once in a while."""
        if self.over or self.rank == 0:  # node 0 is not without itself
            return []
        if self._linked and now - self._heard >= self._silence:
            why = f"it said nothing for {self._silence:g} s (NODE_LOST_TIMEOUT)"
            return [["close", why], *self.unlinked(why, now)]
        if not self._linked and now - self._since >= self._wait:
            last = f": {self._refusal}" if self._refusal else ""
            return self.ended(1, f"node 0 was not there within {self._wait:g} s (NODE_WAIT_TIMEOUT){last}")
        if self._linked and now >= self._beat_at + min(BEAT, self._silence / 4):
            self._beat_at = now
            return [["send", ["beat"]]]
        return []

    def ended(self, status: int, why: str) -> list[Order]:
        """The worker has to end: as a failure at once; in order with whatever the engine still does."""
        if self.over:
            return []
        self.over = (status, why)
        if status == 0:
            return [["end", status, why]]
        return [*self._doomed(why.partition("\n")[0]), ["finish", why], ["end", status, why]]

    def _doomed(self, why: str) -> list[Order]:
        return [["doom", self._number, why]] if self.engine != "rest" else []

    def _state(self, why: str = "") -> Order:
        return ["send", ["state", self._generation, self.engine, why]]
