"""OpenTelemetry's exporters, without a network."""

import pytest
from opentelemetry.sdk.metrics.export import MetricExportResult
from opentelemetry.sdk.trace.export import SpanExportResult

from meter import otel
from meter.otel import OpenTelemetry
from meter.record import Record
from meter.requests import Meter

NOWHERE = "http://127.0.0.1:9/v1/x"


@pytest.mark.parametrize(("exporter", "sent"), [
    (otel._Spans, SpanExportResult.SUCCESS), (otel._Metrics, MetricExportResult.SUCCESS)])
def test_a_fork_sends_nothing_of_what_its_parent_counted(exporter, sent, monkeypatch):
    made = exporter(endpoint=NOWHERE)
    asked = []
    monkeypatch.setattr(exporter.__mro__[1], "export", lambda *_, **__: asked.append(1))
    made.export([])
    assert asked == [1]
    monkeypatch.setattr(otel.os, "getpid", lambda: -1)
    assert made.export([]) == sent and asked == [1]


@pytest.fixture
def sink(monkeypatch):
    """sink(meter, traces, metrics): one that sends nothing, and that ends with the test."""
    monkeypatch.setattr(otel._Spans, "export", lambda *_, **__: SpanExportResult.SUCCESS)
    monkeypatch.setattr(otel._Metrics, "export", lambda *_, **__: MetricExportResult.SUCCESS)
    made = []

    def make(meter, traces, metrics):
        made.append(OpenTelemetry(meter, traces, metrics))
        meter.sinks.append(made[-1])
        return made[-1]

    yield make
    for one in made:
        one.close()


@pytest.mark.parametrize(("traces", "metrics"), [(NOWHERE, None), (None, NOWHERE)])
def test_one_of_both_does_without_the_other(sink, traces, metrics):
    meter = Meter()
    made = sink(meter, traces, metrics)
    meter.open = 1  # so that it is not idle afterwards, and nothing is sent
    record = meter.begin("http", "/generate")
    record.planned("/generate")
    record.end(200)
    assert (record.trace_id is not None) == (record.carrier != {}) == (traces is not None)
    assert len(made._providers) == 1


@pytest.mark.parametrize("sampled", ["00", "01"])
def test_the_engine_s_spans_are_children_of_the_request_s_and_sampled_as_the_caller_says(sink, sampled):
    meter = Meter()
    sink(meter, NOWHERE, None)
    meter.open = 1
    trace, parent = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
    record = meter.begin("http", "/generate", traceparent=f"00-{trace}-{parent}-{sampled}", tracestate="a=b")
    record.planned("/generate")
    version, told, span, flags = record.carrier["traceparent"].split("-")
    assert (version, told, flags, record.carrier["tracestate"]) == ("00", trace, sampled, "a=b") and span != parent
    assert isinstance(record, Record) and record.trace_id == trace
