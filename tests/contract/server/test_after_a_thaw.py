"""What is asked of the server between a thaw and the first job, and what frozen time does not count for."""

import asyncio

import pytest

import engine as engine_module
from server import supervisor
from server.restarts import Patience
from server.states import State
from tests.contract.children import HANG_UP
from tests.contract.server.trees import PATIENCE, program, requests
from tests.support import free_port

pytestmark = pytest.mark.timeout(60)


@pytest.fixture
def frost(monkeypatch):
    """frost() lets a thaw be noticed."""
    thaws = [0]
    monkeypatch.setattr(engine_module, "thaws", lambda: thaws[0])

    def noticed():
        thaws[0] += 1
    return noticed


def infos(output):
    return [path for path, _ in requests(output)].count("/server_info")


def test_the_server_answers_once_before_the_first_job_whoever_asks(serve, output, frost):
    engine = serve()
    engine.start()
    engine.wait_ready()

    async def ask(count):
        return await asyncio.gather(*(engine.available(30) for _ in range(count)))

    assert asyncio.run(ask(3)) == [1, 1, 1]
    frost()
    assert asyncio.run(ask(5)) == [1] * 5
    assert asyncio.run(ask(2)) == [1, 1]
    frost()
    assert asyncio.run(ask(1)) == [1]
    engine.stop(PATIENCE)  # and with it every line is read
    assert infos(output) == 2


def test_one_that_is_slow_to_answer_is_asked_again(serve, output, frost):
    engine = serve({"/ready": [200], "/server_info": [HANG_UP, HANG_UP, 200]})
    engine.start()
    engine.wait_ready()
    frost()
    assert asyncio.run(engine.available(30)) == 1
    engine.stop(PATIENCE)
    assert infos(output) == 3


def test_one_that_does_not_answer_is_left_to_the_search_for_hangs(serve, output, frost, monkeypatch):
    monkeypatch.setattr(engine_module, "_PROOF", 0.5)
    engine = serve({"/ready": [200], "/server_info": [HANG_UP]})
    engine.start()
    engine.wait_ready()
    frost()
    assert asyncio.run(engine.available(30)) == 1 and engine.state is State.UP


def test_one_that_ends_meanwhile_is_waited_for_as_ever(serve, output, frost):
    engine = serve({"/ready": [200], "/server_info": [HANG_UP]}, engine={"patience": Patience(restarts=1)})
    engine.start()
    engine.wait_ready()
    frost()

    async def ask():
        asked = asyncio.create_task(engine.available(30))
        await asyncio.to_thread(output.wait_for, "request /server_info")
        engine._supervisor.tree.kill()
        return await asked

    assert asyncio.run(ask()) == 2


def test_a_start_has_its_time_without_what_was_frozen(build, output, monkeypatch):
    """The server is late by the clock on the wall, and not by the one that it is judged by."""
    port, frozen, real = free_port(), [0.0], supervisor.awake
    monkeypatch.setattr(supervisor, "awake", lambda: real() - frozen[0])
    command = program("server", port=port, answers={"/ready": [503, 503, 503, 200]})
    engine = build(command, port=port, patience=Patience(startup=3600.0))
    engine.start()
    engine._supervisor.tree.started_at -= 7200.0  # as if the wall's clock had gone on
    frozen[0] = 7200.0
    engine.wait_ready()
    assert engine.state is State.UP
