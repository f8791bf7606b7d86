"""A short serving benchmark: every design answers completely, and everything is written. Nothing about times."""

import json

import pytest

from bench import serving


@pytest.mark.timeout(120)
def test_every_design_side_by_side(tmp_path, capsys):
    status = serving.main(["--engine", "scripted", "--engine-rate", "60", "--streams", "1,2", "--tokens", "12",
                           "--post-ms", "0", "--repeats", "1", "--quiet", "--out", str(tmp_path)])
    text = capsys.readouterr().out
    assert status == 0, text
    result = json.loads((tmp_path / "results.json").read_text())
    assert {(run["design"], run["streams"]) for run in result["runs"]} == {
        (design, streams) for design in ("engine", "worker", "http", "every-event", "raw-chunks") for streams in (1, 2)}
    for run in result["runs"]:
        assert (run["failed"], run["requests"], run["tokens"]) == (0, run["streams"], 12 * run["streams"])
        assert run["throughput_ratio"] > 0
        if run["design"] != "engine":
            assert run["posts_stream"] >= 1 and run["rss_peak_mib"] > 0
    every = next(run for run in result["runs"] if run["design"] == "every-event")
    assert every["posts_stream"] == 12 + 4  # role, finish, usage, [DONE]
    assert all(line in (tmp_path / "results.md").read_text() for line in ("| worker | 0 |", "| http | - |"))
    pytest.importorskip("matplotlib")
    assert (tmp_path / "streams.svg").read_text().rstrip().endswith("</svg>")


@pytest.mark.timeout(120)
def test_an_answer_that_is_not_complete_is_loud(tmp_path, capsys):
    broken = json.dumps({"tps": 60, "error_at": 3})
    status = serving.main(["--engine", "scripted", "--designs", "engine,worker", "--streams", "1", "--tokens", "12",
                           "--post-ms", "0", "--repeats", "1", "--quiet",
                           "--worker-env", f"SCRIPTED_ENGINE_SCRIPT={broken}"])
    text = capsys.readouterr().out
    assert status == 1 and "ANSWERS WERE NOT COMPLETE" in text, text
