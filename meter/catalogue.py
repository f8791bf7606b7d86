"""Every metric of the worker: its name, its kind, its labels, what it counts. Pure.

Prometheus and OpenTelemetry are fed from this one list. A collector that turns OpenTelemetry's names into Prometheus'
(dots to underscores, the unit and `_total` behind) comes to the same names, so the same dashboards show both.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from meter.record import REFUSED, Record

PREFIX = "sglang_worker"
UNITS = {"s": "seconds", "By": "bytes"}  # UCUM, as OpenTelemetry writes them, and Prometheus' words

# Seconds. A warm prefix answers in milliseconds, a long prefill in a minute; RunPod ends HTTP requests after 5.5.
_LONG = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 40.0, 80.0, 160.0, 330.0, 660.0)
_FIRST = (0.01, 0.025, 0.05, 0.1, 0.2, 0.35, 0.5, 0.75, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0)
_TOKEN = (0.001, 0.0025, 0.005, 0.0075, 0.01, 0.015, 0.02, 0.03, 0.04, 0.06, 0.1, 0.2, 0.5, 1.0)
_WAIT = (0.001, 0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0)


class Metric(NamedTuple):
    """name: OpenTelemetry's, without the prefix; kind: "counter" or "histogram", of requests that have ended, "gauge"
    or "total", of the worker at the moment; unit: UCUM, "" for a count."""

    name: str
    kind: str
    help: str
    labels: tuple[str, ...] = ()
    unit: str = ""
    buckets: tuple[float, ...] = ()

    @property
    def prometheus(self) -> str:
        """Prometheus' name, without what it puts behind counters."""
        return "_".join([PREFIX, self.name.replace(".", "_"), *([UNITS[self.unit]] if self.unit else [])])


_WHO = ("route", "mode")
REQUESTS = Metric("requests", "counter", "Requests that ended, by how they ended: completed, refused, failed, "
                  "cancelled.", (*_WHO, "outcome"))
REFUSALS = Metric("refusals", "counter", "Requests that were refused before anything of an answer, by reason.",
                  ("reason", "mode"))
QUEUE = Metric("queue.wait", "histogram", "Seconds that requests waited for their turn.", ("mode",), "s", _WAIT)
TTFT = Metric("time_to_first_token", "histogram", "Seconds from a request's arrival to the first token of its stream.",
              _WHO, "s", _FIRST)
ITL = Metric("inter_token", "histogram", "Mean seconds between the tokens of a stream, one value a stream.", _WHO, "s",
             _TOKEN)
DURATION = Metric("request.duration", "histogram", "Seconds from a request's arrival to its end.",
                  (*_WHO, "outcome"), "s", _LONG)
PROMPT = Metric("prompt_tokens", "counter", "Tokens of prompts.", _WHO)
CACHED = Metric("cached_tokens", "counter", "Tokens of prompts that the cache had, where the answer says so.", _WHO)
COMPLETION = Metric("completion_tokens", "counter", "Tokens of answers.", _WHO)
UNCOUNTED = Metric("uncounted_requests", "counter", "Completed requests whose answer did not say how many tokens it "
                   "has.", _WHO)
BYTES = Metric("sent", "counter", "Bytes of answers.", _WHO, "By")
CHUNKS = Metric("chunks", "counter", "Pieces in which answers were handed on.", _WHO)
IN_FLIGHT = Metric("requests_in_flight", "gauge", "Requests under way.")
WAITING = Metric("requests_waiting", "gauge", "Requests that wait for their turn in this worker.")
UP = Metric("engine_up", "gauge", "1 while the engine takes requests.")
RESTARTS = Metric("engine_restarts", "total", "How often the engine was started again.")
FALLS = Metric("front_process_ends", "total", "Front processes that ended by themselves (HTTP_PROCESSES).")
PHASES = Metric("start.phase", "gauge", "Seconds of each phase of the newest start.", ("phase",), "s")
BUILD = Metric("build_info", "gauge", "1, and by its labels the versions of the worker and of the SGLang whose flags "
               "it goes by.", ("version", "sglang"))

METRICS = (REQUESTS, REFUSALS, QUEUE, TTFT, ITL, DURATION, PROMPT, CACHED, COMPLETION, UNCOUNTED, BYTES, CHUNKS,
           IN_FLIGHT, WAITING, UP, RESTARTS, FALLS, PHASES, BUILD)


def values(record: Record) -> Iterator[tuple[Metric, float, tuple[str, ...]]]:
    """What a request that has ended adds to the counters and histograms: (metric, value, its labels' values)."""
    who, usage = (record.route, record.mode), record.usage
    yield REQUESTS, 1, (*who, record.outcome)
    yield DURATION, record.duration, (*who, record.outcome)
    if record.outcome == REFUSED:
        yield REFUSALS, 1, (record.why, record.mode)
    for metric, seconds, labels in ((QUEUE, record.queued, (record.mode,)), (TTFT, record.ttft, who),
                                    (ITL, record.itl, who)):
        if seconds is not None:
            yield metric, seconds, labels
    for metric, count in ((PROMPT, usage.prompt), (CACHED, usage.cached), (COMPLETION, usage.completion),
                          (BYTES, record.bytes), (CHUNKS, record.chunks)):
        if count:
            yield metric, count, who
    if record.generates and record.outcome == "completed" and usage.completion is None:
        yield UNCOUNTED, 1, who
