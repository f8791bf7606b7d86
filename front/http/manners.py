"""What the HTTP front says of its state, and what it bears of its clients. Pure."""

from __future__ import annotations

import dataclasses
import enum


class Stage(enum.Enum):
    """What the worker says of itself where its health is asked; RunPod: 200 ready, 204 initialising."""

    STARTING = 204
    READY = 200
    LEAVING = 503


@dataclasses.dataclass(frozen=True)
class Manners:
    """body_seconds: that a client may take to send its request; write_seconds: that it may leave a piece of the answer
    unread; head_seconds: of silence after which a stream's head is sent before anything of its answer; origins: that a
    browser's page may come from, "*" for any, none for no CORS."""

    health_path: str = "/ping"
    body_seconds: float = 60.0
    write_seconds: float = 330.0
    head_seconds: float = 2.0
    origins: tuple[str, ...] = ()
