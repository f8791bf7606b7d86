"""The metrics and a span for each request by OpenTelemetry's own SDK, as OTLP over HTTP.

Imported only where it is wanted: it takes a quarter of a second. What is measured is told once a request, when it ends;
sending it is the business of the SDK's threads.
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.metrics import CallbackOptions, Observation
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import MetricExportResult, MetricsData, PeriodicExportingMetricReader
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExportResult
from opentelemetry.trace import Span, SpanKind, Status, StatusCode, Tracer, format_trace_id, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

import utils
from meter import catalogue
from meter.line import fields
from meter.record import FAILED, Record
from meter.requests import Meter

SCOPE = "worker-sglang"
PATIENCE = 5.0  # seconds at the end for everything that is left
IDLE = 1.0  # seconds without a request after which it is sent, too: RunPod may freeze a worker that has nothing to do
_PROPAGATOR = TraceContextTextMapPropagator()
# What the line calls it, and what OpenTelemetry's conventions for HTTP and generative AI do.
_ATTRIBUTES = {
    "route": "http.route", "model": "gen_ai.request.model", "prompt_tokens": "gen_ai.usage.input_tokens",
    "cached_tokens": "gen_ai.usage.cache_read.input_tokens", "completion_tokens": "gen_ai.usage.output_tokens",
    "error": "error.type", "id": "gen_ai.response.id", "ttft_s": "gen_ai.response.time_to_first_chunk"}
_LEFT_OUT = ("trace_id", "duration_s")  # the span itself says so


class OpenTelemetry:
    """A sink that sends. meter: asked for the figures of the moment; traces, metrics: where they go, None for nowhere;
    attributes: of the worker, where OpenTelemetry's own variables do not say otherwise."""

    def __init__(self, meter: Meter, traces: str | None, metrics: str | None,
                 attributes: Iterable[tuple[str, str]] = ()) -> None:
        _listen()
        told = {"service.name": SCOPE, **dict(attributes)}
        environ = OTELResourceDetector().detect().attributes
        resource = Resource.create({name: value for name, value in told.items() if name not in environ})
        self._meter, self._sending, self._ended = meter, threading.Event(), 0
        self._providers: list[TracerProvider | MeterProvider] = []
        self._tracer: Tracer | None = None
        self._instruments: dict[str, Any] = {}
        if traces:
            tracing = TracerProvider(resource=resource, shutdown_on_exit=False)
            tracing.add_span_processor(BatchSpanProcessor(_Spans(endpoint=traces)))
            self._tracer = tracing.get_tracer(SCOPE)
            self._providers.append(tracing)
        if metrics:
            reader = PeriodicExportingMetricReader(_Metrics(endpoint=metrics))
            measuring = MeterProvider([reader], resource=resource, shutdown_on_exit=False)
            self._instrument(measuring.get_meter(SCOPE), meter)
            self._providers.append(measuring)

    def _instrument(self, made: Any, meter: Meter) -> None:
        for metric in catalogue.METRICS:
            name, about = f"{catalogue.PREFIX}.{metric.name}", {"unit": metric.unit, "description": metric.help}
            if metric.kind == "counter":
                self._instruments[metric.name] = made.create_counter(name, **about)
            elif metric.kind == "histogram":
                self._instruments[metric.name] = made.create_histogram(
                    name, explicit_bucket_boundaries_advisory=metric.buckets, **about)
            elif metric.kind == "total":
                made.create_observable_counter(name, [_asked(meter, metric)], **about)
            else:
                made.create_observable_gauge(name, [_asked(meter, metric)], **about)

    # ------------------------------------------------------------ a sink
    def planned(self, record: Record) -> None:
        """Its span begins, and is what the engine's own spans will be children of."""
        if self._tracer is None:
            return
        span = self._begun(self._tracer, record)
        record.carrier = {}
        _PROPAGATOR.inject(record.carrier, set_span_in_context(span))

    def ended(self, record: Record) -> None:
        """It is counted, and its span ends."""
        for metric, value, labels in catalogue.values(record):
            instrument, attributes = self._instruments.get(metric.name), dict(zip(metric.labels, labels, strict=True))
            if instrument is not None and metric.kind == "counter":
                instrument.add(value, attributes)
            elif instrument is not None:
                instrument.record(value, attributes)
        if self._tracer is not None:
            span = record.span or self._begun(self._tracer, record)
            span.set_attributes({_ATTRIBUTES.get(name, f"{catalogue.PREFIX}.{name}"): value for name, value in
                                 fields(record).items() if value is not None and name not in _LEFT_OUT})
            if record.outcome == FAILED:
                span.set_status(Status(StatusCode.ERROR))
            span.end(record.wall + round(record.duration * 1e9))
        self._ended += 1
        if not self._meter.open and not self._sending.is_set():
            self._sending.set()
            threading.Thread(target=self._send_when_idle, name="otel-idle", daemon=True).start()

    def _send_when_idle(self) -> None:
        sent = 0
        while sent != self._ended:
            time.sleep(IDLE)
            if self._meter.open:
                break
            sent = self._ended
            for provider in self._providers:
                with contextlib.suppress(Exception):  # what could not be sent is in the log
                    provider.force_flush()
        self._sending.clear()

    def close(self) -> None:
        """Sends what is left, for PATIENCE seconds at most."""
        until = time.monotonic() + PATIENCE
        # Of their own, and not waited for any longer: the SDK's own limit is half a minute for each.
        threads = [threading.Thread(target=provider.shutdown, daemon=True) for provider in self._providers]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(max(0.0, until - time.monotonic()))

    @staticmethod
    def _begun(tracer: Tracer, record: Record) -> Span:
        carrier = {"traceparent": record.traceparent or "", "tracestate": record.tracestate or ""}
        kind = SpanKind.SERVER if record.mode == "http" else SpanKind.CONSUMER
        span = record.span = tracer.start_span(f"{record.mode} {record.route}", _PROPAGATOR.extract(carrier), kind,
                                               start_time=record.wall)
        record.trace_id = format_trace_id(span.get_span_context().trace_id)
        return span


def _asked(meter: Meter, metric: catalogue.Metric) -> Callable[[CallbackOptions], Iterable[Observation]]:
    def observe(_options: CallbackOptions) -> Iterable[Observation]:
        return [Observation(value, dict(zip(metric.labels, labels, strict=True))) for labels, value in
                meter.now(metric)]
    return observe


# The SDK starts its threads anew in every fork, and the runpod SDK forks for its pings: what the worker counted until
# then is not to be told twice.
class _Spans(OTLPSpanExporter):
    """Sends from this process alone."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._process = os.getpid()

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        return super().export(spans) if os.getpid() == self._process else SpanExportResult.SUCCESS


class _Metrics(OTLPMetricExporter):
    """Sends from this process alone."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._process = os.getpid()

    def export(self, metrics_data: MetricsData, timeout_millis: float | None = 10_000, **more: Any
               ) -> MetricExportResult:
        if os.getpid() != self._process:
            return MetricExportResult.SUCCESS
        return super().export(metrics_data, timeout_millis, **more)


class _Log(logging.Handler):
    """The SDK's own words in the worker's log, where secrets are masked."""

    def emit(self, record: logging.LogRecord) -> None:
        utils.log(f"OpenTelemetry: {record.getMessage()}", "warn")


def _listen() -> None:
    logger = logging.getLogger("opentelemetry")
    if not any(isinstance(handler, _Log) for handler in logger.handlers):
        logger.addHandler(_Log(logging.WARNING))
        logger.propagate = False
