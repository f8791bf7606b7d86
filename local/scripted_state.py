"""The scripted engine's state: the clock of its streams, its slots, and the record of every request.

States of a record: queued, running, hanging, finished, aborted, disconnected, dropped, failed.
"""

from __future__ import annotations

import argparse
import asyncio
import math
import time
import uuid
from collections import deque
from dataclasses import dataclass, field

from aiohttp import web

from local.scripted_faults import Script

GRID = 0.001  # seconds; streams due in the same millisecond share one timer, whatever their number


class Pacer:
    """One timer per millisecond for all streams, so that hundreds of them stay cheap and exact."""

    def __init__(self):
        self.loop, self.ticks = asyncio.get_running_loop(), {}

    def wake(self, due: float, waiter: asyncio.Future) -> None:
        """Resolve `waiter` at loop time `due` (never before it)."""
        tick = math.ceil(due / GRID)
        if tick not in self.ticks:
            self.ticks[tick] = []
            self.loop.call_at(tick * GRID, self._fire, tick)
        self.ticks[tick].append(waiter)

    def _fire(self, tick: int) -> None:
        for waiter in self.ticks.pop(tick):
            if not waiter.done():
                waiter.set_result(None)


@dataclass(eq=False)
class Record:
    """One request as it was seen. `waiter` is what its handler sleeps on."""

    rid: str
    path: str
    method: str
    stream: bool
    body: object
    prompt: str
    authorization: str | None
    headers: dict = field(default_factory=dict)  # names in lower case
    state: str = "queued"
    tokens: int = 0
    abort_asked: bool = False
    released: bool = False
    started: float = field(default_factory=time.time)
    ended: float | None = None
    waiter: asyncio.Future | None = field(default=None, repr=False)

    def public(self) -> dict:
        return {k: v for k, v in self.__dict__.items() if k not in ("waiter", "released")}

    def nudge(self) -> None:
        if self.waiter and not self.waiter.done():
            self.waiter.set_result(None)


class Engine:
    """The server's state: what runs, what was seen, who waits for it."""

    def __init__(self, options: argparse.Namespace, script: Script):
        self.options, self.script = options, script
        self.model = options.served_model_name or options.model_path
        self.records: list[Record] = []
        self.watchers: list[tuple] = []
        self.slots, self.queue = options.max_running_requests, deque()
        self.pacer, self.draining, self.idle = Pacer(), False, asyncio.Event()

    # ------------------------------------------------------------ records
    def record(self, request: web.Request, body, prompt: str, rid: str | None = None) -> Record:
        record = Record(rid or uuid.uuid4().hex, request.path, request.method,
                        bool(isinstance(body, dict) and body.get("stream")), body, prompt,
                        request.headers.get("Authorization"),
                        {name.lower(): value for name, value in request.headers.items()})
        self.records.append(record)
        self.changed()
        return record

    def state(self, record: Record, state: str) -> None:
        record.state = state
        if state not in ("queued", "running", "hanging"):
            record.ended = time.time()
        self.changed()

    def matching(self, query) -> list[Record]:
        # "aborted,disconnected": a client that gives up does both, and either may arrive first.
        wanted = {k: query[k].split(",") for k in ("rid", "path", "state") if k in query}
        least = int(query.get("tokens", 0))
        return [r for r in self.records
                if all(getattr(r, k) in v for k, v in wanted.items()) and r.tokens >= least]

    def changed(self) -> None:
        for query, count, waiter in self.watchers:
            if not waiter.done() and len(self.matching(query)) >= count:
                waiter.set_result(None)
        if self.draining and not self.busy():
            self.idle.set()

    def busy(self) -> bool:
        return any(r.state in ("queued", "running", "hanging") for r in self.records)

    # ------------------------------------------------------------ slots
    async def admit(self, record: Record) -> bool:
        """Wait for one of max_running_requests; False when aborted meanwhile."""
        if self.slots > 0 and not self.queue:
            self.slots -= 1
        else:
            record.waiter = asyncio.get_running_loop().create_future()
            self.queue.append(record)
            try:
                await record.waiter
            except asyncio.CancelledError:
                if record not in self.queue:  # the slot came in the same turn as the disconnect
                    self.leave()
                raise
            finally:
                waiting = record in self.queue
                if waiting:
                    self.queue.remove(record)
            if waiting:  # woken by an abort, not by a slot
                return False
        self.state(record, "running")
        return True

    def leave(self) -> None:
        self.slots += 1
        while self.slots > 0 and self.queue:
            self.slots -= 1
            self.queue.popleft().nudge()

    def abort(self, rid: str, everything: bool) -> None:
        for record in self.records:
            if record.ended is None and (everything or record.rid == rid):
                record.abort_asked = True
                record.nudge()

    async def pause(self, record: Record, due: float | None) -> None:
        """Sleep until loop time `due` (None: for ever), an abort, or a release."""
        if record.abort_asked:
            return
        record.waiter = asyncio.get_running_loop().create_future()
        if due is not None:
            self.pacer.wake(due, record.waiter)
        await record.waiter
