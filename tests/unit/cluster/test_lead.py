"""Node 0's side in dialogues: when all engines are started and ended, and that a generation is never in part."""

import json

import pytest

from cluster import links
from cluster.lead import Lead
from server.restarts import Restarts

WAIT, SILENCE = 100.0, 10.0


class Group:
    """A lead of `count` nodes, and what it said."""

    def __init__(self, count=2, restarts=3, now=0.0):
        self.lead = Lead(count, Restarts(restarts, 600.0), WAIT, SILENCE, now)
        self.count, self.now = count, now

    def at_rest(self, *ranks):
        """These join and say that they have no engine; returns what follows."""
        said = []
        for rank in ranks:
            said += self.lead.joined(rank, self.now)
            said += self.says(rank, "rest", generation=0)
        return said

    def says(self, rank, engine, why="", generation=None):
        number = self.lead.generation if generation is None else generation
        return self.lead.heard(rank, ["state", number, engine, why], self.now)

    def all_up(self):
        assert self.at_rest(*range(self.count)) == [(rank, ["start", 1]) for rank in range(self.count)]
        for rank in range(self.count):
            assert self.says(rank, "up") == []
        return self

    def after(self, seconds):
        """Everybody gives a sign of life meanwhile."""
        said = []
        for _ in range(round(seconds)):
            self.now += 1.0
            for rank in range(1, self.count):
                self.lead.heard(rank, ["beat"], self.now)
            said += [order for order in self.lead.tick(self.now) if order[1] != ["beat"]]
        return said


def words(orders):
    return [(rank, message[0]) for rank, message in orders]


def test_no_engine_is_started_before_all_are_there_and_at_rest():
    group = Group(3)
    assert group.at_rest(0, 2) == []
    group.lead.joined(1, 0.0)
    # Of an earlier life, which it is told to end.
    assert group.says(1, "up", generation=7) == [(1, ["stop", 7, "it is of an earlier start"])]
    assert group.after(5) == []
    assert group.says(1, "rest", generation=7) == [(0, ["start", 1]), (2, ["start", 1]), (1, ["start", 1])]


@pytest.mark.parametrize("rank", [0, 1, 2])
def test_one_engine_that_ends_ends_all_and_the_next_generation_follows_when_all_are_gone(rank):
    group = Group(3).all_up()
    said = group.says(rank, "rest", "it ended\n    last line")
    assert said == [(one, ["stop", 1, f"node {rank}: it ended"]) for one in range(3)]
    others = [one for one in range(3) if one != rank]
    assert group.says(others[0], "rest") == []
    assert group.after(3) == []  # one is still being ended
    assert group.says(others[1], "rest") == []
    assert words(group.after(1)) == [(one, "start") for one in range(3)]  # after the first pause
    assert group.lead.generation == 2


def test_a_lost_node_is_waited_for_and_no_longer_than_it_may_be():
    group = Group(2).all_up()
    assert group.lead.lost(1, "gone", 0.0) == [(0, ["stop", 1, "node 1 is lost: gone"])]
    assert group.says(0, "rest") == []
    assert group.after(WAIT - 1) == []
    (rank, message), = group.after(1)
    assert (rank, message[:2]) == (0, ["end", 1])
    assert message[2] == "node 1 of 2 was not there within 100 s (NODE_WAIT_TIMEOUT)"


def test_a_lost_node_that_is_back_in_time_is_one_of_them_again():
    group = Group(2).all_up()
    group.lead.lost(1, "gone", 0.0)
    group.says(0, "rest")
    assert group.after(WAIT - 1) == []
    assert group.at_rest(1) == [(0, ["start", 2]), (1, ["start", 2])]


def test_who_says_nothing_is_lost_and_its_connection_closed():
    group = Group(2).all_up()
    group.lead.tick(SILENCE - 0.1)
    assert group.lead.running
    said = [order for order in group.lead.tick(SILENCE) if order[1] != ["beat"]]
    assert said == [(1, ["close"]), (0, ["stop", 1, "node 1 is lost: it said nothing for 10 s (NODE_LOST_TIMEOUT)"])]


def test_node_0_does_not_wait_for_a_word_of_its_own():
    group = Group(1)
    assert group.at_rest(0) == [(0, ["start", 1])]
    group.says(0, "up")
    assert [order for order in group.lead.tick(1000.0) if order[1] != ["beat"]] == [] and group.lead.running


def test_one_that_comes_anew_was_lost():
    group = Group(2).all_up()
    assert words(group.lead.joined(1, 0.0)) == [(0, "stop")]
    group.says(0, "rest")
    assert group.says(1, "rest", generation=0) == []
    assert words(group.after(1)) == [(0, "start"), (1, "start")]


def test_the_first_start_is_not_tried_again_when_an_engine_ended_by_itself():
    group = Group(2)
    group.at_rest(0, 1)
    group.says(1, "rest", "out of memory")
    said = group.says(0, "rest", "connection closed by peer")
    assert said == [(rank, ["end", 1, "node 1: out of memory\nnode 0: connection closed by peer"]) for rank in (0, 1)]


