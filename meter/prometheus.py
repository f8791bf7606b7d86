"""The metrics as Prometheus reads them, with its own client library and a registry of their own."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Histogram, disable_created_metrics, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from meter import catalogue
from meter.record import Record
from meter.requests import Meter

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Prometheus:
    """A sink that counts. `text` is what a scrape gets."""

    def __init__(self, meter: Meter) -> None:
        # When each counter was made says nothing here.
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self._registry = CollectorRegistry()
        self._metrics: dict[str, Any] = {}
        for metric in catalogue.METRICS:
            if metric.kind == "counter":
                self._metrics[metric.name] = Counter(metric.prometheus, metric.help, metric.labels,
                                                     registry=self._registry)
            elif metric.kind == "histogram":
                self._metrics[metric.name] = Histogram(metric.prometheus, metric.help, metric.labels,
                                                       buckets=metric.buckets, registry=self._registry)
        self._children: dict[tuple[str, tuple[str, ...]], Any] = {}
        self._registry.register(_Now(meter))

    def planned(self, record: Record) -> None:
        """Nothing is counted yet."""

    def ended(self, record: Record) -> None:
        """Counts a request."""
        for metric, value, labels in catalogue.values(record):
            key = metric.name, labels
            child = self._children.get(key)
            if child is None:
                child = self._children[key] = self._metrics[metric.name].labels(*labels)
            if metric.kind == "counter":
                child.inc(value)
            else:
                child.observe(value)

    def text(self) -> bytes:
        """Everything, in Prometheus' text format."""
        return generate_latest(self._registry)

    def close(self) -> None:
        """Nothing is held back."""


class _Now(Collector):
    """What is asked of the worker at each scrape."""

    def __init__(self, meter: Meter) -> None:
        self._meter = meter

    def collect(self) -> Iterable[Metric]:
        for metric in catalogue.METRICS:
            if metric.kind == "gauge":
                gauge = GaugeMetricFamily(metric.prometheus, metric.help, labels=metric.labels)
                for labels, value in self._meter.now(metric):
                    gauge.add_metric(labels, value)
                yield gauge
            elif metric.kind == "total":
                counter = CounterMetricFamily(metric.prometheus, metric.help, labels=metric.labels)
                for labels, value in self._meter.now(metric):
                    counter.add_metric(labels, value)
                yield counter
