"""The simulation against queues whose waits are known exactly. Seeds are fixed, so nothing here is left to chance; the
tolerance is the 99 % confidence interval that the run's own batches give."""

import math
import random
import statistics

import pytest

from bench.fleet import theory
from bench.fleet.curves import Curve
from bench.fleet.endpoint import Endpoint, run
from bench.fleet.scalers import Scaler

REQUESTS = 60_000
_BATCHES = 20
_T = 2.861  # Student's t of 19 degrees of freedom, 99 %, two-sided


def poisson(rate: float, service: float, count: int, seed: int):
    """Requests whose service alone takes an exponential time: a token takes a second."""
    rng, at, found = random.Random(seed), 0.0, []
    for _ in range(count):
        at += rng.expovariate(rate)
        found.append((at, rng.expovariate(1 / service)))
    return found


def close(values, exact):
    """Whether `exact` is inside the interval of the batches' means."""
    size = len(values) // _BATCHES
    means = [statistics.fmean(values[n * size:(n + 1) * size]) for n in range(_BATCHES)]
    half = _T * statistics.stdev(means) / math.sqrt(_BATCHES)
    assert half < 0.35 * exact, "too few requests to say anything"
    return abs(statistics.fmean(means) - exact) < half


def test_erlang_c_by_hand():
    assert theory.erlang_c(0.5, 1.0, 1) == pytest.approx(0.5)        # M/M/1: as busy as it is
    assert theory.mean_wait(0.5, 1.0, 1) == pytest.approx(1.0)
    assert theory.erlang_c(1.0, 1.0, 2) == pytest.approx(1 / 3)      # a known value
    assert theory.erlang_c(20.0, 0.5, 11) == pytest.approx(0.6821, abs=1e-4)
    assert theory.wait_beyond(0.5, 1.0, 1, 2.0) == pytest.approx(0.5 * math.exp(-1))
    assert theory.erlang_c(2.0, 1.0, 2) == 1 and theory.mean_wait(2.0, 1.0, 2) == math.inf
    assert theory.shared_time(0.5, 1.0) == 2 and theory.shared_time(1.0, 1.0) == math.inf


@pytest.mark.parametrize(("workers", "each", "load"), [(1, 1, 0.7), (1, 4, 0.8), (4, 1, 0.8), (2, 8, 0.85)])
def test_waits_are_those_of_m_m_c(workers, each, load):
    """A fixed number of places, no starts, no place slower for its neighbours: M/M/c, however places are spread."""
    places = workers * each
    rate = load * places
    curve = Curve([(1, 0.0)], [(1, 1.0), (100, 1.0)])
    settings = Endpoint(each, Scaler("count", 1), active=workers, most=workers)
    jobs = run(settings, curve, poisson(rate, 1.0, REQUESTS, seed=5)).jobs
    waits = [job.taken - job.came for job in jobs]
    assert close([float(wait > 1e-9) for wait in waits], theory.erlang_c(rate, 1.0, places))
    assert close(waits, theory.mean_wait(rate, 1.0, places))
    beyond = 1.0 / (places - rate)  # the mean wait of those who wait
    assert close([float(wait > beyond) for wait in waits], theory.wait_beyond(rate, 1.0, places, beyond))


@pytest.mark.parametrize("fixed", [True, False])
def test_shared_workers_are_those_of_processor_sharing(fixed):
    """All streams share one total: the mean time depends on the mean service alone, whatever its distribution."""
    curve = Curve([(1, 0.0)], [(1, 1.0), (2, 2.0)])
    settings = Endpoint(10**9, Scaler("count", 1), active=1, most=1)
    coming = [(at, 1.0 if fixed else tokens) for at, tokens in poisson(0.6, 1.0, REQUESTS, seed=7)]
    jobs = run(settings, curve, coming).jobs
    assert close([job.ended - job.came for job in jobs], theory.shared_time(0.6, 1.0))
