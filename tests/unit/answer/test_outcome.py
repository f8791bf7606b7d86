"""What follows an attempt, and which 503 of the engine is one of load."""

import itertools

import pytest

from answer.outcome import DECISIONS, FOLLOWS, Outcome, Step, follows, of_error
from utils import JobError

AGAIN = {Outcome.REFUSED, Outcome.UNREACHED, Outcome.BROKE}


@pytest.mark.parametrize("outcome, seen, in_time", list(itertools.product(Outcome, (False, True), (False, True))))
def test_another_attempt_only_for_what_may_go_better_and_while_nothing_was_seen(outcome, seen, in_time):
    again = outcome in AGAIN and not seen and in_time
    assert follows(outcome, seen, in_time) is (Step.AGAIN if again else Step.END)


def test_the_table_is_whole():
    assert set(FOLLOWS) == set(Outcome)


def error(message, code=503):
    return JobError(message, type="overloaded_error", code=code)


@pytest.mark.parametrize("text, source", DECISIONS)
def test_what_the_engine_decided_is_passed_on(text, source):
    assert ".py: " in source
    assert of_error(error(text + " And more."), read=False, decides=False) is Outcome.ANSWERED


@pytest.mark.parametrize("message, code", [
    ("The request queue is full.", 503), ("The request queue is full.", 429), ("The engine answered 503.", 503),
    ("slow down", 429), ("Internal server error", 503)])
def test_what_was_refused_before_it_ran_is_load(message, code):
    assert of_error(error(message, code), read=False, decides=False) is Outcome.REFUSED
    assert of_error(error(message, code), read=True, decides=False) is Outcome.ANSWERED


@pytest.mark.parametrize("code", [400, 404, 408, 413, 422, 500, 502, 504])
def test_any_other_status_is_an_answer(code):
    assert of_error(error("The request queue is full.", code), read=False, decides=False) is Outcome.ANSWERED


def test_a_503_without_a_reason_is_no_load_for_an_engine_that_decides():
    assert of_error(error("Internal server error"), read=False, decides=True) is Outcome.ANSWERED
    assert of_error(error("The request queue is full."), read=False, decides=True) is Outcome.REFUSED
