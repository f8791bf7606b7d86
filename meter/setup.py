"""A worker's meter, as the settings want it."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import utils
from meter.line import Lines
from meter.requests import Meter
from settings.telemetry import Telemetry


def made(wanted: Telemetry, up: Callable[[], bool], life: Callable[[], int], phases: Callable[[], Mapping[str, float]]
         ) -> Meter:
    """One that costs nothing to make. up, phases: see Meter; life: the number of the engine's newest start, 1 for the
    first."""
    meter = Meter([Lines()] if wanted.lines else [])
    meter.sglang, meter.tokens_an_event = wanted.sglang, wanted.interval
    meter.up, meter.restarts, meter.phases = up, lambda: max(0, life() - 1), phases
    return meter


def export(meter: Meter, wanted: Telemetry, *, traces: bool = True, metrics: bool = True) -> None:
    """From now on what it measures is also sent, if anywhere: what that takes is imported only then. traces, metrics:
    whether they are this process's business."""
    where, whither = wanted.traces if traces else None, wanted.metrics if metrics else None
    if not (where or whither):
        return
    try:
        from meter.otel import OpenTelemetry
        sink = OpenTelemetry(meter, where, whither, wanted.attributes)
    except Exception as error:  # one of its own variables, by most; no reason to serve nobody
        utils.log(f"OpenTelemetry is not used, for it does not start: {type(error).__name__}: {error}", "error")
        return
    meter.sinks.insert(0, sink)  # first, for the line names the trace


__all__ = ["Meter", "export", "made"]
