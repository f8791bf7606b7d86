"""Who is held to have ended the engine, and for how long."""

import pytest

from job import quarantine
from job.quarantine import Quarantine
from job.routes import Context, plan
from utils import JobError

BODY = {"messages": [{"role": "user", "content": "Hello"}], "rid": "a"}
OTHER = {"messages": [{"role": "user", "content": "Bye"}], "rid": "b"}
CHAT = "/v1/chat/completions"


@pytest.fixture
def clock(monkeypatch):
    class Clock:
        now = 1000.0

        def monotonic(self) -> float:
            return self.now

    clock = Clock()
    monkeypatch.setattr(quarantine, "time", clock)
    return clock


def refused(memory: Quarantine, body: dict, path: str = CHAT) -> bool:
    try:
        memory.check(path, body)
    except JobError as error:
        assert error.code == 422 and error.message == (
            "The engine died twice while it ran this request and no other: it is not tried again within the hour.")
        return True
    return False


def test_a_request_that_was_alone_at_two_deaths_is_refused(clock):
    memory = Quarantine()
    assert not refused(memory, BODY)
    memory.blame(CHAT, BODY, 1)
    assert not refused(memory, BODY)
    memory.blame(CHAT, BODY, 2)
    assert refused(memory, BODY)
    assert not refused(memory, OTHER) and not refused(memory, BODY, "/v1/completions")


def test_one_death_counts_once_however_many_copies_ran(clock):
    memory = Quarantine()
    for _ in range(5):
        memory.blame(CHAT, BODY, 1)
    assert not refused(memory, BODY)
    for _ in range(5):
        memory.blame(CHAT, BODY, 2)
    assert refused(memory, BODY)


@pytest.mark.parametrize("order", [(BODY, OTHER, BODY), (BODY, BODY, OTHER), (OTHER, BODY, BODY)])
def test_nobody_is_blamed_who_was_one_of_many(clock, order):
    memory = Quarantine()
    for life in (1, 2, 3):
        for body in order:
            memory.blame(CHAT, body, life)
    assert not refused(memory, BODY) and not refused(memory, OTHER)
    memory.blame(CHAT, BODY, 4)
    assert not refused(memory, BODY)
    memory.blame(CHAT, BODY, 5)
    assert refused(memory, BODY) and not refused(memory, OTHER)


def test_a_death_is_forgotten_after_an_hour(clock):
    memory = Quarantine()
    memory.blame(CHAT, BODY, 1)
    clock.now += 1800
    memory.blame(CHAT, BODY, 2)
    clock.now += 1799
    assert refused(memory, BODY)
    clock.now += 1
    assert not refused(memory, BODY)
    memory.blame(CHAT, BODY, 3)
    assert refused(memory, BODY)


def test_a_late_blame_does_not_make_a_death_younger(clock):
    memory = Quarantine()
    memory.blame(CHAT, BODY, 1)
    memory.blame(CHAT, BODY, 2)
    clock.now += 3000
    memory.blame(CHAT, BODY, 1)
    clock.now += 600
    assert not refused(memory, BODY)


def test_what_is_remembered_is_bounded_and_the_oldest_goes_first(clock):
    memory = Quarantine()
    memory.blame(CHAT, OTHER, 1)
    memory.blame(CHAT, OTHER, 2)
    for life in range(3, 65):
        memory.blame(CHAT, BODY, life)
    assert refused(memory, OTHER) and refused(memory, BODY)
    memory.blame(CHAT, BODY, 65)
    assert not refused(memory, OTHER) and len(memory._ends) == 64


@pytest.mark.parametrize("job_input", [
    {"openai_route": "/v1/responses", "openai_input": {"input": "the same"}}, {"messages": BODY["messages"]},
    {"text": ["a", "b"]}, {"openai_route": "/v1/embeddings", "openai_input": {"input": ["a", "b"]}},
    {"route": "/v1/responses", "body": {"input": "the same", "background": True}},
    {"openai_route": "/encode", "openai_input": {"text": ["a", "b"]}}])
def test_the_same_job_under_another_id_is_recognised(clock, job_input):
    memory = Quarantine()
    for life in (1, 2, 3):
        request = plan(job_input, Context("tiny", "tiny"), f"job-{life}")
        assert refused(memory, request.body, request.path) is (life == 3)
        memory.blame(request.path, request.body, life)


def test_an_id_of_the_senders_own_makes_no_other_request_of_it(clock):
    memory = Quarantine()
    for life in (1, 2):
        memory.blame(CHAT, {**BODY, "rid": [f"x{life}"], "request_id": f"y{life}"}, life)
    assert refused(memory, {"messages": BODY["messages"]})
    assert not refused(memory, {**BODY, "temperature": 0})
    memory.blame(CHAT, {"a": 1, "b": {"c": 2, "d": 3}}, 5)
    memory.blame(CHAT, {"b": {"d": 3, "c": 2}, "a": 1}, 6)
    assert refused(memory, {"a": 1, "b": {"d": 3, "c": 2}})
    memory.blame("/health", None, 7)
    memory.blame("/health", {}, 8)
    assert refused(memory, None, "/health")
