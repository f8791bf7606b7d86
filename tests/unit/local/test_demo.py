"""The demo's two ways; two demos at once: a log for each, and a plain word when the port is taken."""

import socket

import pytest

from local import demo, environments, ways
from tests.unit.settings.test_config import load


def test_every_demo_has_a_log_of_its_own(monkeypatch, tmp_path):
    monkeypatch.setattr(environments, "cache_root", lambda: tmp_path)
    assert demo.log_of(8000) != demo.log_of(8001)
    assert demo.log_of(8000).parent == tmp_path


@pytest.mark.parametrize("way", [[], ["--http"]])
def test_a_demo_whose_port_is_taken_says_so(monkeypatch, tmp_path, capsys, way):
    monkeypatch.setattr(environments, "engine_python", lambda: tmp_path)
    monkeypatch.setattr(environments, "tiny_model", lambda: tmp_path)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert demo.main(["--port", str(port), *way]) == 1
    assert f"Port {port} is taken" in capsys.readouterr().err


def test_over_http_the_worker_is_on_loopback_and_open_whatever_else_is_set():
    other = {"WORKER_API_KEY": "sesame-open-now", "HOST": "0.0.0.0", "PORT": "80", "PORT_HEALTH": "81",
             "RUNPOD_WEBHOOK_GET_JOB": "https://x/job-take"}
    http = load({**other, **ways.Http(8123).environ()}).http
    assert (http.mode, http.host, http.port, http.health_port, http.keys) == ("http", "127.0.0.1", 8123, 8123, ())


def test_behind_the_platform_it_takes_jobs_whatever_else_is_set():
    assert load({"WORKER_MODE": "http", **ways.Queue().environ()}).http.mode == "queue"
