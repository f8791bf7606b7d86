"""When a stream may have its next chunk, and how its connection is read meanwhile."""

import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from answer import pace as pace_module
from answer.pace import Pace, Silence

DETERMINED = settings(max_examples=200, deadline=None, derandomize=True)


@pytest.mark.parametrize("streams, budget", [(0, 300), (1, 300), (1, 0.001), (200, 0)])
def test_a_lone_stream_and_one_without_a_budget_never_wait(streams, budget):
    pace = Pace(budget)
    pace.streams = streams
    assert pace.wait(100.0, 100.0) == 0


@DETERMINED
@given(st.integers(2, 2000), st.floats(1, 10_000), st.floats(0, 1e6), st.floats(0, 10))
def test_many_streams_share_the_budget(streams, budget, begun, passed):
    pace = Pace(budget)
    pace.streams = streams
    gap = min(pace_module._LONGEST_GAP, (streams - 1) / budget)
    until = pace.wait(begun, begun + passed) + passed
    assert 0.74 * gap <= until + 1e-6 and until <= 1.26 * gap + 1e-6


def test_streams_wait_for_common_moments():
    pace = Pace(100)
    pace.streams = 41  # 0.4 s each, on a grid of 0.2 s
    assert {round(begun + pace.wait(begun, begun), 9) for begun in (7.01, 7.03, 7.05, 7.09)} == {7.4}


class Transport:
    def __init__(self):
        self.calls, self.closing, self.looked = [], False, asyncio.Event()

    def pause_reading(self):
        self.calls.append("pause")

    def resume_reading(self):
        self.calls.append("resume")
        self.looked.set()

    def is_closing(self):
        return self.closing


async def test_connections_are_read_together_and_freely_afterwards(monkeypatch):
    monkeypatch.setattr(pace_module, "_LOOK_EVERY", 0.01)
    pace, first, second = Pace(100), Transport(), Transport()
    with pace.seldom_read(first), pace.seldom_read(second):
        assert first.calls == second.calls == ["pause"]
        for _ in range(2):
            first.looked.clear()
            await first.looked.wait()
        assert first.calls[:4] == second.calls[:4] == ["pause", "resume", "pause", "resume"]
    assert first.calls[-1] == second.calls[-1] == "resume"
    seen = list(first.calls)
    while pace._next is not None:  # noqa: ASYNC110 - the last look finds nobody left, and no other is planned
        await asyncio.sleep(0.001)
    assert first.calls == seen


async def test_a_connection_that_ends_meanwhile_is_left_alone():
    pace, transport = Pace(100), Transport()
    with pace.seldom_read(transport):
        transport.closing = True
        pace._look()
        pace._look_away()
    assert transport.calls == ["pause"]
    with pace.seldom_read(transport), pace.seldom_read(None):
        assert transport.calls == ["pause"]
    pace._next.cancel()


class Engine:
    """What a stream comes from: a connection, and what arrives on it."""

    def __init__(self, *parts):
        self.transport, self.parts = Transport(), list(parts)
        self.ended = asyncio.get_running_loop().create_future()

    def pausable(self):
        return self.transport

    async def some(self):
        part = self.parts.pop(0)
        return part if isinstance(part, bytes) else await part


def crowded(budget: float) -> tuple[Pace, float]:
    """Many streams that share a budget, and the time on whose grid their waits end."""
    pace = Pace(budget)
    pace.streams = 11
    return pace, pace_module.time.monotonic()


async def test_all_that_wait_for_a_moment_are_read_once_and_woken_together():
    (pace, now), engines, order = crowded(200), [Engine() for _ in range(3)], []

    async def one(engine):
        await pace.turn(engine, now)
        order.append([list(other.transport.calls) for other in engines])

    await asyncio.gather(*map(one, engines))
    assert not pace._moments and not pace._unread
    assert all(calls[:2] == ["pause", "resume"] for calls in order[0])  # all were read before the first of them woke up


async def test_a_stream_is_read_after_its_first_chunk_and_goes_on_when_it_ends():
    (pace, now), engine = crowded(0.1), Engine()
    turn = asyncio.create_task(pace.turn(engine, now, young=True))
    await asyncio.sleep(0)
    assert pace._moments and engine.transport in pace._unread and not engine.transport.calls
    engine.ended.set_result(None)
    await turn
    await pace.turn(engine, now)  # what has ended waits no more
    assert engine.transport.calls == ["resume"] and not pace._unread


async def test_a_stream_that_goes_on_is_left_unread_soon_after_its_first_chunk():
    (pace, now), engine = crowded(0.1), Engine()
    turn = asyncio.create_task(pace.turn(engine, now, young=True))
    await asyncio.sleep(0)
    pace._look()
    pace._look_away()
    assert engine.transport.calls == ["resume", "pause"]
    turn.cancel()
    pace._next.cancel()


async def test_what_is_due_soon_is_not_looked_at_before(monkeypatch):
    (pace, now), engine = crowded(1000), Engine()
    for soon, looked_at in ((1000, False), (0, True)):
        monkeypatch.setattr(pace_module, "_SOON", soon)
        turn = asyncio.create_task(pace.turn(engine, now + 10))
        await asyncio.sleep(0)
        assert (engine.transport in pace._unread) == looked_at and engine.transport.calls[-1] == "pause"
        turn.cancel()
        await asyncio.gather(turn, return_exceptions=True)
    pace._next.cancel()


async def test_a_wait_that_is_cancelled_is_forgotten_at_its_moment():
    (pace, now), engine = crowded(200), Engine()
    turn = asyncio.create_task(pace.turn(engine, now))
    await asyncio.sleep(0)
    turn.cancel()
    with pytest.raises(asyncio.CancelledError):
        await turn
    assert engine.transport.calls == ["pause", "resume"]
    await pace.turn(Engine(), now)
    assert engine.transport.calls == ["pause", "resume"] and not pace._moments


# --- silence ------------------------------------------------------------------------------------------------------

async def test_one_alarm_watches_many_waits():
    silence = Silence(1000)
    assert await silence.wait(Engine(b"a").some()) == b"a"
    silence._ring()  # in the middle of a delivery, which may take as long as it likes
    assert await silence.wait(Engine(b"b").some()) == b"b"
    silence.end()


async def test_what_never_comes_is_given_up():
    silence = Silence(0.05)
    with pytest.raises(TimeoutError):
        await silence.wait(Engine(asyncio.get_running_loop().create_future()).some())
    assert not asyncio.current_task().cancelling()


async def test_who_is_cancelled_is_not_told_of_silence():
    async def read():
        silence = Silence(1000)
        try:
            await silence.wait(Engine(asyncio.get_running_loop().create_future()).some())
        finally:
            silence.end()

    reading = asyncio.create_task(read())
    await asyncio.sleep(0)
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading


async def test_without_a_limit_there_is_no_alarm():
    silence = Silence(None)
    assert silence._alarm is None and await silence.wait(Engine(b"a").some()) == b"a"
    silence.end()
