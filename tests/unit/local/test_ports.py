"""Ports to give away."""

import itertools
import socket
import subprocess
import sys

from local import ports
from tests.support import ROOT


def test_a_port_is_free_and_none_that_connections_get(monkeypatch, tmp_path):
    told = tmp_path / "range"
    told.write_text("32768\t60999\n")
    monkeypatch.setattr(ports, "_RANGE", str(told))
    for _ in range(50):
        port = ports.free_port()
        assert 10_000 <= port < 32_768
        with socket.socket() as s:
            s.bind(("127.0.0.1", port))


def test_one_that_is_taken_is_not_given(monkeypatch):
    with socket.socket() as taken, socket.socket() as other:
        taken.bind(("127.0.0.1", 0))
        other.bind(("127.0.0.1", 0))
        free = other.getsockname()[1]
        other.close()
        picks = iter((taken.getsockname()[1], free))
        monkeypatch.setattr(ports._picks, "randrange", lambda *_: next(picks))
        assert ports.free_port() == free


def test_where_connections_get_nearly_all_the_system_chooses(monkeypatch, tmp_path):
    told = tmp_path / "range"
    told.write_text("1024\t65535\n")
    monkeypatch.setattr(ports, "_RANGE", str(told))
    assert ports.free_port() > 0


def test_one_that_another_process_got_is_not_given_as_long_as_that_lives(monkeypatch):
    code = "from local.ports import free_port; print(free_port(), flush=True); input()"
    with subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, text=True,
                          stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        theirs = int(other.stdout.readline())
        ours = ports.free_port()
        picks = itertools.chain((theirs, ours), itertools.repeat(theirs))
        monkeypatch.setattr(ports._picks, "randrange", lambda *_: next(picks))
        assert ports.free_port() == ours
        other.communicate("\n")
    assert ports.free_port() == theirs
