"""The port of node 0 among strangers, without any engine."""

import asyncio
import contextlib
import json
import threading

import pytest

from cluster import links
from cluster.greeting import Place
from cluster.links import Nodes
from engine import Orders, Restarts
from tests.support import free_port


@pytest.fixture
def place():
    """Node 0's; the others have `place._replace(rank=…)`."""
    return Place(0, 2, "127.0.0.1", free_port(), "127.0.0.1", 60.0, 30.0, b"secret", {})


@pytest.fixture
def begun():
    """begun(place): a node that has begun, as the event that it may start its engine."""
    made = []

    def begin(place):
        orders, allowed = Orders(), threading.Event()
        orders.wake = allowed.set
        made.append(Nodes(place, Restarts(3, 600.0), orders, lambda: None))
        made[-1].begin()
        return allowed

    yield begin
    for one in made:
        one.part(0, None)


async def test_strangers_who_say_nothing_leave_room_for_a_node(place, begun, monkeypatch):
    monkeypatch.setattr(links, "_MANNERS", 300.0)  # time makes no room
    begun(place)
    async with contextlib.AsyncExitStack() as stack:
        async def stranger():
            reader, writer = await asyncio.open_connection(place.host, place.port)
            stack.callback(writer.close)
            assert json.loads(await reader.readline())[0] == "challenge"
            return reader

        async with asyncio.timeout(60):
            first, *others = [await stranger() for _ in range(links._STRANGERS)]
            allowed = begun(place._replace(rank=1))
            with contextlib.suppress(ConnectionError):
                assert await first.read() == b""  # who waited longest has gone for it
            assert await asyncio.to_thread(allowed.wait, 50)
            assert not any(reader.at_eof() for reader in others)
