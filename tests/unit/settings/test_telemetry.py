"""What OpenTelemetry's variables and the worker's own come to."""

import json
import sys
from pathlib import Path

import pytest

import utils
from settings import config
from settings.environment import engine_environ
from settings.resolved import ConfigError

SNAPSHOT = json.loads((Path(__file__).parents[3] / "builder" / "flags.json").read_text(encoding="utf-8"))
BASE = "OTEL_EXPORTER_OTLP_ENDPOINT"


def load(**environ):
    return config.load({"MODEL_NAME": "org/tiny", **environ}, SNAPSHOT, 0, sys.executable)


def told(**environ):
    return load(**environ).telemetry


def test_nothing_goes_anywhere_unless_it_is_asked_for():
    assert told() == told(OTEL_SERVICE_NAME="mine", OTEL_EXPORTER_OTLP_HEADERS="a=b", OTEL_TRACES_EXPORTER="otlp")
    assert (told().traces, told().metrics, told().lines) == (None, None, True)


@pytest.mark.parametrize(("environ", "traces", "metrics"), [
    ({BASE: "http://c:4318"}, "http://c:4318/v1/traces", "http://c:4318/v1/metrics"),
    ({BASE: "https://c/otlp/"}, "https://c/otlp/v1/traces", "https://c/otlp/v1/metrics"),
    ({BASE: ' "http://c:4318" '}, "http://c:4318/v1/traces", "http://c:4318/v1/metrics"),
    ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://t/x"}, "http://t/x", None),
    ({"OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": "http://m/x", BASE: "http://c"}, "http://c/v1/traces", "http://m/x"),
    ({BASE: "http://c", "OTEL_TRACES_EXPORTER": "none"}, None, "http://c/v1/metrics"),
    ({BASE: "http://c", "OTEL_METRICS_EXPORTER": "none"}, "http://c/v1/traces", None),
    ({BASE: "http://c", "OTEL_SDK_DISABLED": "true"}, None, None)])
def test_where_it_goes(environ, traces, metrics):
    assert (told(**environ).traces, told(**environ).metrics) == (traces, metrics)


@pytest.mark.parametrize("text", ["collector:4317", "collector", "grpc://c:4317", "http://"])
def test_an_address_that_is_none_is_named_once(text):
    with pytest.raises(ConfigError) as raised:
        load(**{BASE: text})
    [problem] = raised.value.problems
    assert BASE in problem and "http://collector:4318" in problem


def test_another_protocol_is_told_of():
    notices = load(**{BASE: "http://c", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}).notices
    assert any("http/protobuf" in text for level, text in notices if level == "warn")
    assert not any("http/protobuf" in text for _, text in load(**{BASE: "http://c"}).notices)


@pytest.mark.parametrize(("environ", "lines"), [
    ({}, True), ({"REQUEST_LOG": "off"}, False), ({"WORKER_LOG_LEVEL": "warn"}, False),
    ({"WORKER_LOG_LEVEL": "debug"}, True)])
def test_whether_there_are_lines(environ, lines):
    assert told(**environ).lines == lines


def test_what_the_server_has_of_its_own():
    assert (told().engine_metrics, told(ENABLE_METRICS="true").engine_metrics) == (False, True)
    assert told(SGLANG_CONFIG_FILE="/x.yaml").engine_metrics is None


TRACES = "http://c:4318/v1/traces"


@pytest.mark.parametrize(("environ", "endpoint", "protocol"), [
    ({}, None, None), ({"ENABLE_TRACE": "true"}, TRACES, "http/protobuf"),
    ({"ENABLE_TRACE": "true", "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "http/protobuf"}, TRACES, "http/protobuf"),
    ({"ENABLE_TRACE": "true", "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "grpc"}, None, "grpc"),
    ({"ENABLE_TRACE": "true", "OTEL_TRACES_EXPORTER": "none"}, None, None),
    ({"ENABLE_TRACE": "true", "OTLP_TRACES_ENDPOINT": "127.0.0.1:4317"}, "127.0.0.1:4317", None)])
def test_the_server_s_own_tracing_goes_to_the_same_place_unless_it_is_told_otherwise(environ, endpoint, protocol):
    environ = {"MODEL_NAME": "org/tiny", BASE: "http://c:4318", **environ}
    settings = load(**environ)
    words = dict(zip(settings.server_args, settings.server_args[1:], strict=False))
    assert words.get("--otlp-traces-endpoint") == endpoint
    assert engine_environ(settings, environ).get("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL") == protocol


def test_the_server_hears_opentelemetry_s_variables_and_not_the_worker_s():
    environ = {"MODEL_NAME": "org/tiny", BASE: "http://c", "OTEL_SERVICE_NAME": "mine", "REQUEST_LOG": "off"}
    heard = engine_environ(load(**environ), environ)
    assert heard[BASE] == "http://c" and heard["OTEL_SERVICE_NAME"] == "mine" and "REQUEST_LOG" not in heard


@pytest.mark.parametrize("name", ["OTEL_EXPORTER_OTLP_HEADERS", "OTEL_EXPORTER_OTLP_TRACES_HEADERS",
                                  "OTEL_EXPORTER_OTLP_METRICS_HEADERS"])
def test_the_keys_of_collectors_are_secrets(name):
    settings = load(**{name: "x-scope=tenant-12,Authorization=Basic%20c2VzYW1l, api-key = open-sesame"})
    assert {"tenant-12", "Basic c2VzYW1l", "Basic%20c2VzYW1l", "c2VzYW1l", "open-sesame"} <= set(settings.secrets)


def test_a_key_of_a_collector_that_is_no_header_is_a_secret_too():
    assert {"Bearer open-sesame", "open-sesame"} <= set(load(OTEL_EXPORTER_OTLP_HEADERS="Bearer open-sesame").secrets)


def test_who_it_is():
    attributes = dict(told(RUNPOD_POD_ID="pod-1", RUNPOD_ENDPOINT_ID="ep-1", SERVED_MODEL_NAME="mine").attributes)
    assert attributes == {"service.instance.id": "pod-1", "runpod.endpoint.id": "ep-1", "gen_ai.request.model": "mine",
                          "service.version": utils.VERSION, "sglang.version": SNAPSHOT["sglang"]}
