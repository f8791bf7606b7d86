"""The simulated fleet, piece by piece; what is known exactly is in test_fleet_theory.py."""

import json
import random
import statistics
from pathlib import Path

import pytest

from bench.fleet import traffic
from bench.fleet.curves import Curve, Starts, interpolated, measured
from bench.fleet.endpoint import Endpoint, run
from bench.fleet.figures import Prices, figures
from bench.fleet.scalers import Scaler
from bench.fleet.traffic import DAY, PATTERNS, Pattern, requests

ROOT = Path(__file__).resolve().parents[3]
FLAT = Curve([(1, 0.0)], [(1, 1.0), (100_000, 1.0)])  # a second a token, however many streams there are


def ends(settings, coming, curve=FLAT, **more):
    return [(job.taken, job.ended) for job in run(settings, curve, coming, **more).jobs]


# ------------------------------------------------------------------- curves
def test_between_points_lines_beyond_them_the_same_total():
    points = [(1, 2.0), (3, 4.0), (10, 4.0)]
    assert [interpolated(points, at) for at in (0, 1, 2, 3, 7, 10)] == [2, 2, 3, 4, 4, 4]
    assert interpolated(points, 20) == 8
    curve = Curve(points, points)
    assert curve.tokens_a_second(20) == curve.tokens_a_second(40) == curve.tokens_a_second(5000) == 2.5


def test_every_measured_number_stands_in_the_file_that_it_names():
    for name, curve in measured()["curves"].items():
        file = ROOT / curve["source"].split(",")[0]
        medians = {one["streams"]: one for one in json.loads(file.read_text())["medians"] if one["design"] == "worker"}
        for point in curve["points"]:
            found = medians[point["streams"]]
            assert (point["ttft_ms"], point["tpot_ms"]) == (found["ttft"]["p50"], found["tpot"]["p50"]), name
    told = (ROOT / "docs" / "cold-start.md").read_text(encoding="utf-8")
    for start in measured()["starts"].values():
        assert start["about"] and start["source"]
        if start["source"].startswith("docs/"):
            assert f"| {start['seconds']} |" in told or f"| **read ahead** | {start['seconds']} |" in told


def test_starts_take_as_long_as_they_were_seen_to():
    drawn = [Starts(60.0, 5.0).draw(random.Random(seed)) for seed in range(200)]
    assert 55 <= min(drawn) < 56 and 64 < max(drawn) <= 65
    assert Starts(1.0).draw(random.Random(1)) == 1 and Starts(0.0, 5.0).draw(random.Random(3)) >= 0


# ------------------------------------------------------------------ traffic
@pytest.mark.parametrize("name", PATTERNS)
def test_traffic_is_the_same_for_a_seed_and_in_order(name):
    coming = requests(PATTERNS[name], 1)
    assert coming == requests(PATTERNS[name], 1) != requests(PATTERNS[name], 2)
    assert coming == sorted(coming) and coming[-1][0] < PATTERNS[name].seconds
    assert all(tokens >= 1 for _, tokens in coming)
    assert statistics.fmean(tokens for _, tokens in coming) == pytest.approx(PATTERNS[name].tokens, rel=0.05)


def test_steady_traffic_comes_at_its_rate():
    assert len(requests(Pattern("steady", 10.0, seconds=1000.0), 1)) == pytest.approx(10_000, rel=0.03)


def test_bursts_are_as_long_and_as_far_apart_as_they_are_to_be():
    pattern = Pattern("bursty", peak=10.0, low=0.0, seconds=100_000.0, burst=30.0, gap=300.0)
    coming = [at for at, _ in requests(pattern, 1)]
    begins = [b for a, b in zip([-1e9, *coming], coming, strict=False) if b - a > 10]
    assert len(begins) == pytest.approx(100_000 / 330, rel=0.15)
    assert len(coming) == pytest.approx(len(begins) * 300, rel=0.1)


def test_a_day_is_busy_at_noon_and_quiet_at_night():
    coming = [at for at, _ in requests(Pattern("daily", peak=1.0, low=0.01, seconds=DAY), 1)]
    noon = sum(11 * 3600 < at < 13 * 3600 for at in coming)
    night = sum(at < 3600 or at > 23 * 3600 for at in coming)
    assert noon == pytest.approx(7200 * 0.98, rel=0.05) and night < 150


def test_an_unknown_pattern_is_no_pattern():
    with pytest.raises(ValueError, match="no such pattern: odd"):
        requests(Pattern("odd", 1.0), 1)
    assert "daily" in traffic.PATTERNS["daily"].name


# ------------------------------------------------------------------ scalers
def test_request_count_is_the_documented_formula():
    scaler = Scaler("count", 4)
    assert [scaler.wanted(waiting, running) for waiting, running in ((0, 0), (1, 0), (2, 2), (3, 2), (9, 0))] == [
        0, 1, 1, 2, 3]
    assert scaler.due(1.0, 2.0) is None


def test_queue_delay_goes_by_the_oldest_wait():
    for kind, beside in (("delay", True), ("patient", False)):
        scaler = Scaler(kind, 4)
        assert scaler.wanted(100, 100) == 0
        assert scaler.due(10.0, 0.0) == 14 and scaler.due(10.0, 14.0) == 18
        assert scaler.adds(0) and scaler.adds(1) is beside
    for wrong in (("by weather", 4), ("count", 0)):
        with pytest.raises(ValueError, match="no such scaler"):
            Scaler(*wrong)


