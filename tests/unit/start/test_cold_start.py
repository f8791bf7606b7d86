"""ColdStart alone: what it hears of each of the server's starts, and when it doubts the kernels that were put back."""

import json
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest

import utils
from clock import awake
from server.states import State
from settings import config
from start import cold_start, kv_files, outlook, start_report
from start.bytecode import Bytecode
from start.cold_start import ColdStart

SNAPSHOT = json.loads((Path(__file__).parents[3] / "builder" / "flags.json").read_text(encoding="utf-8"))
LINES = [("server_args=x", 2.0), ("Load weight begin", 3.0), ("Load weight end", 5.0),
         ("Application startup complete", 6.0)]
READY = "The server is fired up and ready to roll!"


@pytest.fixture
def said(monkeypatch):
    lines = []
    monkeypatch.setattr(cold_start.utils, "log", lambda line, level="info": lines.append((level, line)))
    return lines


@pytest.fixture
def cold():
    environ = {"MODEL_NAME": "org/tiny", "DEVICE": "cpu", "COMPILE_CACHE": "off", "WARMUP": "off"}
    return ColdStart(config.load(environ, SNAPSHOT, 0, "python3"), SNAPSHOT, awake())


@pytest.mark.parametrize(("cores", "environ", "children"), [
    (16, {}, "0,0"), (16, {"TENSOR_PARALLEL_SIZE": "4", "DATA_PARALLEL_SIZE": "2"}, "8,0"),
    (6, {"TENSOR_PARALLEL_SIZE": "4", "DATA_PARALLEL_SIZE": "2"}, "4"), (1, {"HEAD_START": "on"}, "0,0"),
    (16, {"DATA_PARALLEL_SIZE": "2", "TOKENIZER_WORKER_NUM": "2"}, "2,0,0,0"),
    (3, {}, None), (16, {"HEAD_START": "off"}, None), (16, {"SGLANG_LAUNCH_COMMAND": "/opt/engine --fast"}, None)])
def test_what_the_server_will_spawn_has_a_head_start(monkeypatch, cores, environ, children):
    monkeypatch.setattr(cold_start.os, "sched_getaffinity", lambda _: set(range(cores)))
    environ = {"MODEL_NAME": "org/tiny", "DEVICE": "cpu", **environ}
    settings = config.load(environ, SNAPSHOT, 8, "python3")
    command = ColdStart(settings, SNAPSHOT, awake()).command()
    given = [] if children is None else [cold_start._HEADSTART, children, "sglang.launch_server"]
    plain = [*settings.launch_command, *settings.server_args]
    assert command == ([plain[0], *given, *settings.server_args] if given else plain)


def heard(cold, speed=1.0):
    """One whole start of a server, and what its lines were said to mean."""
    listen = cold.listen()
    return [listen(line, at / speed) for line, at in [*LINES, (READY, 8.0), (READY, 9.0)]]


def test_the_line_that_says_ready_is_told_once_a_start(cold):
    assert heard(cold) == [False] * 4 + [True, False]
    assert heard(cold) == [False] * 4 + [True, False]


def test_a_restart_is_told_by_its_own_phases(cold, said):
    heard(cold)
    cold.ready(8.5)
    assert said[-1][0] == "info" and said[-1][1].startswith("engine ready after 8.5 s: ")
    assert "weights 2.0, server 1.0, server warm-up 2.0, readiness 0.5" in said[-1][1]
    heard(cold, speed=2.0)
    cold.restarted(4.25)
    assert said[-1] == ("warn", "restarted: engine ready after 4.2 s: server imports 1.0, weights 1.0, server 0.5, "
                                "server warm-up 1.0, readiness 0.2")


