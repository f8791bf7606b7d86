"""The owner of the front processes, with plain programs in their place."""

import asyncio
import contextlib
import socket
import subprocess
import sys
from types import SimpleNamespace

import pytest

from clock import awake
from front.http.processes import owner
from front.http.processes.owner import Fronts
from meter.requests import Meter

MUTE = "import time; time.sleep(600)"
SPEAKS = """
import socket, sys
end = socket.socket(fileno=int(sys.argv[1]))
end.send(b'\\0\\0\\0\\6["up"]')
while not b'["end"]' in end.recv(10**6):
    pass
"""
ASKS = """
import socket, sys
end = socket.socket(fileno=int(sys.argv[1]))
question = b'["question",1,"state",null]'
end.send(len(question).to_bytes(4) + question)
came = b""
while b'["reply",1,null]' not in came:
    came += end.recv(10**6)
end.send(b'\\0\\0\\0\\6["up"]')
while b'["end"]' not in came:
    came += end.recv(10**6)
"""


@contextlib.contextmanager
def changes():
    yield asyncio.Event()


async def fails(_about):
    raise KeyError("no")


@pytest.fixture
async def started(monkeypatch):
    """started(program): one front process that runs it, and what its owner says at the end."""
    every, listener = [], socket.socket()

    async def run(program):
        monkeypatch.setattr(owner, "begun", lambda channel, listener: subprocess.Popen(
            [sys.executable, "-c", program, str(channel)], pass_fds=(channel,)))
        http = SimpleNamespace(processes=1, queue_seconds=1.0, held_bytes=1)
        settings = SimpleNamespace(http=http, media=SimpleNamespace(memory_bytes=1))
        engine = SimpleNamespace(state=SimpleNamespace(name="UP"), life=1, endings={}, changes=changes)
        given_up = asyncio.get_running_loop().create_future()
        fronts = Fronts(settings, listener, Meter(), engine, {"state": fails}, given_up.set_result)
        await fronts.start()
        every.append(fronts)
        return fronts, given_up

    yield run
    for fronts in every:
        await fronts.close()
    listener.close()


async def test_one_that_says_nothing_is_killed_and_too_many_ends_end_the_worker(started, monkeypatch, capsys):
    monkeypatch.setattr(owner, "_LOADING", 0.0)
    monkeypatch.setattr(owner, "_LOOK_EVERY", 0.01)
    monkeypatch.setattr(owner, "_FALLS", 1)
    fronts, given_up = await started(MUTE)
    async with asyncio.timeout(60):
        assert "Front processes ended 2 times within 60 s" in await given_up
    assert fronts.falls == 2
    said = capsys.readouterr().out
    assert "gave no sign of life" in said and "killed by signal 9" in said


async def test_one_that_falls_silent_later_is_killed_as_well(started, monkeypatch, capsys):
    monkeypatch.setattr(owner, "_SILENT", 0.0)
    monkeypatch.setattr(owner, "_LOOK_EVERY", 0.01)
    monkeypatch.setattr(owner, "_FALLS", 0)
    _, given_up = await started(SPEAKS)
    async with asyncio.timeout(60):
        assert "Front processes ended 1 times" in await given_up
    assert "gave no sign of life for 0 s" in capsys.readouterr().out


async def test_one_that_has_just_been_started_holds_up_no_end(started):
    fronts, _ = await started(MUTE)
    fronts.leave()
    async with asyncio.timeout(30):
        await fronts.drain(awake() + 3600)


async def test_a_question_that_cannot_be_answered_is_not_left_open(started, capsys):
    fronts, _ = await started(ASKS)
    worker = SimpleNamespace(learned=(), quarantine=SimpleNamespace(ends=[]))
    async with asyncio.timeout(60):
        assert await fronts.serve(worker, 1)  # it was told that there is no answer, and says that it is up
    assert "internal error" in capsys.readouterr().out and fronts.falls == 0


async def test_the_worker_s_own_end_is_no_fall_of_theirs(started, capsys):
    fronts, given_up = await started(SPEAKS)
    worker = SimpleNamespace(learned=(), quarantine=SimpleNamespace(ends=[]))
    async with asyncio.timeout(60):
        assert await fronts.serve(worker, 7)
    assert fronts.ledger.limit == 7 and len(fronts.ledger.held) == 1
    await fronts.close()
    assert fronts.falls == 0 and not given_up.done() and "ended" not in capsys.readouterr().out
