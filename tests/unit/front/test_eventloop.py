"""Timers of the fronts' loop: none counts frozen time, and each goes off once."""

import asyncio
import contextvars
import gc
import weakref

import pytest

from front import eventloop


class Frost:
    """`clock.awake` as the loop reads it: the time that passes, less `seconds`."""

    def __init__(self, monkeypatch):
        self.seconds, real = 0.0, eventloop.awake
        monkeypatch.setattr(eventloop, "awake", lambda: real() - self.seconds)


@pytest.fixture
def frost(monkeypatch):
    monkeypatch.setattr(eventloop, "_SHORT", 0.02)
    return Frost(monkeypatch)


def run(main):
    with asyncio.Runner(loop_factory=eventloop.Loop) as runner:
        return runner.run(main())


def test_its_time_is_the_clocks(frost):
    async def main():
        return asyncio.get_running_loop().time()

    before = eventloop.awake()
    assert before <= run(main) <= eventloop.awake()


def test_a_timer_that_goes_off_too_soon_waits_for_the_rest(frost):
    async def main():
        loop, rang = asyncio.get_running_loop(), []
        began = loop.time()
        done = loop.create_future()
        loop.call_later(0.05, lambda: rang.append(loop.time() - began))
        loop.call_later(0.15, lambda: done.set_result(None))
        frost.seconds = 0.1  # the first is due by libuv's clock, and not by this one
        await done
        return rang

    (after,) = run(main)
    assert after >= 0.05 - eventloop._EARLY


def test_a_limit_does_not_run_out_while_frozen(frost):
    async def main():
        async with asyncio.timeout(0.05) as limit:
            frost.seconds = 3600.0
            await asyncio.sleep(0.01)
        return limit.expired()

    assert run(main) is False


def test_a_limit_runs_out(frost):
    async def main():
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await asyncio.Event().wait()

    run(main)


@pytest.mark.parametrize("delay", [0.0, 0.001, 0.05])
def test_a_cancelled_timer_stays_silent_and_lets_go(frost, delay):
    class Thing:
        def rang(self):
            raise AssertionError("cancelled")

    async def main():
        thing = Thing()
        gone = weakref.ref(thing)
        handle = asyncio.get_running_loop().call_later(delay, thing.rang)
        handle.cancel()
        handle.cancel()
        assert handle.cancelled()
        del thing
        gc.collect()
        assert gone() is None
        await asyncio.sleep(0.1)

    run(main)


def test_it_can_be_cancelled_once_it_waits_for_the_rest(frost):
    async def main():
        loop, rang = asyncio.get_running_loop(), []
        handle = loop.call_at(loop.time() + 0.03, rang.append, "rang")
        frost.seconds = 3600.0
        await asyncio.get_running_loop().run_in_executor(None, lambda: None)
        await asyncio.sleep(0.01)  # of uvloop's own timers, below what counts
        handle.cancel()
        return rang, handle.cancelled()

    assert run(main) == ([], True)


def test_the_context_of_whoever_set_it_is_kept(frost):
    name = contextvars.ContextVar("name", default="none")

    async def main():
        loop = asyncio.get_running_loop()
        got = loop.create_future()
        name.set("set")
        loop.call_later(0.03, lambda: got.set_result(name.get()))
        other = contextvars.Context()
        theirs = loop.create_future()
        loop.call_later(0.03, lambda: theirs.set_result(name.get()), context=other)
        name.set("changed")
        return await got, await theirs

    assert run(main) == ("set", "none")
