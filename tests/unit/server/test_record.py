"""What is known of a server, and who hears that it changed."""

import threading

import pytest

from server.record import Record
from server.states import Event, State


def test_it_follows_the_table_and_remembers_that_one_was_up():
    record = Record()
    assert record.state is State.NEW and not record.up and not record.was_up
    record.enter(Event.START)
    record.enter(Event.READY)
    assert record.up and record.was_up
    record.enter(Event.BROKE)
    assert record.state is State.DYING and not record.up and record.was_up
    with pytest.raises(ValueError, match="READY cannot happen"):
        record.enter(Event.READY)


def test_the_newest_endings_are_kept():
    record = Record()
    for life in range(1, 21):
        record.enter(Event.START if life == 1 else Event.AGAIN)
        record.life = life
        record.enter(Event.BROKE)
        assert record.ending_of(life) is None
        record.enter(Event.GONE, f"exit status {life}")
    assert sorted(record.endings) == list(range(5, 21)) and record.ending_of(20) == "exit status 20"


def test_a_listener_hears_each_change_while_it_listens():
    record, heard = Record(), []
    with record.listening(lambda: heard.append(record.state)):
        record.enter(Event.START)
        record.enter(Event.READY)
    record.enter(Event.BROKE)
    assert heard == [State.STARTING, State.UP]


def test_whoever_waits_for_the_end_is_woken_by_it():
    record = Record()
    assert not record.over(0)
    record.enter(Event.START)
    ended = threading.Thread(target=lambda: (record.enter(Event.STOP), record.enter(Event.GONE)))
    ended.start()
    assert record.over(30)
    ended.join()
    assert record.state is State.STOPPED and record.over(0)