# ------------------------------------------------------------------- a worker
def test_a_lone_job_takes_its_first_token_and_the_others():
    curve = Curve([(1, 0.5)], [(1, 0.1), (1000, 0.1)])
    settings = Endpoint(4, Scaler("count", 1), active=1, most=1)
    (job,) = run(settings, curve, [(2.0, 11.0)]).jobs
    assert (job.taken, job.first, job.ended) == pytest.approx((2.0, 2.5, 3.5))


def test_jobs_that_share_are_each_the_slower():
    curve = Curve([(1, 0.0)], [(1, 1.0), (2, 2.0)])  # two at half the speed each
    settings = Endpoint(4, Scaler("count", 1), active=1, most=1)
    # The first is alone for 4 s, then both get half: the second's 2 tokens take 4 s, the first has 4 left.
    assert ends(settings, [(0.0, 10.0), (4.0, 2.0)], curve) == [(0, pytest.approx(12)), (4, pytest.approx(8))]


def test_what_has_no_room_waits_in_order():
    settings = Endpoint(1, Scaler("delay", 1000), active=1, most=1)
    assert ends(settings, [(0.0, 3.0), (1.0, 3.0), (2.0, 3.0)]) == [(0, 3), (3, 6), (6, 9)]


# ------------------------------------------------------------------ an endpoint
COLD = {"cold": Starts(10.0), "thawed": Starts(2.0)}


def test_from_nothing_a_request_waits_for_a_start():
    settings = Endpoint(4, Scaler("count", 1), idle=5.0, **COLD)
    outcome = run(settings, FLAT, [(1.0, 3.0)])
    assert [(job.taken, job.ended) for job in outcome.jobs] == [(11, 14)]
    assert (outcome.starts, outcome.thaws, outcome.most, outcome.seconds) == (1, 0, 1, 14)
    assert (outcome.flex, outcome.busy) == (13, pytest.approx(3))  # from its start on


def test_by_delay_a_worker_is_added_only_after_the_wait():
    settings = Endpoint(4, Scaler("delay", 4), **COLD)
    assert ends(settings, [(1.0, 3.0)]) == [(15, 18)]


@pytest.mark.parametrize(("kind", "most"), [("delay", 3), ("patient", 1)])
def test_by_delay_more_are_added_while_the_oldest_waits(kind, most):
    outcome = run(Endpoint(1, Scaler(kind, 4), most=3, idle=1000, **COLD), FLAT, [(0.0, 5.0)])
    assert outcome.most == most  # at 4, 8 and 12 s; the first is there at 14


def test_no_more_workers_than_allowed():
    coming = [(0.0, 50.0)] * 10
    assert run(Endpoint(1, Scaler("count", 1), most=3, **COLD), FLAT, coming).most == 3


def test_an_idle_worker_goes_after_its_timeout_and_an_active_one_stays():
    coming = [(0.0, 3.0), (100.0, 3.0)]
    outcome = run(Endpoint(4, Scaler("count", 1), idle=5.0, **COLD), FLAT, coming)
    assert (outcome.starts, outcome.flex) == (2, 10 + 3 + 5 + 10 + 3)
    kept = run(Endpoint(4, Scaler("count", 1), idle=90.0, **COLD), FLAT, coming)
    assert (kept.starts, kept.flex) == (1, 103)
    active = run(Endpoint(4, Scaler("count", 1), idle=5.0, active=1, **COLD), FLAT, coming)
    assert (active.starts, active.flex, active.always) == (0, 0, 103)
    assert [job.taken for job in active.jobs] == [0, 100]


def test_an_idle_worker_stays_while_the_count_wants_it():
    settings = Endpoint(4, Scaler("count", 1), idle=5.0, most=2, **COLD)
    outcome = run(settings, FLAT, [(0.0, 60.0), (0.0, 60.0)])
    assert outcome.flex == 140  # both start at once; one gets both jobs or each gets one, and both are wanted
    alone = run(Endpoint(4, Scaler("count", 2), idle=5.0, most=2, **COLD), FLAT, [(0.0, 60.0), (0.0, 60.0)])
    assert alone.flex == 70


def test_a_frozen_worker_is_thawed_as_long_as_it_is_kept():
    coming = [(0.0, 3.0), (100.0, 3.0)]
    for kept, thaws, taken in ((1000.0, 1, 102), (10.0, 0, 110)):
        outcome = run(Endpoint(4, Scaler("count", 1), idle=5.0, kept=kept, **COLD), FLAT, coming)
        assert (outcome.thaws, outcome.jobs[1].taken) == (thaws, taken)


def test_the_fullest_or_any_worker():
    coming = [(float(n), 1000.0) for n in range(8)]
    idle = {"active": 2, "most": 2, "idle": 5.0}
    filled = run(Endpoint(8, Scaler("count", 1000), spread=False, **idle), FLAT, coming)
    assert filled.busy == pytest.approx(1007)
    spread = run(Endpoint(8, Scaler("count", 1000), **idle), FLAT, coming, seed=1)
    assert spread.busy > 1900


def test_nothing_before_the_warm_time_counts():
    settings = Endpoint(4, Scaler("count", 1), active=1, most=1)
    outcome = run(settings, FLAT, [(0.0, 20.0), (30.0, 10.0)], warm=10.0)
    assert (outcome.always, outcome.busy) == (30, pytest.approx(20))
    found = figures(outcome, Prices(0.5, 0.25), warm=10.0)
    assert (found["requests"], found["gpu_s"], found["idle_share"]) == (1, 30, pytest.approx(1 / 3))
    assert found["dollars_million"] == pytest.approx(30 * 0.25 / 10 * 1e6)
    assert found["dollars_hour"] == pytest.approx(0.25 * 3600)
