"""A receiver of OTLP over HTTP, as small as can be: it keeps what it is sent, decoded."""

from __future__ import annotations

import asyncio
import gzip
import zlib

from aiohttp import web
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

_UNPACKED = {"gzip": gzip.decompress, "deflate": zlib.decompress}


def _value(any_value):
    return getattr(any_value, any_value.WhichOneof("value") or "string_value")


def attributes(pairs) -> dict:
    return {pair.key: _value(pair.value) for pair in pairs}


class Receiver:
    """`async with Receiver() as receiver`: listens at `receiver.url`. spans and points: what has come; headers: of
    every request; status: what it answers."""

    def __init__(self):
        self.spans, self.points, self.headers, self.resources = [], [], [], []
        self.status = 200
        self._news = asyncio.Event()

    async def __aenter__(self) -> Receiver:
        app = web.Application(client_max_size=2**26)
        app.router.add_post("/v1/traces", self._traces)
        app.router.add_post("/v1/metrics", self._metrics)
        self._runner = web.AppRunner(app)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        return self

    async def __aexit__(self, *_) -> None:
        await self._runner.cleanup()

    async def _read(self, request, message):
        body = await request.read()
        message.ParseFromString(_UNPACKED.get(request.headers.get("Content-Encoding"), bytes)(body))
        self.headers.append({name.lower(): value for name, value in request.headers.items()})
        return message

    async def _traces(self, request):
        for resource in (await self._read(request, ExportTraceServiceRequest())).resource_spans:
            self.resources.append(attributes(resource.resource.attributes))
            self.spans += [span for scope in resource.scope_spans for span in scope.spans]
        self._news.set()
        return web.Response(status=self.status)

    async def _metrics(self, request):
        for resource in (await self._read(request, ExportMetricsServiceRequest())).resource_metrics:
            self.resources.append(attributes(resource.resource.attributes))
            for metric in (metric for scope in resource.scope_metrics for metric in scope.metrics):
                data = getattr(metric, metric.WhichOneof("data"))
                self.points += [(metric.name, attributes(point.attributes), point) for point in data.data_points]
        self._news.set()
        return web.Response(status=self.status)

    def newest(self, name: str) -> list[tuple[dict, object]]:
        """(attributes, point) of a metric's newest points, one for each set of attributes."""
        found = {tuple(sorted(told.items())): (told, point) for metric, told, point in self.points if metric == name}
        return list(found.values())

    async def until(self, condition, timeout: float = 60.0) -> None:
        """Wait until `condition()` holds, which is asked after everything that comes."""
        async with asyncio.timeout(timeout):
            while not condition():
                self._news.clear()
                await self._news.wait()
