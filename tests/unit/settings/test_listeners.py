"""What would make the engine listen beyond loopback, or connect to other machines, is refused unless it is named."""

import json
import re
from pathlib import Path

import pytest

from settings import config, flags, listeners
from settings.flags import variable
from tests.flag_samples import sample

ROOT = Path(__file__).parents[3]
SNAPSHOT = json.loads((ROOT / "builder" / "flags.json").read_text(encoding="utf-8"))
OPEN = {
    "--kv-events-config": '{"publisher": "zmq", "endpoint": "tcp://*:5557"}', "--load-publish-endpoint": "tcp://*:5600",
    "--decoupled-spec-connect-endpoints": '["tcp://10.0.0.2:1"]', "--dist-init-addr": "10.0.0.1:25000",
    "--nnodes": "2", "--elastic-ep-backend": "mooncake",
    "--hicache-storage-backend": "mooncake", "--otlp-traces-endpoint": "collector:4317",
    "--tool-server": "tools.example:80",
}
# What some want beside them.
BESIDE = {"--hicache-storage-backend": {"ENABLE_HIERARCHICAL_CACHE": "true"},
          "--language-only": {"WORKER_MODE": "http", "WORKER_API_KEY": "none"}}
# Flags that name a port or an address, and why each is no listener of its own.
HARMLESS = {
    "--host": "refused", "--port": "refused", "--gated-launch-port": "refused",
    "--smg-http-sidecar-port": "needs --smg-grpc-mode, which is refused",
    "--grpc-port": "on --host, which is loopback", "--nccl-port": "the number of torch's own listener",
    "--disaggregation-bootstrap-port": "needs --disaggregation-mode",
    "--encoder-bootstrap-port": "needs --language-only",
    "--engine-info-bootstrap-port": "needs the seed of a remote instance",
    "--remote-instance-weight-loader-seed-instance-service-port": "needs its ip",
    "--remote-instance-weight-loader-send-weights-group-ports": "needs its ip",
    "--disaggregation-decode-host-receive-threshold": "host memory", "--hicache-host-memory-fraction": "host memory",
    "--hicache-host-memory-mode": "host memory", "--weight-cache-socket": "a unix socket",
    "--enable-http-worker-reuseport": "on --host", "--expert-balancedness-report-mode": "a report",
    "--export-metrics-to-file": "a file", "--export-metrics-to-file-dir": "a file", "--modelopt-export-path": "a file",
    "--enable-cache-report": "a report", "--media-url-max-file-size-mb": "a size", "--mm-feature-transport": "memory",
}


def refused(**environ) -> list[str]:
    try:
        config.load(environ, SNAPSHOT, None, "python3")
    except config.ConfigError as error:
        return error.problems
    return []


@pytest.mark.parametrize("flag", sorted(listeners.LISTENERS))
def test_each_is_refused_and_opened_by_its_name(flag):
    name, text = variable(flag), OPEN.get(flag) or sample(flag, SNAPSHOT["flags"][flag])
    beside = BESIDE.get(flag, {})
    (problem,) = refused(**{name: text}, **beside)
    assert problem == f"{name}: the engine {listeners.LISTENERS[flag][0]}; open it with ALLOWED_LISTENERS={name}"
    assert refused(**{name: text, "ALLOWED_LISTENERS": name}, **beside) == []
    assert refused(**{name: text, "ALLOWED_LISTENERS": f"nnodes, {name.lower()}"}, **beside) == []
    extra = flag if SNAPSHOT["flags"][flag]["kind"] == "switch" else f"{flag} '{text}'"
    assert refused(SGLANG_EXTRA_ARGS=extra, **beside) == [problem]


def test_every_flag_that_names_a_port_or_an_address_was_looked_at():
    named = {flag for flag in SNAPSHOT["flags"]
             if re.search(r"port|host|addr|url|endpoint|socket|-ip\b", flag.replace("support", ""))}
    assert named - set(listeners.LISTENERS) == set(HARMLESS)


