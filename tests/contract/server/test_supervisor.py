"""One engine through deaths, hangs and restarts, with real processes."""

import asyncio
import os
import signal
import subprocess
import threading
from pathlib import Path

import pytest

from engine import Engine, EngineError, Patience
from server import killing, parts, supervisor
from server.states import FINAL, State
from tests.contract.children import DIE
from tests.contract.server.trees import FAMILY, PATIENCE, RUNAWAYS, await_gone, ended, members, program, script, settle
from tests.support import free_port
from utils import JobError

pytestmark = pytest.mark.timeout(90)


def reaches(engine: Engine, *states: State, life: int = 0) -> bool:
    """Wait until the engine is in one of `states`, in its `life` or a later one."""
    owner = engine._supervisor
    with owner._changed:
        return owner._changed.wait_for(lambda: owner.state in states and owner.life >= life, PATIENCE)


def up(engine: Engine) -> Engine:
    engine.start()
    engine.wait_ready()
    return engine


def watched(engine: Engine) -> list[str]:
    reasons: list[str] = []
    engine.watch(last_sign=lambda: 0.0, on_give_up=reasons.append)
    return reasons


def test_a_dead_server_is_restarted_in_place(serve, mark):
    took = []
    engine = up(serve({"/ready": [200, DIE]}, engine={"patience": Patience(restarts=1)}, family=FAMILY + RUNAWAYS))
    engine.on_restarted(took.append)
    reasons = watched(engine)
    first = members(mark)
    assert engine.life == 1
    engine.get("/ready")
    assert reaches(engine, State.UP, life=2)
    assert not set(first) & set(members(mark)) and engine.life == 2 and engine.returncode is None
    assert len(took) == 1 and took[0] > 0 and not reasons
    assert engine.stop(PATIENCE) == 0 and members(mark) == []


def test_one_that_dies_again_and_again_is_given_up_with_the_reason(serve, mark):
    engine = up(serve({"/ready": [200, DIE]}, engine={"patience": Patience(restarts=2)}))
    reasons = watched(engine)
    for life in (1, 2, 3):
        assert reaches(engine, State.UP, life=life)
        engine.get("/ready")
    assert ended(engine) and engine.state is State.GIVEN_UP and engine.life == 3
    settle()
    [reason] = reasons
    assert "after 2 restarts" in reason and "SGLANG_MAX_RESTARTS" in reason and members(mark) == []


def test_a_restart_that_fails_counts_and_its_last_words_are_logged(build, tmp_path, capsys):
    flag, port = tmp_path / "second", free_port()
    serve_once = program("server", port=port, answers={"/ready": [200, DIE]})
    engine = build(["/bin/sh", "-c", f"[ -e {flag} ] && echo what happened && exit 9; touch {flag}; "
                    'exec "$@"', "sh", *serve_once], port=port, patience=Patience(restarts=1))
    up(engine)
    reasons = watched(engine)
    engine.get("/ready")
    assert ended(engine)
    settle()
    assert len(reasons) == 1 and engine.life == 2 and engine.tail() == ["what happened"]
    told = capsys.readouterr().out
    assert "The SGLang server ended (exit status 3)" in told
    assert "The SGLang server ended before it was ready (exit status 9)" in told and "what happened" in told


def test_one_that_gives_no_sign_of_life_is_killed_and_restarted(serve, output, mark):
    engine = up(serve(engine={"patience": Patience(restarts=1, hang=0.4)}, info="{}"))
    reasons = watched(engine)
    server, _ = output.family()
    os.kill(server, signal.SIGSTOP)
    assert reaches(engine, State.UP, life=2)
    assert engine._supervisor.ending_of(1) == "killed by SIGKILL" and not reasons


def test_what_jobs_hear_keeps_a_silent_one_alive(serve, output):
    engine = up(serve(engine={"patience": Patience(restarts=1, hang=0.4)}, info="{}"))
    asked, enough = [], threading.Event()

    def last_sign():
        asked.append(1)
        if len(asked) == 3:
            enough.set()
        return float("inf")

    engine.watch(last_sign=last_sign, on_give_up=lambda reason: None)
    server, _ = output.family()
    os.kill(server, signal.SIGSTOP)
    assert enough.wait(PATIENCE)
    assert engine.state is State.UP and engine.life == 1
    os.kill(server, signal.SIGCONT)


