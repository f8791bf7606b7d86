"""The other nodes of a worker's engine, by its settings: none, for a worker that is alone."""

from __future__ import annotations

from types import TracebackType
from typing import Protocol

import utils
from cluster import proof
from cluster.greeting import Place
from cluster.links import Nodes
from engine import Orders, Restarts
from settings.resolved import Settings


class Ending(Protocol):
    """The worker's end (front/process.py). status: to exit with."""

    status: int

    def in_order(self) -> None:
        """Called when the worker has to end though nothing is wrong."""


class Company:
    """`with company:` all nodes' engines are started and ended together; raises EngineError where that cannot be.

    orders: for the engine's owner, None for a worker that is alone; others: meanwhile, the other nodes, or None.
    """

    def __init__(self, settings: Settings, ending: Ending):
        self._ending = ending
        self.orders, self.others = None, None
        if settings.nodes.count > 1:
            self.orders = Orders()
            restarts = Restarts(settings.max_restarts, settings.restart_window)
            self.others = Nodes(place(settings), restarts, self.orders, ending.in_order)

    def __enter__(self) -> Company:
        if self.others is not None:
            self.others.begin()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        """Before the engine is stopped: the others hear of it, and do not take it for a failure."""
        if self.others is not None:
            failed = isinstance(error, Exception) or isinstance(error, SystemExit) and bool(error.code)
            self.others.part(self._ending.status, error if failed else None)


def place(settings: Settings) -> Place:
    """Where this worker is among the others, whose port is the one below SGLang's (which takes some above it)."""
    nodes, secret = settings.nodes, ",".join(settings.http.keys).encode()
    facts = {"worker": utils.VERSION, "SGLang": settings.sglang, "NUM_NODES": str(nodes.count),
             "model": f"{settings.model} {settings.revision}", "NODE_LOST_TIMEOUT": f"{nodes.silence:g}"}
    return Place(nodes.rank, nodes.count, nodes.host, nodes.port - 1, nodes.own or nodes.host, nodes.wait,
                 nodes.silence, secret, proof.about(secret, facts, settings.server_args))
