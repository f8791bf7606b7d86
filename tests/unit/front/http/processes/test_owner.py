"""How the owner keeps its front processes; here they are none, but the far ends of their connections."""

import asyncio
import errno
import os
import socket
import time
from types import SimpleNamespace

import pytest

from engine import State
from front.http.processes import owner
from front.http.processes.owner import Fronts
from front.http.processes.wire import Unpacker
from meter.requests import Meter


class Begun:
    """In place of a process: `end` is its side of the connection, `killed` is set when it is killed."""

    def __init__(self, channel: int):
        self.end = socket.socket(fileno=os.dup(channel))
        self.end.setblocking(False)
        self.killed = asyncio.Event()
        self._unpacker = Unpacker()

    def kill(self):
        self.killed.set()
        self.end.close()

    def wait(self, _timeout=None):
        return -9

    async def heard(self):
        """The messages that come next."""
        return self._unpacker.feed(await asyncio.get_running_loop().sock_recv(self.end, 2**16))


@pytest.fixture
async def kept(monkeypatch):
    """(an owner, its processes as they begin, errors that come of beginning one, reasons for which it gave up)."""
    begun, errors, reasons = [], [], []

    def begin(channel, _listener):
        if errors:
            raise errors.pop(0)
        begun.append(Begun(channel))
        return begun[-1]

    monkeypatch.setattr(owner, "begun", begin)
    settings = SimpleNamespace(http=SimpleNamespace(processes=1, queue_seconds=1.0, held_bytes=100),
                               media=SimpleNamespace(memory_bytes=100))
    engine = SimpleNamespace(state=State.STARTING, life=1, endings={})
    with socket.socket() as listener:
        fronts = Fronts(settings, listener, Meter(), engine, {}, reasons.append)
        yield fronts, begun, errors, reasons
        for process in begun:
            process.end.close()
        await fronts.close()


async def test_who_a_process_is_comes_before_what_all_are_told(kept):
    fronts, begun, _errors, _reasons = kept
    starting = asyncio.create_task(fronts._start(1))
    while not starting.done():
        fronts.leave()
        await asyncio.sleep(0)
    messages = []
    while len(messages) < 3:
        messages += await begun[0].heard()
    assert [word for word, *_ in messages[:3]] == ["hello", "stand", "leave"]


async def test_one_that_cannot_be_started_again_is_tried_again(kept):
    fronts, begun, errors, reasons = kept
    await fronts._start(1)
    errors += [BlockingIOError(errno.EAGAIN, "no process more"), OSError(errno.ENOMEM, "no memory")]
    fronts._restarts = SimpleNamespace(succeeded=lambda: None, take=lambda _now: 0.0)
    [front] = fronts._fronts
    begun[0].end.close()
    async with asyncio.timeout(30):
        await front.over.wait()
        await asyncio.gather(*fronts._tasks)
        [word, *_], *_ = await begun[1].heard()
    assert word == "hello" and not errors and not reasons and fronts.falls == 1


async def test_nobody_is_taken_for_stuck_because_the_owner_was(kept, monkeypatch):
    fronts, begun, _errors, _reasons = kept
    monkeypatch.setattr(owner, "_SILENT", 0.5)
    monkeypatch.setattr(owner, "_LOOK_EVERY", 0.1)
    await fronts._start(1)
    [front] = fronts._fronts
    front.up.set()
    front.heard_at = owner.awake()
    watching = asyncio.create_task(fronts._watch())
    asyncio.get_running_loop().call_soon(time.sleep, 1.0)  # whatever is said meanwhile lies unread
    for _ in range(5):
        await asyncio.sleep(0)
    assert not begun[0].killed.is_set()
    async with asyncio.timeout(30):
        await begun[0].killed.wait()  # and still nothing was said
    watching.cancel()


async def test_waiting_for_a_process_ends_with_the_worker(kept):
    fronts, begun, _errors, _reasons = kept
    await fronts._start(1)
    serving = asyncio.create_task(fronts.serve(SimpleNamespace(), 4))
    await asyncio.sleep(0)
    fronts.leave()
    async with asyncio.timeout(30):
        assert await serving is False
    assert not begun[0].killed.is_set()
    await fronts.close()
    assert begun[0].killed.is_set()  # it had nothing to finish