@pytest.mark.parametrize("environ", [
    {"KV_EVENTS_CONFIG": '{"publisher": "zmq", "endpoint": "tcp://127.0.0.1:5557"}'},
    {"KV_EVENTS_CONFIG": '{"publisher": "zmq", "endpoint": "ipc:///tmp/x", "replay_endpoint": "inproc://y"}'},
    {"KV_EVENTS_CONFIG": '{"publisher": "null", "endpoint": "tcp://*:1"}'}, {"KV_EVENTS_CONFIG": "{}"},
    {"LOAD_PUBLISH_ENDPOINT": "off"}, {"DIST_INIT_ADDR": "127.0.0.1:25000"}, {"DIST_INIT_ADDR": "[::1]:25000"},
    {"DIST_INIT_ADDR": "localhost:25000"}, {"NNODES": "1"}, {"DISAGGREGATION_MODE": "null"},
    {"HICACHE_STORAGE_BACKEND": "file", "ENABLE_HIERARCHICAL_CACHE": "true"},
    {"ENABLE_TRACE": "true", "OTLP_TRACES_ENDPOINT": "localhost:4317"},
    {"ENABLE_TRACE": "true"}, {"TOOL_SERVER": "demo"}, {"ENCODER_URLS": "http://127.0.0.1:1 http://localhost:2/x"},
    {"ENABLE_LMCACHE": "false"}, {"DUMPER_SERVER_PORT": "-1"}, {"DUMPER_SERVER_PORT": ""},
    {"ENABLE_TRACE": "true", "OTLP_TRACES_ENDPOINT": "far:1", "ALLOWED_LISTENERS": "OTLP_TRACES_ENDPOINT"},
])
def test_what_stays_on_this_machine_passes(environ):
    assert refused(**environ) == []


@pytest.mark.parametrize("text", [
    '{"publisher": "zmq"}', '{"publisher": "zmq", "endpoint": "tcp://0.0.0.0:1"}',
    '{"publisher": "zmq", "endpoint": "tcp://127.0.0.1:1", "replay_endpoint": "tcp://*:2"}',
    '{"publisher": "zmq", "endpoint": "tcp://[::]:1"}', '{"publisher": "zmq", "endpoint": "tcp://127.0.0.1.evil:1"}',
    '{"publisher": "own"}', '{"publisher": "zmq", "endpoint": "tcp://10.0.0.1:1"}', '[1]', '"x"',
])
def test_a_publisher_beyond_loopback_is_refused(text):
    assert refused(KV_EVENTS_CONFIG=text)[0].startswith("KV_EVENTS_CONFIG: the engine publishes")


@pytest.mark.parametrize(("text", "here"), [
    ("127.0.0.1", True), ("127.8.8.8:1", True), ("tcp://LOCALHOST:1", True), ("http://user@127.0.0.1:1/x", True),
    ("unix:///a", True), ("0.0.0.0:1", False), ("*:1", False), ("", False), ("2130706433:1", False),
    ("http://127.0.0.1@evil:1", False), ("::1", False), ("127.0.0.1:1:2", False), ("auto", False),
])
def test_which_addresses_are_of_this_machine(text, here):
    assert listeners.stays_here(text) is here


def test_variables_of_the_engine_itself():
    assert refused(DUMPER_SERVER_PORT="4000") == [
        "DUMPER_SERVER_PORT: the engine opens a debugging server on all addresses; open it with "
        "ALLOWED_LISTENERS=DUMPER_SERVER_PORT"]
    assert refused(DUMPER_SERVER_PORT="4000", ALLOWED_LISTENERS="DUMPER_SERVER_PORT") == []


def test_a_name_that_opens_nothing_is_refused():
    assert refused(ALLOWED_LISTENERS="HOST")[0].startswith("ALLOWED_LISTENERS=HOST: HOST is none of DECOUPLED_SPEC_")


def test_the_table_knows_only_flags_that_there_are():
    assert set(listeners.LISTENERS) <= set(SNAPSHOT["flags"])
    assert not set(listeners.LISTENERS) & set(flags.REFUSED)
