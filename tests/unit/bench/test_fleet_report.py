"""Plans, figures, tables and plots of the simulated fleet."""

import json
import math

import pytest

from bench.fleet import __main__ as command
from bench.fleet import check_worker, plan, plots, report
from bench.fleet.curves import Curve
from bench.fleet.figures import interval, together
from bench.fleet.plan import Grid
from bench.fleet.scalers import Scaler
from bench.serving_report import rounded


def row(cost, p99, *, scaler="count 1", half=0.0, idle=5.0, **more):
    base = {"pattern": "steady", "concurrency": 8, "scaler": scaler, "idle": idle, "active": 0}
    return {**base, **more, "mean": {"dollars_million": cost, "first_p99": p99}, "half": {"first_p99": half}}


def test_a_grid_is_every_combination():
    options = command.parser().parse_args(["--max-workers", "2", "--flashboot", "60", "--start-seconds", "9"])
    grid = Grid([8, 32], [("count", 1), ("share", 0.5)], [5.0, 60.0], [0, 3])
    found = grid.endpoints(command.endpoint(options))
    assert len(found) == len(set(found)) == 16
    assert {(name, one.scaler) for name, one in found if one.concurrency == 32} == {
        ("count 1", Scaler("count", 1)), ("count 0.5c", Scaler("count", 16))}
    assert {(one.kept, one.cold.seconds, one.most) for _, one in found if one.active} == {(60, 9, 3)}
    assert plan.scaler_name(("share", 1.0)) == "count c" and plan.scaler_name(("delay", 4)) == "delay 4 s"


def test_the_cheapest_within_a_bound_counts_what_is_uncertain_against_it():
    rows = [row(1.0, 0.9, half=0.2), row(2.0, 0.9, half=0.05), row(3.0, 0.1), row(0.5, 0.1, scaler="patient 4 s")]
    assert plan.cheapest(rows, 1.0) is rows[1]
    assert plan.cheapest(rows, 2.0) is rows[0]
    assert plan.cheapest(rows, 0.05) is None
    assert report.base_of(rows, [0.05, 0.1]) is rows[2]


def test_one_setting_alone():
    rows = [row(1, 1), row(1, 1, idle=60.0), row(1, 1, idle=60.0, active=1), row(1, 1, pattern="daily", idle=60.0)]
    assert plan.around(rows, rows[0], "idle") == rows[:2]
    assert plan.around(rows, rows[1], "active") == rows[1:3]


def test_intervals_are_those_of_student():
    assert interval([2.0]) == (2.0, math.inf)
    assert interval([1.0, 3.0]) == (2.0, pytest.approx(12.706))
    mean, half = interval([1.0] * 30 + [2.0] * 30)
    assert (mean, half) == (1.5, pytest.approx(1.96 * 0.5042 / math.sqrt(60), rel=1e-3))
    assert together([{"a": 1.0}]) == {"mean": {"a": 1.0}, "half": {}}


@pytest.fixture(scope="module")
def swept(tmp_path_factory):
    folder = tmp_path_factory.mktemp("fleet")
    arguments = ["--patterns", "steady,bursty", "--peak", "1", "--hours", "0.05", "--low", "0.1", "--burst", "20",
                 "--gap", "30", "--tokens", "50", "--concurrency", "4,8", "--scaler", "delay:4,share:1",
                 "--idle", "5", "--active", "0,1", "--seeds", "2", "--quiet", "--price", "0.001",
                 "--active-price", "0.0005", "--bounds", "0.0001,5,200", "--out", str(folder)]
    assert command.main(arguments) == 0
    return folder, arguments


def test_a_sweep_is_told_as_data_tables_and_plots(swept, capsys):
    folder, _ = swept
    found = json.loads((folder / "results.json").read_text())
    assert len(found["rows"]) == 2 * 8 and found["bounds"] == [0.0001, 5, 200]
    assert "$0.001 a second of a worker, $0.0005 of an active one" in found["about"]
    one = found["rows"][0]
    assert [one[key] for key in ("pattern", "concurrency", "scaler", "idle", "active")] == [
        "steady", 4, "delay 4 s", 5, 0]
    active = next(r for r in found["rows"] if r["active"] and r["mean"]["flex_s"] == 0)
    assert active["mean"]["dollars_hour"] == pytest.approx(1.8, rel=0.05)
    text = (folder / "results.md").read_text()
    assert "## steady, 1 a second" in text and "No setting keeps 0.0001 s." in text and "| concurrency | 8 |" in text
    assert text.count("\n| 4 | delay 4 s | 5 | 0 |") == 2
    for file in plots.FILES:
        assert "<svg" in (folder / file).read_text()


def test_the_same_seeds_say_the_same(swept):
    folder, arguments = swept
    again = command.sweep(command.parser().parse_args(arguments))
    assert rounded(again["rows"]) == json.loads((folder / "results.json").read_text())["rows"]


def test_what_is_no_scaler_is_refused(capsys):
    for wrong in ("weather:1", "count", "count:0"):
        with pytest.raises(SystemExit):
            command.parser().parse_args(["--scaler", wrong])
        assert "delay:SECONDS" in capsys.readouterr().err
    assert command.main(["--patterns", "odd"]) == 2
    assert "unknown patterns: odd" in capsys.readouterr().err


def test_the_worker_s_requests_are_played_at_their_moments():
    curve = Curve([(1, 0.5), (2, 0.5)], [(1, 0.25), (2, 0.25)])
    answers = [{"sent": 100.0 + at, "tokens": 3, "ttft": 0.5, "e2e": 1.0} for at in (0.5, 0.0, 0.1)]
    found = check_worker.compared(answers, curve, 2)
    # Two places, a second each: the third comes at 0.5 and is taken at 1.0.
    assert found["waited"] == pytest.approx(1 / 3)
    assert found["first"]["simulated"]["p50"] == pytest.approx(0.5)
    assert found["e2e"]["simulated"]["p99"] == pytest.approx(1.5, abs=0.02)
    assert found["e2e"]["worker"] == {"mean": 1.0, "p50": 1.0, "p90": 1.0, "p99": 1.0}


def test_of_equals_the_documented_rule_is_taken():
    rows = [row(1.0, 0.9, scaler="delay 4 s"), row(1.0, 0.9, scaler="count c"), row(1.0, 0.9, scaler="delay 8 s")]
    assert plan.cheapest(rows, 1.0) is rows[1]
