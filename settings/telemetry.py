"""What is told of the requests, and to whom: the log, Prometheus, OpenTelemetry. Pure.

OpenTelemetry's variables are its own (opentelemetry.io, "OTLP Exporter Configuration"); the worker reads those that say
whether and where, its SDK the others. SGLang's tracing reads some of them too, so all of them reach the server.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import unquote

from settings import flags
from settings.flags.values import Notice, Problem, boolean
from utils import VERSION

BASE = "OTEL_EXPORTER_OTLP_ENDPOINT"
PROTOCOL, HTTP = "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "http/protobuf"
ENGINE_TRACES = "--otlp-traces-endpoint"
_HEADERS = re.compile(r"OTEL_EXPORTER_OTLP_([A-Z]+_)?HEADERS")


@dataclasses.dataclass(frozen=True)
class Telemetry:
    """lines: a line in the log for each request; traces, metrics: where OpenTelemetry's go, None for nowhere;
    attributes: of the worker, for OpenTelemetry; engine_metrics: the server has its own, None where only a file of its
    own knows; engine_traces: where the server's own traces go, None where that is its own business; sglang: the version
    of the server whose flags the worker goes by; interval: tokens of an event of its streams, as arguments have it."""

    lines: bool = True
    traces: str | None = None
    metrics: str | None = None
    attributes: tuple[tuple[str, str], ...] = ()
    engine_metrics: bool | None = False
    engine_traces: str | None = None
    sglang: str = ""
    interval: int = 1


def telemetry(values: Mapping[str, Any], environ: Mapping[str, str], given: flags.Given, model: str,
              sglang: str) -> tuple[Telemetry, list[Notice], list[Problem]]:
    """(settings, notices, problems) from the worker's own values, OpenTelemetry's variables and the server's flags."""
    problems: list[Problem] = []
    traces, metrics = (_target(signal, environ, problems) for signal in ("TRACES", "METRICS"))
    unknown = None if values["SGLANG_CONFIG_FILE"] else False
    notices: list[Notice] = []
    protocol = environ.get("OTEL_EXPORTER_OTLP_PROTOCOL", "").strip()
    if (traces or metrics) and protocol not in ("", HTTP):
        notices.append(("warn", f"OTEL_EXPORTER_OTLP_PROTOCOL={protocol}: the worker itself sends http/protobuf, to "
                        f"{BASE}"))
    names = {"service.instance.id": "RUNPOD_POD_ID", "runpod.endpoint.id": "RUNPOD_ENDPOINT_ID",
             "runpod.datacenter.id": "RUNPOD_DC_ID"}
    attributes = {key: environ.get(name, "").strip() for key, name in names.items()}
    attributes |= {"gen_ai.request.model": model, "service.version": VERSION, "sglang.version": sglang}
    return Telemetry(
        values["REQUEST_LOG"] == "on" and values["WORKER_LOG_LEVEL"] in ("debug", "info"), traces, metrics,
        tuple((key, value) for key, value in attributes.items() if value),
        given.on("--enable-metrics") or unknown, _of_engine(traces, environ, given), sglang), notices, problems


def _of_engine(traces: str | None, environ: Mapping[str, str], given: flags.Given) -> str | None:
    """The server's tracing goes where the worker's goes, unless it is told otherwise: it takes one address as it is,
    and its protocol from the environment (sglang: srt/observability/trace.py, get_otlp_span_exporter)."""
    asked = given.on("--enable-trace") and ENGINE_TRACES not in given
    return traces if asked and environ.get(PROTOCOL, "").strip() in ("", HTTP) else None


def _target(signal: str, environ: Mapping[str, str], problems: list[Problem]) -> str | None:
    own = f"OTEL_EXPORTER_OTLP_{signal}_ENDPOINT"
    off = boolean(environ.get("OTEL_SDK_DISABLED", "")) or environ.get(f"OTEL_{signal}_EXPORTER", "").strip() == "none"
    name = own if environ.get(own, "").strip() else BASE
    text = environ.get(name, "").strip()
    if not text or off:
        return None
    if not re.match(r"https?://[^/\s]+", text, re.IGNORECASE):
        problem = Problem(name, text, "must be an address such as http://collector:4318: OTLP over HTTP")
        problems += [problem] if problem not in problems else []
        return None
    return text if name == own else f"{text.rstrip('/')}/v1/{signal.lower()}"


def header_secrets(environ: Mapping[str, str]) -> Iterator[str]:
    """The values of the headers for OpenTelemetry's collectors, where keys stand: `name=value` by commas, the values
    encoded as in addresses, some with a scheme before the key."""
    for name, text in environ.items():
        if not _HEADERS.fullmatch(name):
            continue
        for pair in text.strip().strip("\"'").split(","):
            name, sign, value = map(str.strip, pair.partition("="))
            value = value if sign else name  # without one it is no header, and the SDK's warning quotes it
            for spelled in {value, unquote(value)}:
                yield spelled
                yield spelled.rpartition(" ")[2]
