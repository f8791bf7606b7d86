"""A short cold-start benchmark: every start is made and told, and one that fails is loud. Nothing about times."""

import json

import pytest

from bench import cold_start, cold_start_plan


@pytest.mark.timeout(120)
def test_every_start_is_measured(tmp_path, capsys):
    status = cold_start.main(["--engine", "scripted", "--profiles", "default,fast", "--alone", "default", "--quiet",
                              "--streams", "2", "--tokens", "8", "--load-repeats", "1",
                              "--out", str(tmp_path / "out"), "--logs", str(tmp_path / "logs")])
    text = capsys.readouterr().out
    assert status == 0, text
    starts = json.loads((tmp_path / "out" / "results.json").read_text())["starts"]
    assert [(one["profile"], one["kernels"], one["alone"]) for one in starts] == [
        ("default", "none", False), ("fast", "none", False), ("default", "restored", False),
        ("default", "in place", True), ("default", "in place", False), ("fast", "restored", False)]
    for one in starts:
        assert [(load["design"], load["tokens"], load["failed"]) for load in one["load"]] == (
            [("engine", 16, 0), ("worker", 16, 0)] if one["kernels"] == "none" else [])
        if not one["alone"]:
            names = [phase["name"] for phase in one["phases"]]
            assert names[:2] == ["python", "configuration"] and names[-1] == "first poll"
            assert min(phase["start"] for phase in one["phases"]) == 0.0
            assert max(phase["end"] for phase in one["phases"]) == one["seconds"] > one["worker_s"]
    assert "default: restored is " in text and "fast, kernels none: " in text and "the server alone is ready" in text
    assert "| worker | 30 | " in text[text.index("Profile fast, 2 streams:"):]
    pictures = {path.stem for path in (tmp_path / "out").glob("*.svg")}
    assert pictures == {"default-none", "default-restored", "default-in-place", "fast-none", "fast-restored"}


@pytest.mark.timeout(60)
def test_a_volume_outlives_the_container_and_a_home_does_not(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HOME", "/models")
    container = cold_start_plan.Container(tmp_path)
    first = container.environ(cold_start_plan.Start("fast", cold_start_plan.NONE, "auto"))
    for variable in ("HOME", "COMPILE_CACHE_DIR"):
        (tmp_path / first[variable] / "kernel").write_text("compiled")
    second = container.environ(cold_start_plan.Start("fast", cold_start_plan.RESTORED, "auto"))
    assert second == first and second["HF_HOME"] == "/models"
    assert not list((tmp_path / second["HOME"]).iterdir())
    assert (tmp_path / second["COMPILE_CACHE_DIR"] / "kernel").exists()
    container.environ(cold_start_plan.Start("fast", cold_start_plan.NONE, "auto"))
    assert not list((tmp_path / second["COMPILE_CACHE_DIR"]).iterdir())


@pytest.mark.timeout(60)
def test_a_start_that_fails_is_loud(tmp_path, capsys):
    status = cold_start.main(["--engine", "scripted", "--profiles", "default", "--quiet",
                              "--worker-env", 'SCRIPTED_ENGINE_SCRIPT={"die_at_start": "no memory"}'])
    assert status == 1 and "worker did not ask for jobs" in capsys.readouterr().err


@pytest.mark.timeout(60)
def test_an_answer_that_is_not_complete_is_loud(capsys):
    status = cold_start.main(["--engine", "scripted", "--profiles", "default", "--quiet", "--streams", "1",
                              "--tokens", "8", "--load-repeats", "1",
                              "--worker-env", 'SCRIPTED_ENGINE_SCRIPT={"tps": 60, "error_at": 3}'])
    assert status == 1 and "| **1** |" in capsys.readouterr().out


def test_a_start_that_fails_leaves_those_before_it(tmp_path, monkeypatch):
    made = []

    async def with_worker(_wanted, _load):
        if made:
            raise cold_start.Failed("no memory")
        made.append(1)
        return {"seconds": 2.0, "worker_s": 0.5, "phases": [{"name": "python", "start": 0.0, "end": 2.0,
                                                             "meanwhile": False}], "load": []}
    monkeypatch.setattr(cold_start, "with_worker", with_worker)
    assert cold_start.main(["--engine", "scripted", "--quiet", "--out", str(tmp_path)]) == 1
    starts = json.loads((tmp_path / "results.json").read_text())["starts"]
    assert [(one["profile"], one["seconds"]) for one in starts] == [("default", 2.0)]
    assert (tmp_path / "default-none.svg").exists() and "| worker | default | none |" in (
        tmp_path / "results.md").read_text()


def test_the_server_alone_needs_kernels_in_place(capsys):
    assert cold_start.main(["--profiles", "default", "--alone", "fast"]) == 2
    assert "add fast to --profiles" in capsys.readouterr().err
