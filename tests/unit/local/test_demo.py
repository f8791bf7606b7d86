"""Two demos at once: a log for each, and a plain word when the port is taken."""

import socket

from local import demo, environments


def test_every_demo_has_a_log_of_its_own(monkeypatch, tmp_path):
    monkeypatch.setattr(environments, "cache_root", lambda: tmp_path)
    assert demo.log_of(8000) != demo.log_of(8001)
    assert demo.log_of(8000).parent == tmp_path


def test_a_demo_whose_port_is_taken_says_so(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(environments, "engine_python", lambda: tmp_path)
    monkeypatch.setattr(environments, "tiny_model", lambda: tmp_path)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert demo.main(["--port", str(port)]) == 1
    assert f"Port {port} is taken" in capsys.readouterr().err
