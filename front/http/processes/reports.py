"""What is measured of requests, from the process that carries them to the one that measures. Pure but for the clock."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Any

from meter.record import Record
from meter.requests import Meter, Sink
from meter.usage import Usage
from utils import JobError

LOST = JobError("The front process that carried this request ended.", type="server_error", code=502)
# What is carried as it is.
_PLAIN = ("id", "request_id", "trace_id", "model", "began", "ended", "last", "queued", "ttft", "chunks", "bytes",
          "status", "reason", "outcome", "kind")
_NAME = 1000  # characters of a model's name: callers may choose what follows the served one, where there are adapters


class Reporting(Meter):
    """The meter of a front process: it tells the owner of each request, by a number. send: takes a message."""

    def __init__(self, send: Callable[[list[Any]], None], sinks: Sequence[Sink] = ()):
        super().__init__(sinks)
        self._send = send
        self._numbers: dict[Record, int] = {}
        self._count = 0
        self._fresh: list[Record] = []  # begun in this turn of the event loop
        self._events, self._ttfts = 0.0, list[float]()

    def begin(self, mode: str, route: str, ident: str = "", *, traceparent: str | None = None,
              tracestate: str | None = None) -> Record:
        record = super().begin(mode, route, ident, traceparent=traceparent, tracestate=tracestate)
        self._count += 1
        self._numbers[record] = self._count
        if not self._fresh:
            asyncio.get_running_loop().call_soon(self._tell_begun)
        self._fresh.append(record)
        return record

    def _tell_begun(self) -> None:
        if self._fresh:
            self._send(["begun", [[self._numbers[record], record.route, record.request_id, record.trace_id,
                                   record.began, record.wall] for record in self._fresh]])
            self._fresh = []

    def progressed(self, events: float, now: float) -> None:
        self._events += events

    def answering(self, record: Record) -> None:
        assert record.ttft is not None
        self._ttfts.append(record.ttft)

    def ended(self, record: Record) -> None:
        self._tell_begun()
        super().ended(record)
        record.model = record.model and record.model[:_NAME]
        told = [getattr(record, name) for name in _PLAIN]
        error = record.error and [record.error_type, record.error.code]
        self._send(["ended", self._numbers.pop(record), told, list(record.usage), error])

    def figures(self) -> tuple[float, list[float]]:
        """(about how many tokens streams gave, the first of them after how many seconds each), since it was last asked.
        """
        told = self._events, self._ttfts
        self._events, self._ttfts = 0.0, []
        return told


class Reports:
    """The owner's: what one front process tells of its requests goes to `meter`."""

    def __init__(self, meter: Meter):
        self._meter = meter
        self._open: dict[int, Record] = {}

    def begun(self, requests: list[list[Any]]) -> None:
        """Requests have begun there."""
        for number, route, request_id, trace_id, began, wall in requests:
            record = self._open[number] = self._meter.adopt(Record("http", route, "", self._meter))
            record.request_id, record.trace_id, record.began, record.wall = request_id, trace_id, began, wall

    def ended(self, number: int, told: list[Any], usage: list[Any], error: list[Any] | None) -> None:
        """One is over."""
        record = self._open.pop(number)
        for name, value in zip(_PLAIN, told, strict=True):
            setattr(record, name, value)
        record.usage = Usage(*usage)
        if error:
            kind, code = error
            record.error = JobError("", type=kind, code=code)
        self._meter.ended(record)

    def figures(self, events: float, ttfts: list[float]) -> None:
        """What streams gave lately."""
        self._meter.told(events, ttfts, time.monotonic())

    def lost(self) -> None:
        """The process is gone, and with it whatever it carried."""
        for record in self._open.values():
            record.failed(LOST)
            record.end()
        self._open.clear()
