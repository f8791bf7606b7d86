"""How a process ends: Ending in processes of their own, with real signals."""

import asyncio
import signal
import sys

import pytest

from tests.support import ROOT

# `shape` is what main() does; the process says "up" when it runs, and each call of stop with its patience.
CODE = """
import asyncio, os, signal, sys, threading, time, weakref
from front import process
process.LAST_RESORT = process.AFTERWARDS = float(sys.argv[2])
ending = process.Ending(7.0)
say = lambda text: print(text, flush=True)
stopped = asyncio.Event()

def stop(patience):
    say(f"stop {patience}")
    stopped.set()

async def orderly():
    say("up")
    await stopped.wait()

async def deaf():
    say("up")
    await asyncio.Event().wait()

async def in_company():
    say("up")
    threading.Thread(target=ending.in_order).start()
    await stopped.wait()
    os.kill(os.getpid(), signal.SIGTERM)
    say("goes on")

async def in_company_for_long():
    await in_company()
    os.kill(os.getpid(), signal.SIGINT)
    say("never said")

async def busy():
    say("up")
    while True:
        pass

async def abandoned():
    threading.Thread(target=ending.give_up, args=("it is gone",)).start()
    await stopped.wait()

def early():
    say("up")
    time.sleep(60)

def early_in_a_callback():
    class Thing:
        pass
    thing = Thing()
    kept = weakref.ref(thing, lambda _: os.kill(os.getpid(), signal.SIGTERM) or say("up"))
    del thing
    say("the exit was lost")
    time.sleep(60)

def early_and_long():
    try:
        early()
    finally:
        try:
            raise OSError("another one")
        except OSError:
            time.sleep(5 * process._AGAIN)
        say("all of it")

class Slow:
    def __del__(self, sleep=time.sleep, seconds=5 * process._AGAIN):
        sleep(seconds)

def early_before_a_slow_end_of_the_interpreter():
    global last
    last = Slow()
    early()

def early_while_another_thread_has_more_to_do():
    def more(seconds=5 * process._AGAIN):
        time.sleep(seconds)
        say("all of it")
    try:
        early()
    finally:
        threading.Thread(target=more).start()

def early_and_slow():
    try:
        early()
    finally:
        say("ending")
        time.sleep(60)

def given_up_early():
    threading.Thread(target=ending.give_up, args=("it is gone",)).start()
    time.sleep(60)

def held_up_afterwards():
    ending.run(orderly, stop)
    say("after")
    time.sleep(60)

shape = globals()[sys.argv[1]]
try:
    if asyncio.iscoroutinefunction(shape):
        ending.run(shape, stop)
    else:
        shape()
finally:
    say("ended")
sys.exit(ending.status)
"""


async def lives(shape: str, *signals: int, limit: float = 60.0) -> tuple[int, list[str]]:
    """The exit status and the lines of a process that gets `signals`, one after each line it says."""
    child = await asyncio.create_subprocess_exec(sys.executable, "-c", CODE, shape, str(limit), cwd=ROOT,
                                                 stdout=asyncio.subprocess.PIPE)
    lines = []
    async with asyncio.timeout(50):
        async for line in child.stdout:
            lines.append(line.decode().strip())
            if signals:
                child.send_signal(signals[0])
                signals = signals[1:]
        return await child.wait(), lines


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_stops_what_runs(number):
    assert await lives("orderly", number) == (0, ["up", "stop 7.0", "ended"])


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_before_anything_runs_ends_in_order(number):
    assert await lives("early", number) == (0, ["up", "ended"])


async def test_a_signal_that_meets_a_callback_whose_errors_python_ignores_ends_in_order_too():
    status, lines = await lives("early_in_a_callback")
    assert status == 0 and lines[-2:] == ["the exit was lost", "ended"]


async def test_an_orderly_end_is_not_disturbed():
    assert await lives("early_and_long", signal.SIGTERM) == (0, ["up", "all of it", "ended"])


async def test_nor_is_the_interpreters_own_end():
    assert await lives("early_before_a_slow_end_of_the_interpreter", signal.SIGTERM) == (0, ["up", "ended"])


async def test_what_other_threads_have_to_finish_is_waited_for():
    status, lines = await lives("early_while_another_thread_has_more_to_do", signal.SIGTERM)
    assert status == 0 and lines == ["up", "ended", "all of it"]


async def test_a_second_signal_ends_at_once():
    status, lines = await lives("deaf", signal.SIGTERM, signal.SIGINT)
    assert status == 128 + signal.SIGINT and lines == ["up", "stop 7.0", "second signal: ending at once"]


async def test_the_platforms_signal_beside_the_word_of_another_node_is_no_second_one():
    assert await lives("in_company") == (0, ["up", "stop 7.0", "goes on", "ended"])


async def test_one_more_after_the_word_of_another_node_ends_at_once():
    status, lines = await lives("in_company_for_long")
    assert status == 128 + signal.SIGINT and lines == ["up", "stop 7.0", "goes on", "second signal: ending at once"]


async def test_a_second_signal_ends_at_once_also_before_anything_runs():
    status, lines = await lives("early_and_slow", signal.SIGTERM, signal.SIGTERM)
    assert status == 128 + signal.SIGTERM and lines == ["up", "ending", "second signal: ending at once"]


async def test_an_end_before_anything_runs_is_cut_short():
    status, lines = await lives("early_and_slow", signal.SIGTERM, limit=0.5)
    assert status == 1 and lines == ["up", "ending", "the worker does not end in time: ending at once"]


async def test_giving_up_stops_what_runs_soon_and_says_why():
    status, lines = await lives("abandoned")
    assert status == 1 and "it is gone" in lines[0] and lines[1:] == ["stop 5.0", "ended"]


async def test_giving_up_before_anything_runs_ends_in_order():
    status, lines = await lives("given_up_early")
    assert status == 1 and "it is gone" in lines[0] and lines[1:] == ["ended"]


@pytest.mark.parametrize("shape, said", [("deaf", ["up", "stop 7.0"]), ("busy", ["up"])])
async def test_an_end_that_takes_too_long_is_cut_short(shape, said):
    status, lines = await lives(shape, signal.SIGTERM, limit=-6.5)
    assert status == 1 and lines == [*said, "the worker does not end in time: ending at once"]


async def test_what_follows_is_cut_short_as_well():
    status, lines = await lives("held_up_afterwards", signal.SIGTERM, limit=0.5)
    assert status == 1 and lines[-1] == "the worker does not end in time: ending at once" and "after" in lines