def part(mark: str) -> int:
    [pid] = [pid for pid in members(mark) if Path(f"/proc/{pid}/cmdline").read_bytes().startswith(b"sglang::")]
    return pid


def test_one_that_goes_on_without_one_of_its_schedulers_is_killed_and_restarted(serve, mark, capsys, monkeypatch):
    looked, watch = threading.Event(), parts.watch
    monkeypatch.setattr(parts, "_OWN_END", 0.1)
    monkeypatch.setattr(parts, "watch", lambda *about: (watch(*about), looked.set()))
    engine = up(serve(engine={"patience": Patience(restarts=1)}, family=[*FAMILY, "part"]))
    watched(engine)
    first = part(mark)
    assert looked.wait(PATIENCE)
    assert parts.Parts(engine._supervisor.tree.pid).names == [f"scheduler_DP1 (process {first})"]
    os.kill(first, signal.SIGKILL)
    assert reaches(engine, State.UP, life=2)
    told = f"scheduler_DP1 (process {first})"
    assert f"The SGLang server lost its {told} and was killed" in capsys.readouterr().out
    assert engine.endings[1].startswith("killed by")
    assert part(mark) != first


@pytest.mark.parametrize(("words", "watches"), [
    ((), True), (("--elastic-ep-backend", "none"), True), (("--elastic-ep-backend=none",), True),
    (("--elastic-ep-backend", "nixl", "--elastic-ep-backend", "none"), True),
    (("--elastic-ep-backend", "mooncake"), False), (("--elastic-ep-backend=nixl",), False),
])
def test_one_that_was_told_to_go_on_without_a_scheduler_may(build, monkeypatch, words, watches):
    asked, port = [], free_port()
    monkeypatch.setattr(parts, "watch", lambda tree, condemn: asked.append(tree))
    engine = up(build([*program("server", port=port, answers={"/ready": [200]}), *words], port=port))
    assert engine.stop(PATIENCE) == 0  # once it has done what it does while one is up
    assert bool(asked) is watches


