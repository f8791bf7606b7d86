"""Queues whose waits are known exactly: what the simulation is compared with. Pure."""

from __future__ import annotations

import math


def erlang_c(rate: float, service: float, servers: int) -> float:
    """The chance that a request waits in M/M/c: `rate` a second, `service` seconds on average, `servers` places."""
    load = rate * service
    if load >= servers:
        return 1.0
    last, terms = 1.0, 1.0  # load**n / n!, and the sum of those below `servers`
    for n in range(1, servers):
        last *= load / n
        terms += last
    full = last * load / servers * servers / (servers - load)
    return full / (terms + full)


def mean_wait(rate: float, service: float, servers: int) -> float:
    """Seconds in the queue of M/M/c, on average."""
    load = rate * service
    return math.inf if load >= servers else erlang_c(rate, service, servers) * service / (servers - load)


def wait_beyond(rate: float, service: float, servers: int, seconds: float) -> float:
    """The chance to wait longer than that in M/M/c."""
    return erlang_c(rate, service, servers) * math.exp(-(servers / service - rate) * seconds)


def shared_time(rate: float, service: float) -> float:
    """Seconds from arrival to end in M/G/1 with processor sharing, on average: `service` for one that is alone."""
    return math.inf if rate * service >= 1 else service / (1 - rate * service)
