"""What the engine says of how full it is: read, kept for a second, and never waited for."""

import json
import threading
from types import SimpleNamespace

import pytest

from front.http.page import loads
from front.http.page.loads import Loads, read

RANK = {"num_waiting_reqs": 1, "num_used_tokens": 250, "max_total_num_tokens": 1000}
ANSWER = {"version": "0.5.23", "accelerator": "NVIDIA H100 80GB HBM3", "num_accelerators": 2, "loads": [RANK]}


def test_one_rank_and_several():
    assert read(json.dumps(ANSWER).encode()) == {
        "waiting": 1, "kv_used": 0.25, "kv_tokens": 1000, "version": "0.5.23",
        "accelerator": "NVIDIA H100 80GB HBM3", "accelerators": 2}
    two = read(json.dumps({**ANSWER, "loads": [RANK, {**RANK, "num_used_tokens": 750}]}).encode())
    assert (two["kv_used"], two["kv_tokens"], two["waiting"], two["accelerators"]) == (0.5, 2000, 2, 4)


@pytest.mark.parametrize("body", [b"", b"[", b"[]", b"null", b'{"loads": 5}', b'{"detail": "Not Found"}'])
def test_what_is_no_answer(body):
    assert read(body) is None


def test_what_is_not_said_is_unknown():
    assert set(read(b'{"loads": [{}, 5]}').values()) == {None}
    assert read(b'{"loads": [{"num_used_tokens": 5, "max_total_num_tokens": 0}]}')["kv_used"] is None
    assert read(b'{"loads": [{"num_used_tokens": 9, "max_total_num_tokens": 4}]}')["kv_used"] == 1.0


class Engine:
    """Answers when it is let; counts how often it was asked."""

    def __init__(self):
        self.asked, self.go, self.answer, self.status = 0, threading.Event(), ANSWER, 200

    def get(self, path, timeout):
        assert path.startswith("/v1/loads") and timeout <= 5
        self.asked += 1
        self.go.wait(60)
        return self.status, json.dumps(self.answer).encode()


@pytest.fixture
def now(monkeypatch):
    """The time, in a list of one."""
    time = [1000.0]
    monkeypatch.setattr(loads, "time", SimpleNamespace(monotonic=lambda: time[0]))
    return time


async def test_nobody_waits_for_it_and_it_is_asked_once(now):
    engine = Engine()
    known = Loads(engine.get)
    assert [known.known() for _ in range(5)] == [None] * 5  # while it does not answer
    engine.go.set()
    await known._asking
    assert known.known()["waiting"] == 1 and engine.asked == 1  # not again within the second
    now[0] += loads.EVERY
    engine.answer = {**ANSWER, "loads": []}
    assert known.known()["waiting"] == 1  # the newest that there is
    await known._asking
    assert known.known()["waiting"] is None and engine.asked == 2
    known.forget()
    assert known.known() is None


async def test_what_nobody_looked_at_for_long_is_not_told_any_more(now):
    engine = Engine()
    engine.go.set()
    known = Loads(engine.get)
    known.known()
    await known._asking
    now[0] += 11 * loads.EVERY
    assert known.known() is None
    await known._asking
    assert known.known()["waiting"] == 1


async def test_an_engine_that_does_not_know_the_route_is_asked_again_later(now):
    engine = Engine()
    engine.go.set()
    engine.status = 404
    known = Loads(engine.get)
    known.known()
    await known._asking
    assert known.known() is None
