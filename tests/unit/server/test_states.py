"""The engine's life as a table: what can follow what, and that it always ends."""

import itertools

import pytest

from server.states import FINAL, Event, State, after

LIFE = [
    (State.NEW, Event.START, State.STARTING), (State.STARTING, Event.READY, State.UP),
    (State.UP, Event.BROKE, State.DYING), (State.DYING, Event.GONE, State.WAITING),
    (State.WAITING, Event.AGAIN, State.RESTARTING), (State.RESTARTING, Event.READY, State.UP),
    (State.UP, Event.HUNG, State.DYING), (State.DYING, Event.STUCK, State.GIVEN_UP),
    (State.NEW, Event.EXPECT, State.WAITING), (State.WAITING, Event.START, State.STARTING),
    (State.STARTING, Event.CALLED, State.DYING), (State.UP, Event.CALLED, State.DYING),
]


def possible() -> dict[tuple[State, Event], State]:
    found = {}
    for state, event in itertools.product(State, Event):
        try:
            found[state, event] = after(state, event)
        except ValueError:
            continue
    return found


@pytest.mark.parametrize(("state", "event", "following"), LIFE)
def test_a_life_goes_as_the_table_says(state, event, following):
    assert after(state, event) is following


def test_what_cannot_happen_is_told_with_its_name():
    with pytest.raises(ValueError, match="READY cannot happen while the engine is up"):
        after(State.UP, Event.READY)


def test_a_server_never_serves_again_before_the_last_one_is_gone():
    """Every way from UP back to a start leads through GONE: two servers never share the GPU."""
    table = possible()
    for (state, event), following in table.items():
        if following is State.RESTARTING:
            assert (state, event) == (State.WAITING, Event.AGAIN)
        if following is State.WAITING and state is not State.WAITING:
            assert (state, event) in {(State.DYING, Event.GONE), (State.NEW, Event.EXPECT)}
        if following is State.STARTING:
            assert (state, event) in {(State.NEW, Event.START), (State.WAITING, Event.START)}


def test_one_that_does_not_die_is_never_followed_by_another():
    table = possible()
    assert {following for (_, event), following in table.items() if event is Event.STUCK} <= FINAL


def test_nothing_follows_an_end_and_every_state_can_reach_one():
    table = possible()
    assert not any(state in FINAL for state, _ in table)
    reaching = set(FINAL)
    while more := {state for (state, _), following in table.items() if following in reaching} - reaching:
        reaching |= more
    assert reaching == set(State)


def test_a_stop_is_heard_in_every_state_that_has_a_server_or_waits_for_one():
    table = possible()
    assert {state for state, event in table if event is Event.STOP} == set(State) - FINAL - {State.NEW, State.STOPPING}
