"""What the page is told, from objects in place of the engine and the worker."""

import asyncio
import contextlib
from types import SimpleNamespace

import pytest

import utils
from front.http.page.view import View, word
from server.states import State


@pytest.mark.parametrize(("engine", "life", "served", "leaving", "expected"), [
    ("NEW", 0, False, False, "starting"), ("STARTING", 1, False, False, "starting"),
    ("UP", 1, False, False, "starting"), ("DYING", 1, False, False, "starting"), ("UP", 1, True, False, "ready"),
    ("DYING", 1, True, False, "restarting"), ("WAITING", 1, True, False, "restarting"),
    ("RESTARTING", 2, True, False, "restarting"), ("RESTARTING", 2, False, False, "restarting"),
    ("UP", 2, True, False, "ready"), ("UP", 1, True, True, "stopping"), ("STARTING", 1, False, True, "stopping"),
    ("STOPPING", 1, True, False, "stopping"), ("STOPPED", 1, True, True, "stopping"),
    ("GIVEN_UP", 1, False, False, "ended"), ("GIVEN_UP", 3, True, True, "ended")])
def test_the_state_in_a_word(engine, life, served, leaving, expected):
    assert State[engine] and word(engine, life, served, leaving) == expected


def test_every_state_of_the_engine_has_a_word():
    assert {word(state.name, 1, True, False) for state in State} == {"restarting", "ready", "stopping", "ended"}


@pytest.fixture
async def view():
    engine = SimpleNamespace(state=State.STARTING, life=1, trouble="", get=lambda path, timeout: (None, b""))
    view = View("tiny", engine, lambda: {"total_s": 1.0, "phases": []}, lambda: {"in_flight": 2, "waiting": 0},
                lambda: 4, lambda: False)
    view.engine = engine
    return view


WORKER = SimpleNamespace(context=SimpleNamespace(served_model_name="tiny-2", reasoning=True),
                         facts=SimpleNamespace(generates=True, images=False, context=2048))


async def test_what_is_known_while_the_engine_loads(view):
    assert view.told() == {
        "tag": "starting-1", "version": utils.VERSION, "state": "starting", "why": "", "model": "tiny", "lives": 1,
        "start": {"total_s": 1.0, "phases": []}, "figures": {"in_flight": 2, "waiting": 0, "limit": None},
        "engine": None, "takes": None}


async def test_what_is_known_of_a_worker_that_serves(view):
    view.engine.state, view.worker = State.UP, WORKER
    told = view.told()
    assert (told["state"], told["model"], told["tag"]) == ("ready", "tiny-2", "ready-1")
    assert told["takes"] == {"chat": True, "images": False, "reasoning": True, "tokens": 2048}
    assert told["figures"] == {"in_flight": 2, "waiting": 0, "limit": 4}


async def test_whoever_waits_is_woken_by_the_engine_and_by_the_front(view):
    event = asyncio.Event()
    view.engine.changes = lambda: contextlib.nullcontext(event)
    with view.changes() as changed:
        view.changed()
        assert changed is event and changed.is_set()
        changed.clear()
    view.changed()
    assert not event.is_set()


async def test_why_an_engine_ended_is_told_while_it_is_away_and_holds_no_secret(view):
    utils.hide(["hunter2-hunter2"])
    view.engine.trouble, view.worker = "The SGLang server ended: hunter2-hunter2.", WORKER
    for state, why in ((State.DYING, True), (State.RESTARTING, True), (State.GIVEN_UP, True), (State.UP, False)):
        view.engine.state = state
        assert view.told()["why"] == ("The SGLang server ended: ***." if why else "")