def test_the_report_counts_from_the_engines_start(cold, said):
    zero = awake() - 100
    cold.phase("configuration", zero - 1)
    heard(cold)
    cold.launched(SimpleNamespace(started_at=zero))
    cold.first_poll()
    cold.first_poll()  # only the first counts
    [report] = [line for _, line in said if line.startswith(start_report.PREFIX)]
    told = json.loads(report.removeprefix(start_report.PREFIX))
    assert (told["worker"], told["sglang"]) == (utils.VERSION, cold.settings.telemetry.sglang)
    spans = {span.name: span for span in start_report.read([report])}
    first = min(span.start for span in cold._spans)
    assert spans["weights"].start == pytest.approx(zero + 3 - first, abs=0.01)
    assert spans["weights"].end - spans["weights"].start == pytest.approx(2, abs=0.01)


def test_the_start_can_be_followed_from_the_first_line_to_the_first_poll(cold, said):
    engine = SimpleNamespace(started_at=awake() - 100, state=State.STARTING, up=False, life=1)
    listen = cold.listen()
    cold.launched(engine)

    def phases():
        return {phase["name"]: phase for phase in cold.progress()["phases"]}

    assert "end_s" in phases()["configuration"] and "end_s" not in phases()["server imports"]
    listen("server_args=x", 2.0)
    listen("Load weight begin", 3.0)
    assert "end_s" in phases()["server imports"] and "end_s" not in phases()["weights"]
    total = cold.progress()["total_s"]
    assert total >= 100
    listen("Load weight end", 5.0)
    engine.state, engine.up = State.UP, True
    assert "end_s" not in phases()["warm-up"] and "kv cache" not in phases()  # it is up, whatever it said
    cold.first_poll()
    told = cold.progress()
    assert told["phases"][-1]["name"] == "first poll" and all("end_s" in phase for phase in told["phases"])
    assert told == cold.progress()  # over
    engine.state, engine.up, engine.life, engine.started_at = State.RESTARTING, False, 2, awake() - 10
    cold.listen()
    assert list(phases()) == ["server imports"] and 10 <= cold.progress()["total_s"] < total


def test_what_fits_is_in_the_report(cold, said, monkeypatch):
    facts = {"cache_tokens": 8435, "requests_of_context": 0}
    monkeypatch.setattr(cold_start.gpus, "devices", lambda: [])
    monkeypatch.setattr(outlook, "look", lambda *asked: outlook.Outlook(["too long"], facts))
    heard(cold)
    cold.launched(SimpleNamespace(started_at=awake() - 100))
    cold._look_whether_it_fits()
    assert ("warn", "too long") in said
    cold.first_poll()
    [report] = [line for _, line in said if line.startswith(start_report.PREFIX)]
    assert json.loads(report.removeprefix(start_report.PREFIX))["fit"] == facts


def test_a_fault_of_the_estimate_is_a_line_for_debugging(cold, said, monkeypatch):
    def broken(*asked):
        raise KeyError("num_heads")
    monkeypatch.setattr(outlook, "look", broken)
    cold._look_whether_it_fits()
    assert said == [("debug", "whether the model fits is not known: KeyError: 'num_heads'")]


def test_nothing_runs_of_a_start_that_is_given_up(cold):
    engine = SimpleNamespace(started_at=awake() - 100, state=State.GIVEN_UP, up=False, life=1)
    cold.listen()("Load weight begin", 3.0)
    cold.launched(engine)
    assert all("end_s" in phase for phase in cold.progress()["phases"])


class Cache:
    doubted = 0

    def begin(self):
        pass

    def doubt(self):
        self.doubted += 1


@pytest.mark.parametrize(("tail", "doubted"), [
    ([], 1), (["Segmentation fault"], 1), (["401 Client Error"], 0), (["address already in use"], 0)])
def test_kernels_are_doubted_where_nothing_else_explains_the_failure(cold, tail, doubted):
    cold._cache = Cache()
    cold.failed()  # never launched: nothing was used
    assert cold._cache.doubted == 0
    cold.launched(SimpleNamespace(tail=lambda: tail))
    cold.failed()
    assert cold._cache.doubted == doubted


def test_kernels_that_a_server_was_ready_with_are_not_doubted(cold, said):
    cold._cache = SimpleNamespace(span=None, begin=lambda: None, doubt=lambda: said.append("doubted"))
    cold.launched(SimpleNamespace(tail=lambda: []))
    cold.ready(1.0)
    cold.failed()
    assert "doubted" not in said


