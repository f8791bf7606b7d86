"""All requests of a worker: who is under way, what was, and who is told of each when it ends."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import utils
from meter import catalogue
from meter.live import RATE_SECONDS, Rate, Recent, percentile
from meter.record import COMPLETED, FAILED, OUTCOMES, Record, carry


class Sink(Protocol):
    """Where records go."""

    def planned(self, record: Record) -> None:
        """It is known what a request asks for; not of one that is refused before that."""

    def ended(self, record: Record) -> None:
        """It is over."""

    def close(self) -> None:
        """The worker ends: what is held back goes out. May take seconds."""


class Meter:
    """Make one for a worker, early; everything on it is called on the event loop, but `summary` and `now`, which may be
    called from anywhere.

    waiting: how many requests wait for their turn in this worker; up: whether the engine takes requests; restarts: how
    often it was started again; falls: how many front processes ended by themselves; phases: seconds of each phase
    of its newest start. Functions, for those who know to set. sglang: the server's version; tokens_an_event: what it
    puts into an event of a stream (STREAM_INTERVAL).
    """

    def __init__(self, sinks: Sequence[Sink] = ()):
        self.sinks: list[Sink] = list(sinks)
        self.waiting: Callable[[], int] = lambda: 0
        self.up: Callable[[], bool] = lambda: False
        self.restarts: Callable[[], int] = lambda: 0
        self.phases: Callable[[], Mapping[str, float]] = dict
        self.falls: Callable[[], int] = lambda: 0
        self.sglang, self.tokens_an_event = "", 1
        self.open = 0  # requests that have begun and not ended
        self.outcomes = dict.fromkeys(OUTCOMES, 0)
        self._tokens, self._ttft = Rate(), Recent()

    def begin(self, mode: str, route: str, ident: str = "", *, traceparent: str | None = None,
              tracestate: str | None = None) -> Record:
        """The record of a request that begins now, in this task; to be ended with `Record.end`."""
        record = carry(Record(mode, route, ident, self))
        record.traced(traceparent, tracestate)
        self.open += 1
        return record

    def adopt(self, record: Record) -> Record:
        """One that was begun elsewhere is under way here too, until it is `ended`."""
        self.open += 1
        return record

    def told(self, events: float, ttfts: Sequence[float], now: float) -> None:
        """Streams elsewhere gave about so many tokens, and these first ones, lately."""
        self._tokens.add(events, now)
        for ttft in ttfts:
            self._ttft.add(ttft, now)

    # ------------------------------------------------------------ told by the records
    def planned(self, record: Record) -> None:
        """It is known what a request asks for."""
        self._all("planned", record)

    def progressed(self, events: float, now: float) -> None:
        """A stream gave about so many tokens since it last told."""
        self._tokens.add(events, now)

    def answering(self, record: Record) -> None:
        """A stream gave its first token."""
        assert record.ttft is not None
        self._ttft.add(record.ttft, record.began + record.ttft)

    def ended(self, record: Record) -> None:
        """A request is over."""
        self.open -= 1
        self.outcomes[record.outcome] += 1
        if record.ttft is None and record.usage.completion:  # a whole answer: what was made of it lately
            share = min(1.0, RATE_SECONDS / max(record.duration, 0.001))
            self._tokens.add(record.usage.completion * share, record.ended)
        self._all("ended", record)

    def _all(self, what: str, record: Record) -> None:
        for sink in tuple(self.sinks):
            try:
                getattr(sink, what)(record)
            except Exception as error:  # a request is never lost over being measured
                utils.log(f"a request was not measured ({type(sink).__name__}: {type(error).__name__})", "warn")

    def close(self) -> None:
        """The worker ends. Returns at once; the process waits with its end until everything has gone out, or has been
        given up."""
        if self.sinks:
            threading.Thread(target=self.close_now, name="meter-close").start()

    def close_now(self) -> None:
        """The same, and returns when it has."""
        for sink in self.sinks:
            sink.close()

    # ------------------------------------------------------------ asked by others
    def now(self, metric: catalogue.Metric) -> list[tuple[tuple[str, ...], float]]:
        """(values of its labels, value) of one that tells of the worker at the moment."""
        if metric is catalogue.PHASES:
            return [((name,), seconds) for name, seconds in self.phases().items()]
        if metric is catalogue.BUILD:
            return [((utils.VERSION, self.sglang), 1)]
        waiting = self.waiting()
        told = {catalogue.IN_FLIGHT: max(0, self.open - waiting), catalogue.WAITING: waiting,
                catalogue.UP: int(self.up()), catalogue.RESTARTS: self.restarts(),
                catalogue.FALLS: self.falls()}
        return [((), told[metric])]

    def summary(self) -> dict[str, Any]:
        """The worker at the moment: `in_flight` and `waiting` requests; `tokens_per_second` of all answers over the
        last 10 s (an estimate: a stream's events are taken for `tokens_an_event` each); `ttft_p50` and `ttft_p95`,
        seconds, of the last minute's streams, None without any; since the start `requests` that ended and, of them,
        `errors`, which are neither completed nor refused for what the caller sent nor cancelled."""
        now, waiting = time.monotonic(), self.waiting()
        ordered = self._ttft.values(now)
        return {"in_flight": max(0, self.open - waiting), "waiting": waiting,
                "tokens_per_second": round(self._tokens.value(now), 1),
                "ttft_p50": percentile(ordered, 0.5), "ttft_p95": percentile(ordered, 0.95),
                "requests": sum(self.outcomes.values()), "completed": self.outcomes[COMPLETED],
                "errors": self.outcomes[FAILED]}