def test_the_first_start_is_tried_again_when_a_node_was_lost():
    group = Group(2)
    group.at_rest(0, 1)
    group.says(0, "rest", "connection closed by peer")
    group.lead.lost(1, "gone", 0.0)
    assert group.after(2) == []
    assert words(group.at_rest(1)) == [(0, "start"), (1, "start")]


def test_restarts_are_counted_for_all_nodes_together():
    group = Group(2, restarts=2).all_up()
    for number in (2, 3):
        group.says(number % 2, "rest", "it ended")
        group.says(1 - number % 2, "rest")
        assert words(group.after(1)) == [(0, "start"), (1, "start")] and group.lead.generation == number
        group.says(0, "up")
        group.says(1, "up")
    group.says(1, "rest", "it ended")
    said = group.says(0, "rest")
    assert words(said) == [(0, "end"), (1, "end")]
    assert said[0][1][2] == ("The engine ended again after 2 restarts of all nodes within 600 s (SGLANG_MAX_RESTARTS): "
                             "all nodes end. node 1: it ended")


@pytest.mark.parametrize("was_up", [False, True])
def test_long_starts_that_come_to_nothing_are_not_made_for_ever(was_up):
    group = Group(2, restarts=2)
    assert words(group.at_rest(0, 1)) == [(0, "start"), (1, "start")]
    if was_up:
        group.says(0, "up"), group.says(1, "up")
    for _ in range(2):
        assert group.after(700) == []  # longer than the window: none of them is a recent one
        group.lead.lost(1, "its memory ran out", group.now)
        group.says(0, "rest")
        group.at_rest(1)
        assert words(group.after(2)) == [(0, "start"), (1, "start")]
    assert group.after(700) == []
    group.lead.lost(1, "its memory ran out", group.now)
    assert group.says(0, "rest") == [(0, ["end", 1, (
        "The engine was not up once in 2 restarts of all nodes, one after the other (SGLANG_MAX_RESTARTS): all nodes "
        "end. node 1 is lost: its memory ran out")])]


def test_restarts_that_are_up_again_are_forgotten_with_the_window():
    group = Group(2, restarts=1).all_up()
    for _ in range(5):
        group.after(700)
        group.says(1, "rest", "it ended")
        group.says(0, "rest")
        assert words(group.after(1)) == [(0, "start"), (1, "start")]
        group.says(0, "up"), group.says(1, "up")


def test_what_is_said_of_an_end_keeps_its_remedy_and_fits_a_line():
    report = "The SGLang server ended. Its last lines:\n" + "    \U0001f525█\n" * 9_000 + "What to do: less memory"
    group = Group(16)
    group.at_rest(*range(16))
    for rank in range(16):
        said = group.says(rank, "rest", report)
    assert words(said) == [(rank, "end") for rank in range(16)]
    why = said[0][1][2]
    assert why.startswith("node 0: The SGLang server ended.") and why.endswith("What to do: less memory")
    assert len(json.dumps(said[0][1])) < links._LONGEST


def test_one_that_does_not_die_ends_all():
    group = Group(2).all_up()
    group.says(0, "rest", "it ended")
    assert group.says(1, "stuck", "it does not die") == [(r, ["end", 1, "node 1: it does not die"]) for r in (0, 1)]
    assert group.after(WAIT * 2) == []


def test_one_that_is_told_to_stop_has_node_0_end_in_order_and_nothing_is_started_any_more():
    group = Group(2).all_up()
    assert group.lead.heard(1, ["leaving"], 0.0) == [(0, ["leave"])]
    assert group.lead.heard(1, ["leaving"], 0.0) == []
    group.lead.lost(1, "gone", 0.0)
    group.says(0, "rest")
    group.at_rest(1)
    assert group.after(5) == []
    assert words(group.lead.end(0, "node 0 has ended")) == [(0, "end"), (1, "end")]
    assert group.lead.joined(1, 0.0) == [(1, ["end", 0, "node 0 has ended"])]


def test_who_was_not_let_in_is_told_of_where_a_node_is_missed():
    group = Group(2)
    group.at_rest(0)
    group.lead.refused("node 1 was started with other settings: model")
    assert group.after(WAIT)[0][1][2].endswith("; one was not let in: node 1 was started with other settings: model")


@pytest.mark.parametrize("message", [["state"], ["state", 1, "up"], ["state", 1, "up", "", 1],
                                     ["state", 1, "stuck", 7], ["state", 1, "asleep", ""], ["state", 1, [], ""]])
def test_what_is_no_message_is_an_error_of_who_sent_it(message):
    group = Group(2).all_up()
    with pytest.raises((TypeError, ValueError)):
        group.lead.heard(1, message, 0.0)
    assert group.lead.running