def test_a_fork_of_a_scheduler_is_none_though_it_has_its_name():
    """A server's child that calls itself a scheduler, as without data parallelism, with a helper that may end."""
    shell = "(exec -a sglang::scheduler_TP0 bash -c '(echo there; read line); :'); :"
    with subprocess.Popen(["bash", "-c", shell], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as server:
        assert server.stdout.readline() == b"there\n"
        assert parts.Parts(os.getpid()).names == []
        server.communicate()
    assert server.returncode == 0


def test_one_that_ends_by_itself_without_a_scheduler_keeps_its_own_last_words(serve, mark, capsys, monkeypatch):
    monkeypatch.setattr(parts, "_OWN_END", PATIENCE)
    engine = up(serve({"/ready": [200, DIE]}, engine={"patience": Patience(restarts=1)}, family=["part"]))
    watched(engine)
    os.kill(part(mark), signal.SIGKILL)
    engine.get("/ready")
    assert reaches(engine, State.UP, life=2)
    said = capsys.readouterr().out
    assert "The SGLang server ended" in said and "lost its" not in said


@pytest.mark.parametrize("cause", ["hung", "broken"])
def test_one_whose_processes_do_not_die_ends_the_worker(serve, output, mark, monkeypatch, cause):
    """A process that hangs in a driver cannot be killed. Here its guard is stopped, so that the order to kill is not
    obeyed; or the guard is gone and what is left seems to stay."""
    monkeypatch.setattr(killing, "_DEATH", 0.5)
    if cause == "broken":
        monkeypatch.setattr("server.tree.survivors", lambda session, mark: [2**22 + 1])  # no such process: never dies
    engine = up(serve(engine={"patience": Patience(restarts=9, hang=0.4)}, info="{}"))
    reasons = watched(engine)
    server, its_guard = output.family()
    if cause == "hung":
        os.kill(its_guard, signal.SIGSTOP)
        os.kill(server, signal.SIGSTOP)
    else:
        os.kill(its_guard, signal.SIGKILL)
    assert ended(engine) and engine.state is State.GIVEN_UP and engine.life == 1
    settle_owner()
    [reason] = reasons
    assert "did not end" in reason
    monkeypatch.undo()
    await_gone(mark)  # the last resort, SIGKILL for the guard itself, has reached what can be reached


def test_an_order_to_kill_that_the_guard_did_not_hear_is_given_again(build, mark):
    """A shell ignores SIGQUIT for what it starts in the background, and a guard inherits that until it has begun."""
    before = signal.signal(signal.SIGQUIT, signal.SIG_IGN)
    try:
        for _ in range(3):
            engine = build(program("server", family=FAMILY))
            engine.start()
            assert engine.stop(0) == -signal.SIGKILL
            assert members(mark) == []
    finally:
        signal.signal(signal.SIGQUIT, before)


def settle_owner() -> None:
    for thread in threading.enumerate():
        if thread.name == "engine-owner":
            thread.join(PATIENCE)
            assert not thread.is_alive()


def test_a_stop_while_it_waits_for_the_next_start_is_heard_at_once(serve, mark):
    engine = up(serve({"/ready": [200, DIE]}, engine={"patience": Patience(restarts=9)}))
    reasons = watched(engine)
    engine.get("/ready")
    assert reaches(engine, State.WAITING)
    assert engine.stop(PATIENCE) == 3 and engine.state is State.STOPPED and engine.life == 1
    settle()
    assert not reasons and members(mark) == []


def test_a_stop_while_it_restarts_leaves_nothing(serve, mark):
    engine = up(serve({"/ready": [200, DIE]}, engine={"patience": Patience(restarts=9)}, family=FAMILY))
    engine.get("/ready")
    assert reaches(engine, State.RESTARTING, State.UP, life=2)
    # SIGQUIT where the guard itself had only begun.
    assert engine.stop(0) in (-signal.SIGKILL, -signal.SIGQUIT)
    assert members(mark) == [] and engine.state is State.STOPPED


async def test_a_job_gets_the_life_that_takes_it(serve):
    engine = serve({"/ready": [200, DIE]}, engine={"patience": Patience(restarts=1)})
    await asyncio.to_thread(up, engine)
    assert await engine.available(0) == 1
    await asyncio.to_thread(engine.get, "/ready")
    await asyncio.to_thread(reaches, engine, State.DYING, State.WAITING, State.RESTARTING)
    assert await engine.available(PATIENCE) == 2
    assert await engine.fate(1) == "The engine ended while this job was running: exit status 3."
    assert await engine.fate(2) is None


async def test_a_job_waits_as_long_as_it_may_for_an_engine_that_is_away(serve):
    engine = serve({"/ready": [200, DIE, 503]}, engine={"patience": Patience(restarts=1)})
    with pytest.raises(JobError) as raised:
        await engine.available(0.05)
    assert raised.value.code == 503 and "ENGINE_WAIT_TIMEOUT" in raised.value.message


async def test_nobody_waits_for_an_engine_that_will_not_come_back(serve):
    engine = serve({"/ready": [200, DIE]})
    await asyncio.to_thread(up, engine)
    await asyncio.to_thread(engine.get, "/ready")
    assert await asyncio.to_thread(reaches, engine, State.DYING, State.WAITING, State.GIVEN_UP)
    waiters = [asyncio.create_task(engine.available(3600)) for _ in range(3)]
    assert await asyncio.to_thread(ended, engine)
    for waiter in waiters:
        with pytest.raises(JobError) as raised:
            await waiter
        assert raised.value.code == 503
    with pytest.raises(JobError):
        await engine.available(3600)


def test_the_owner_survives_a_listener_whose_loop_is_closed(serve):
    engine = serve({"/ready": [200, DIE]}, engine={"patience": Patience(restarts=1)})
    loop = asyncio.new_event_loop()
    waiter = loop.create_task(engine.available(3600))
    loop.run_until_complete(asyncio.sleep(0))  # it waits
    up(engine)
    loop.run_until_complete(waiter)
    loop.close()
    engine.get("/ready")
    assert reaches(engine, State.UP, life=2)


def test_a_port_that_was_taken_meanwhile_is_tried_again(serve, monkeypatch):
    engine = up(serve({"/ready": [200, DIE]}, engine={"patience": Patience(restarts=3)}))
    watched(engine)
    answers = iter([False, True])
    monkeypatch.setattr(supervisor, "port_is_free", lambda port: next(answers))
    engine.get("/ready")
    assert reaches(engine, State.UP, life=2)


def test_an_engine_that_was_never_up_is_reported_and_not_restarted(build):
    engine = build(script("raise SystemExit(4)"), patience=Patience(restarts=9))
    engine.start()
    with pytest.raises(EngineError, match="exit status 4"):
        engine.wait_ready()
    assert engine.state in FINAL and engine.life == 1
