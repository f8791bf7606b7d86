"""SGLANG_CONFIG_FILE: there, and opening nothing that is closed."""

import json
from pathlib import Path

import pytest

from settings import config, model_source

SNAPSHOT = json.loads((Path(__file__).parents[3] / "builder" / "flags.json").read_text(encoding="utf-8"))


@pytest.fixture
def located(tmp_path):
    def locate(text, **environ):
        file = tmp_path / "server.yaml"
        if text is not None:
            file.write_text(text)
        environ = {"HOME": str(tmp_path), "SGLANG_CONFIG_FILE": str(file), **environ}
        try:
            model_source.locate(config.load(environ, SNAPSHOT, None, "python3"), SNAPSHOT, environ)
        except config.ConfigError as error:
            return [line.replace(str(tmp_path), "") for line in error.problems]
        return []
    return locate


def test_a_file_that_is_not_there(located):
    assert located(None) == ["SGLANG_CONFIG_FILE=/server.yaml: cannot be read: No such file or directory"]


@pytest.mark.parametrize("text", [
    "", "model-path: org/name\nserved-model-name: mine\nis-embedding: false\n", "host: 0.0.0.0\nport: 80\n",
    "kv-events-config: '{\"publisher\": \"null\"}'\nnnodes: 1\n", "# nnodes: 2\nmodel-path: x # nnodes: 2\n",
    "json-model-override-args: '{\"nnodes\": 2}'\n", "enable-lmcache: false\ndist-init-addr: 127.0.0.1:1\n",
    '{"model-path": "x", "nnodes": 1}', "cuda-graph-bs-decode:\n  - 1\n  - 2\n", "not: an option\n",
])
def test_what_it_may_say(located, text):
    assert located(text) == []


@pytest.mark.parametrize(("text", "name"), [
    ("kv-events-config: '{\"publisher\": \"zmq\"}'\n", "KV_EVENTS_CONFIG"), ("nnodes: 2 # two\n", "NNODES"),
    ("model-path: x\n\"nnodes\" : \"2\"\n", "NNODES"), ("enable-lmcache: true\n", "ENABLE_LMCACHE"),
    ("encoder-urls:\n  - http://far\n", "ENCODER_URLS"), ('{"model-path": "x", "nnodes": 2}', "NNODES"),
    ("kv-events-config: >\n  {\"publisher\": \"null\"}\n", "KV_EVENTS_CONFIG"), ("tool-server: far:1\n", "TOOL_SERVER"),
    ("kv-events-config:\n  publisher: zmq\n", "KV_EVENTS_CONFIG"),
    ("kv-events: '{\"publisher\": \"zmq\"}'\n", "KV_EVENTS_CONFIG"),
])
def test_what_would_open_the_engine_is_refused_there_too(located, text, name):
    (line,) = located(text)
    assert line.startswith("SGLANG_CONFIG_FILE: --") and line.endswith(f"open it with ALLOWED_LISTENERS={name}")
    assert located(text, ALLOWED_LISTENERS=name) == []


@pytest.mark.parametrize("text", ["max-prefill-tokens: 0\n", "max-total-tokens : '0' # none\n"])
def test_numbers_on_which_the_server_fails_are_refused_there_too(located, text):
    (line,) = located(text)
    assert line.startswith("SGLANG_CONFIG_FILE: --max") and "0 must be at least 1; leave it out" in line
    assert located("max-prefill-tokens: 16k\nmem-fraction-static: 0.8\nchunked-prefill-size: -1\n") == []


def test_what_would_break_the_worker_is_refused_there_too(located):
    (line,) = located("ssl-keyfile: /x\n")
    assert line.startswith("SGLANG_CONFIG_FILE: --ssl-keyfile cannot be set: ")
