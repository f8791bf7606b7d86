"""Node 0's side: the authority on when all nodes' engines are started and ended. Pure but for its log lines.

Invariants: a generation is started only when all nodes are there and all are at rest; when one node of it is lost, or
its engine ends, all others are told to stop; then comes the next generation, or the end.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import utils
from server.restarts import Restarts

Order = tuple[int, list[Any]]  # for which node, and the message; ["close"]: its connection
BEAT = 1.0    # seconds
MOST = 8_000  # characters that are kept of why an engine ended


def shortened(why: str, most: int = MOST) -> str:
    """Its beginning, and its end, where the remedy stands. A line between nodes has a limit (links.py), and a node that
    passes it would be taken for one that is lost."""
    return why if len(why) <= most else f"{why[:most // 4]}\n    […]\n{why[-most * 3 // 4:]}"


@dataclasses.dataclass
class _Node:
    engine: str  # "rest", "starting", "up"; "" until it has said
    heard: float


class Lead:
    """count: of nodes; restarts: how often all engines may be started again; wait: seconds for a node that is not
    there; silence: seconds without a word after which one counts as lost; now: by clock.awake, here as everywhere."""

    def __init__(self, count: int, restarts: Restarts, wait: float, silence: float, now: float):
        self._count, self._restarts, self._wait, self._silence = count, restarts, wait, silence
        self._nodes: dict[int, _Node] = {}
        self.generation = 0
        self.running = False            # the newest generation, as far as is known
        self.over: tuple[int, str] | None = None  # status and why
        self._was_up = self._leaving = False
        self._causes: list[str] = []    # why the newest generation is not running, until it is decided what follows
        self._lost = False              # a node was, of that generation
        self._in_vain = 0               # restarts since all were up
        self._refused = ""              # the last who came and was not let in
        self._missing_since: float | None = now
        self._not_before = self._beat_at = now

    # ------------------------------------------------------------ what happens
    def joined(self, rank: int, now: float) -> list[Order]:
        """A node is there, and is going to say how its engine stands."""
        if self.over:
            return [(rank, ["end", *self.over])]
        orders = self.lost(rank, "it came anew", now) if rank in self._nodes else []
        self._nodes[rank] = _Node("", now)
        if not self._missing:
            self._missing_since = None
            self._refused = ""
        utils.log(f"node {rank} is there: {len(self._nodes)} of {self._count}")
        return orders

    def refused(self, why: str) -> None:
        """Somebody came who is not let in; it is told where a node is missed."""
        if why != self._refused:
            self._refused = why
            utils.log(f"a node was not let in: {why}", "warn")

    def heard(self, rank: int, message: list[Any], now: float) -> list[Order]:
        """`message` came from a node that is there. Raises ValueError or TypeError for one that is none."""
        node = self._nodes.get(rank)
        if node is None:
            return []
        node.heard = now
        if self.over:
            return []
        word, *about = message
        if word == "state":
            return self._stands(rank, node, *about, now=now)
        if word == "leaving" and not self._leaving:
            self._leaving = True
            utils.log(f"node {rank} was told to stop: all nodes end, once the running requests are done", "warn")
            return [(0, ["leave"])]
        return []

    def _stands(self, rank: int, node: _Node, generation: int, engine: str, why: str, *, now: float) -> list[Order]:
        if engine == "stuck":
            return self.end(1, f"node {rank}: {shortened(why)}")
        if engine not in ("rest", "starting", "up"):
            raise ValueError("no state")
        node.engine = engine
        if engine != "rest" and not (self.running and generation == self.generation):
            return [(rank, ["stop", generation, "it is of an earlier start"])]
        if generation != self.generation:  # said before it heard of the newest one, or by one that is new
            return self._settled(now)
        if engine == "rest":
            said = shortened(why) or ("its engine has ended" if self.running else "")
            if said:
                utils.log(f"node {rank}'s engine: {said}", "error")
            return self._failed(f"node {rank}: {said}" if said else "", now)
        if self.running and all(other.engine == "up" for other in self._nodes.values()):
            self._was_up, self._in_vain = True, 0
            self._restarts.succeeded()
            utils.log(f"the engine is up on all {self._count} nodes")
        return []

    def lost(self, rank: int, why: str, now: float) -> list[Order]:
        """A node is not there any more."""
        if self._nodes.pop(rank, None) is None or self.over:
            return []
        if self._missing_since is None:
            self._missing_since = now
        utils.log(f"node {rank} is lost: {why}", "warn")
        if not self.running and not self._causes:
            return []
        self._lost = True
        return self._failed(f"node {rank} is lost: {why}", now)

    def tick(self, now: float) -> list[Order]:
        """Once in a while."""
        orders: list[Order] = []
        for rank in [rank for rank, node in self._nodes.items() if rank and now - node.heard >= self._silence]:
            orders.append((rank, ["close"]))
            orders += self.lost(rank, f"it said nothing for {self._silence:g} s (NODE_LOST_TIMEOUT)", now)
        if self.over:
            return orders
        if self._missing_since is not None and not self.running and now - self._missing_since >= self._wait:
            missing = ", ".join(map(str, self._missing))
            last = f"; one was not let in: {self._refused}" if self._refused else ""
            return orders + self.end(1, f"node {missing} of {self._count} was not there within {self._wait:g} s "
                                        f"(NODE_WAIT_TIMEOUT){last}")
        if now >= self._beat_at + min(BEAT, self._silence / 4):
            self._beat_at = now
            orders += [(rank, ["beat"]) for rank in self._nodes if rank]
        return orders + self._settled(now)

    def end(self, status: int, why: str) -> list[Order]:
        """All nodes end. status: 0 in order, 1 as a failure."""
        if self.over:
            return []
        why = shortened(why, 2 * MOST)  # of all nodes together
        self.over, self.running = (status, why), False
        return [(rank, ["end", status, why]) for rank in self._nodes]

    # ------------------------------------------------------------ what follows
    @property
    def _missing(self) -> list[int]:
        return [rank for rank in range(self._count) if rank not in self._nodes]

    def _failed(self, why: str, now: float) -> list[Order]:
        """A part of the newest generation is not running any more; why: "" only where all were told to stop."""
        orders: list[Order] = []
        if self.running:
            self.running = False
            orders = [(rank, ["stop", self.generation, why.partition("\n")[0]]) for rank in self._nodes]
        if why:
            self._causes.append(why)
        return orders + self._settled(now)

    def _settled(self, now: float) -> list[Order]:
        """What follows once all who are there are at rest."""
        if self.over or self.running or any(node.engine != "rest" for node in self._nodes.values()):
            return []
        if self._causes:
            why = "\n".join(self._causes)
            if not self._was_up and not self._lost:
                return self.end(1, why)
            pause = self._restarts.take(now)
            if pause is None:
                return self.end(1, f"The engine ended again after {self._restarts.recent} restarts of all nodes within "
                                   f"{self._restarts.window:.0f} s (SGLANG_MAX_RESTARTS): all nodes end. {why}")
            if self._in_vain >= self._restarts.most:  # each took so long that the window has forgotten the others
                return self.end(1, f"The engine was not up once in {self._in_vain} restarts of all nodes, one after "
                                   f"the other (SGLANG_MAX_RESTARTS): all nodes end. {why}")
            self._in_vain += 1
            self._causes, self._lost, self._not_before = [], False, now + pause
            utils.log(f"restarting the engine on all nodes ({self._restarts.recent} of at most {self._restarts.most} "
                      f"within {self._restarts.window:.0f} s)", "warn")
        if self._missing or self._leaving or now < self._not_before:
            return []
        self.generation, self.running = self.generation + 1, True
        for node in self._nodes.values():
            node.engine = "starting"
        return [(rank, ["start", self.generation]) for rank in self._nodes]
