"""A server that is a part of one on several machines: started and ended by order, with real processes."""

import queue

import pytest

from engine import EngineError, Orders, Patience
from server.states import FINAL, State
from tests.contract.children import DIE
from tests.contract.server.test_supervisor import reaches
from tests.contract.server.trees import PATIENCE, members

pytestmark = pytest.mark.timeout(90)


@pytest.fixture
def orders():
    """Orders that remember what they heard."""
    made = Orders()
    made.told = queue.Queue()
    made.heard = lambda *what: made.told.put(what)
    return made


def hears(orders, *what):
    told = orders.told.get(timeout=PATIENCE)
    assert told[:2] == what
    return told[2]


def test_nothing_is_started_before_it_is_allowed_and_what_becomes_of_it_is_told(serve, mark, orders):
    engine = serve({"/ready": [200]}, engine={"orders": orders})
    engine.start()
    assert reaches(engine, State.WAITING) and engine.life == 0 and members(mark) == []
    orders.allow(1)
    assert hears(orders, "begun", 1) == "" and hears(orders, "up", 1) == ""
    assert engine.wait_ready() > 0 and engine.up
    assert engine.stop(PATIENCE) == 0 and members(mark) == []


def test_one_that_has_to_go_goes_and_the_next_is_started_when_it_is_allowed(serve, mark, orders):
    took = []
    engine = serve({"/ready": [200]}, engine={"orders": orders})
    engine.on_restarted(took.append)
    engine.start()
    orders.allow(1)
    engine.wait_ready()
    first = members(mark)
    assert orders.doom(1, "another node is lost")
    hears(orders, "begun", 1), hears(orders, "up", 1)
    assert hears(orders, "gone", 1) == ""  # whoever ordered it needs no reason
    assert reaches(engine, State.WAITING) and members(mark) == [] and not engine.up
    assert engine.trouble == "The SGLang server was ended with those of the other nodes: another node is lost"
    orders.allow(2)
    hears(orders, "begun", 2), hears(orders, "up", 2)
    assert engine.life == 2 and not set(first) & set(members(mark)) and len(took) == 1


def test_its_own_end_is_told_with_the_whole_report_and_it_is_not_started_again_by_itself(serve, orders):
    engine = serve({"/ready": [200, DIE]}, engine={"orders": orders, "patience": Patience(restarts=3)})
    engine.start()
    orders.allow(1)
    engine.wait_ready()
    engine.get("/ready")
    hears(orders, "begun", 1), hears(orders, "up", 1)
    assert hears(orders, "gone", 1).startswith("The SGLang server ended (")
    assert reaches(engine, State.WAITING) and engine.life == 1


def test_a_start_that_was_called_off_is_not_made(serve, orders):
    engine = serve({"/ready": [200]}, engine={"orders": orders})
    orders.allow(1)
    assert not orders.doom(1, "too late")
    engine.start()
    orders.allow(2)
    assert hears(orders, "begun", 2) == "" and hears(orders, "up", 2) == ""


@pytest.mark.parametrize("up", [False, True])
def test_there_is_no_further_start_and_everybody_hears_why(serve, orders, up):
    engine = serve({"/ready": [200]}, engine={"orders": orders})
    engine.start()
    reasons = queue.Queue()
    engine.watch(last_sign=lambda: 0.0, on_give_up=reasons.put)
    if up:
        orders.allow(1)
        engine.wait_ready()
        orders.doom(1, "the end")
    orders.finish("node 1 was not there")
    orders.finish("a later word")
    assert reaches(engine, *FINAL) and engine.state is State.GIVEN_UP
    if up:
        assert engine.trouble == "node 1 was not there"
    else:
        with pytest.raises(EngineError, match="node 1 was not there"):
            engine.wait_ready()
    assert engine.stop(PATIENCE) is not None or not up
    assert not up or reasons.get(timeout=PATIENCE) == "node 1 was not there"


def test_one_that_waits_for_an_order_can_be_stopped(serve, orders):
    engine = serve({"/ready": [200]}, engine={"orders": orders})
    engine.start()
    assert engine.stop(PATIENCE) is None and engine.state is State.STOPPED
    with pytest.raises(EngineError, match="stopping"):
        engine.wait_ready()