# ------------------------------------------------------------------ bytecode
@pytest.mark.parametrize(("compiled", "told"), [(0, True), (100, False), (None, False)])
def test_a_start_without_bytecode_says_so_in_a_line_and_in_the_report(cold, said, monkeypatch, compiled, told):
    found = None if compiled is None else Bytecode(100, compiled)
    monkeypatch.setattr(cold_start.bytecode, "look", lambda command, environ: found)
    cold.environ({"PATH": "/bin"})
    cold._look_for_bytecode()
    assert [level for level, line in said if "no bytecode" in line] == ["warn"] * told
    cold._engine = SimpleNamespace(started_at=awake())
    cold.first_poll()
    report = json.loads(said[-1][1].removeprefix(start_report.PREFIX))
    assert report.get("bytecode") == ({"modules": 100, "compiled": 0} if told else None)


def test_it_is_looked_for_with_the_servers_own_variables(cold, monkeypatch):
    asked = threading.Event()
    seen = []
    monkeypatch.setattr(cold_start.bytecode, "look", lambda *arguments: seen.append(arguments) or asked.set())
    cold.environ({"PYTHONPATH": "/x"})
    cold.launched(SimpleNamespace(started_at=0.0))
    assert asked.wait(60) and seen[0][0] == cold.settings.launch_command and seen[0][1]["PYTHONPATH"] == "/x"


def test_what_is_read_ahead_stands_in_the_report(cold, said):
    began = awake()
    cold._weights = SimpleNamespace(span=(began, began + 2), facts={"bytes": 7}, ready=lambda: said.append("ended"))
    cold._engine = SimpleNamespace(started_at=began)
    cold.ready(3.0)
    assert "ended" in said and "read ahead (meanwhile) 2.0" in said[-1][1]
    cold.first_poll()
    report = json.loads(said[-1][1].removeprefix(start_report.PREFIX))
    assert report["weights"] == {"bytes": 7} and "read ahead" in [phase["name"] for phase in report["phases"]]


@pytest.mark.parametrize("chosen", ["auto", "off"])
def test_only_the_first_start_is_read_for_and_only_if_wanted(chosen, monkeypatch):
    environ = {"MODEL_NAME": "org/tiny", "DEVICE": "cpu", "COMPILE_CACHE": "off", "READ_AHEAD": chosen}
    cold = ColdStart(config.load(environ, SNAPSHOT, 0, "python3"), SNAPSHOT, awake())
    cold.environ({})
    ahead = cold._weights._ahead
    if chosen == "off":
        assert ahead is None
        return
    heard_of = []
    monkeypatch.setattr(ahead, "hear", heard_of.append)
    first = cold.listen()
    cold.launched(SimpleNamespace(started_at=0.0))
    first("server_args=x", 1.0)
    cold.listen()("server_args=x", 1.0)
    assert len(heard_of) == 1
    monkeypatch.setattr(ahead, "kill", lambda: heard_of.append("killed"))
    cold.close()
    assert heard_of[-1] == "killed"


@pytest.mark.parametrize(("beside", "kept"), [
    ({}, False), ({"HICACHE_STORAGE_BACKEND": "file", "ENABLE_HIERARCHICAL_CACHE": "true"}, True)])
def test_the_server_hears_where_its_files_of_kv_cache_are(beside, kept, said, tmp_path):
    environ = {"MODEL_NAME": "org/tiny", "DEVICE": "cpu", "COMPILE_CACHE": "off", "READ_AHEAD": "off", **beside}
    told = ColdStart(config.load(environ, SNAPSHOT, 0, "python3"), SNAPSHOT, awake()).environ(
        {kv_files.PLACE: str(tmp_path)} if kept else {})
    assert (kv_files.BOUND in told) is kept
    assert not kept or told[kv_files.PLACE].startswith(f"{tmp_path}/")
