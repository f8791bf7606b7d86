"""What the server can be, and what follows from what: the whole life of an engine as one table. Pure."""

from __future__ import annotations

import enum


class State(enum.Enum):
    NEW = "not started"
    STARTING = "starting"
    UP = "up"
    DYING = "dying"            # it serves no more, and its processes are being ended
    WAITING = "waiting"        # nothing of it is left; the pause before the next start
    RESTARTING = "restarting"  # a new server that is not ready yet
    STOPPING = "stopping"      # it was told to end in order
    STOPPED = "stopped"
    GIVEN_UP = "given up"


class Event(enum.Enum):
    EXPECT = "others say when the first server is started"
    START = "the first server was started"
    READY = "it answered that it is ready"
    LATE = "it was not ready in time"
    BROKE = "its guard ended"
    HUNG = "it gave no sign of life, or has lost a part"
    CALLED = "it has to go with those of the other nodes"
    GONE = "its last process is gone"
    STUCK = "it does not die"
    AGAIN = "the next server was started"
    REFUSED = "the next server could not be started"
    SPENT = "it may not be started again"
    STOP = "somebody wants it stopped"


FINAL = frozenset({State.STOPPED, State.GIVEN_UP})

_NEXT: dict[tuple[State, Event], State] = {
    (State.NEW, Event.START): State.STARTING,
    (State.NEW, Event.EXPECT): State.WAITING,
    (State.STARTING, Event.READY): State.UP,
    (State.STARTING, Event.BROKE): State.DYING,
    (State.STARTING, Event.LATE): State.DYING,
    (State.UP, Event.BROKE): State.DYING,
    (State.UP, Event.HUNG): State.DYING,
    **{(state, Event.CALLED): State.DYING for state in (State.STARTING, State.RESTARTING, State.UP)},
    (State.DYING, Event.GONE): State.WAITING,
    (State.DYING, Event.STUCK): State.GIVEN_UP,
    (State.WAITING, Event.START): State.STARTING,  # none has been up yet
    (State.WAITING, Event.AGAIN): State.RESTARTING,
    (State.WAITING, Event.REFUSED): State.WAITING,
    (State.WAITING, Event.SPENT): State.GIVEN_UP,
    (State.RESTARTING, Event.READY): State.UP,
    (State.RESTARTING, Event.BROKE): State.DYING,
    (State.RESTARTING, Event.LATE): State.DYING,
    **{(state, Event.STOP): State.STOPPING for state in State if state not in FINAL | {State.NEW, State.STOPPING}},
    (State.STOPPING, Event.GONE): State.STOPPED,
    (State.STOPPING, Event.STUCK): State.STOPPED,
}


def after(state: State, event: Event) -> State:
    """The state that follows. Raises ValueError for an event that cannot happen in `state`."""
    try:
        return _NEXT[state, event]
    except KeyError:
        raise ValueError(f"{event.name} cannot happen while the engine is {state.value}") from None
