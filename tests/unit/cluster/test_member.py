"""A node's own side in dialogues: what it does with its engine by node 0's word, and without it."""

import json

import pytest

from cluster import links
from cluster.member import Member

WAIT, SILENCE = 100.0, 10.0


def member(rank=1, linked=True):
    one = Member(rank, WAIT, SILENCE, 0.0)
    assert not linked or one.linked(0.0) == [["send", ["state", 0, "rest", ""]]]
    return one


def started(generation=4):
    one = member()
    assert one.told(["start", generation], 0.0) == [["allow", 1]]
    assert one.became("begun", 1, "") == []
    assert one.became("up", 1, "") == [["send", ["state", generation, "up", ""]]]
    return one


def test_an_engine_is_started_and_ended_by_word_of_node_0():
    one = started()
    assert one.told(["stop", 4, "node 0: it ended"], 1.0) == [["doom", 1, "node 0: it ended"]]
    assert one.became("gone", 1, "") == [["send", ["state", 4, "rest", ""]]]
    assert one.told(["start", 5], 2.0) == [["allow", 2]]


def test_its_own_end_is_told_with_its_reason():
    assert started().became("gone", 1, "out of memory") == [["send", ["state", 4, "rest", "out of memory"]]]


def test_a_stop_of_another_generation_concerns_nobody():
    assert started().told(["stop", 3, "late"], 1.0) == []


def test_no_second_engine_is_started_beside_one_that_is_left():
    assert started().told(["start", 5], 1.0) == [["send", ["state", 4, "up", ""]]]


def test_without_node_0_its_engine_ends_and_after_a_while_the_worker():
    one = started()
    assert one.unlinked("closed", 5.0) == [["doom", 1, "node 0 is lost: closed"]]
    assert one.unlinked("refused", 6.0) == []
    assert one.became("gone", 1, "") == [["send", ["state", 4, "rest", ""]]]  # to nobody
    assert one.tick(5.0 + WAIT - 0.1) == []
    why = "node 0 was not there within 100 s (NODE_WAIT_TIMEOUT): refused"
    assert one.tick(5.0 + WAIT) == [["finish", why], ["end", 1, why]]
    assert one.tick(5.0 + WAIT + 1) == []


def test_one_that_never_reached_node_0_ends_too():
    assert member(linked=False).tick(WAIT)[-1][:2] == ["end", 1]


def test_a_connection_that_says_nothing_is_closed_and_its_engine_ends():
    one = started()
    one.told(["beat"], 3.0)
    assert [order for order in one.tick(3.0 + SILENCE - 0.1) if order != ["send", ["beat"]]] == []
    why = "it said nothing for 10 s (NODE_LOST_TIMEOUT)"
    assert one.tick(3.0 + SILENCE) == [["close", why], ["doom", 1, f"node 0 is lost: {why}"]]


def test_back_in_time_it_says_how_its_engine_stands():
    one = started()
    one.unlinked("closed", 5.0)
    assert one.linked(6.0) == [["send", ["state", 4, "up", ""]]]  # still being ended
    assert one.became("gone", 1, "") == [["send", ["state", 4, "rest", ""]]]
    assert [order for order in one.tick(5.0 + WAIT) if order[0] == "end"] == []


def test_it_says_that_it_is_there():
    one = member()
    said = [order for now in range(1, 10) for order in (one.told(["beat"], now) or one.tick(now))]
    assert said == [["send", ["beat"]]] * 9


@pytest.mark.parametrize(("status", "orders"), [
    (0, [["end", 0, "why\nmore"]]),
    (1, [["doom", 1, "why"], ["finish", "why\nmore"], ["end", 1, "why\nmore"]]),
])
def test_the_end_comes_once_in_order_or_at_once(status, orders):
    one = started()
    assert one.told(["end", status, "why\nmore"], 1.0) == orders
    assert one.told(["end", 1, "again"], 1.0) == [] and one.told(["start", 5], 1.0)[0][0] == "send"


def test_one_that_does_not_die_is_told_of():
    assert started().became("stuck", 1, "it hangs") == [["send", ["state", 4, "stuck", "it hangs"]]]


def test_a_long_report_fits_a_line_and_keeps_its_remedy():
    [[_, message]] = started().became("gone", 1, "It ended\n" + "    \U0001f525\n" * 99_000 + "What to do: less")
    assert len(json.dumps(message)) < links._LONGEST
    assert message[3].startswith("It ended\n") and message[3].endswith("What to do: less")


def test_what_is_told_of_an_earlier_start_is_old():
    one = started()
    one.became("gone", 1, "")
    one.told(["start", 5], 1.0)
    assert one.became("gone", 1, "") == [] and one.engine == "starting"


def test_node_0_is_never_without_itself_and_is_told_to_leave():
    one = member(rank=0)
    assert one.tick(WAIT * 9) == [] and one.told(["leave"], 0.0) == [["leave"]]


@pytest.mark.parametrize("message", [["start"], ["stop", 1], ["end", 1], ["end", "x", "y"]])
def test_what_is_no_message_is_an_error_of_who_sent_it(message):
    with pytest.raises((TypeError, ValueError)):
        started().told(message, 0.0)
