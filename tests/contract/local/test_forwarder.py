"""Connections through the forwarder: carried, closed, or swallowed without a word."""

import asyncio

import pytest

from local.forwarder import Forwarder


class Echo:
    """Sends back what it gets, and counts the ends that it was told of."""

    def __init__(self):
        self.connections = 0
        self.ended = asyncio.Event()

    async def serve(self, reader, writer):
        self.connections += 1
        try:
            while data := await reader.read(100):
                writer.write(data)
        except ConnectionError:
            pass
        self.ended.set()
        writer.close()


@pytest.fixture
async def pair():
    """(echo, forwarder)"""
    echo = Echo()
    server = await asyncio.start_server(echo.serve, "127.0.0.1", 0)
    async with Forwarder(server.sockets[0].getsockname()[1]) as forwarder:
        yield echo, forwarder
    server.close()


async def opened(forwarder):
    reader, writer = await asyncio.open_connection("127.0.0.1", forwarder.port)
    await said(reader, writer, b"hello")
    return reader, writer


async def said(reader, writer, text):
    writer.write(text)
    assert await reader.readexactly(len(text)) == text


async def test_what_comes_in_goes_out(pair):
    echo, forwarder = pair
    reader, writer = await opened(forwarder)
    await said(reader, writer, b"x" * 2**20)
    assert forwarder.open == 1
    writer.close()
    assert await reader.read() == b""
    await echo.ended.wait()


@pytest.mark.parametrize("told", [True, False])
async def test_a_swallowed_connection_says_nothing_more(pair, told):
    echo, forwarder = pair
    reader, writer = await opened(forwarder)
    forwarder.swallow(told=told)
    assert forwarder.open == 0
    writer.write(b"is anybody there")
    silent = asyncio.create_task(reader.read(1))
    await said(*await opened(forwarder), b"a later one is as good as any")
    if told:
        await echo.ended.wait()
    assert not silent.done() and echo.ended.is_set() is told
    writer.close()
    await asyncio.wait({silent})
    await echo.ended.wait()  # at the latest when the worker lets go


async def test_a_closed_connection_ends_on_both_sides(pair):
    echo, forwarder = pair
    reader, _ = await opened(forwarder)
    forwarder.close()
    assert await reader.read() == b""
    await echo.ended.wait()
    await opened(forwarder)
    assert echo.connections == 2


async def test_addresses_lead_through_it(pair):
    _, forwarder = pair
    given = {"A": f"http://127.0.0.1:{forwarder._target}/v2/x", "B": "other"}
    assert forwarder.environ(given) == {"A": f"http://127.0.0.1:{forwarder.port}/v2/x", "B": "other"}
