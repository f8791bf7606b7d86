"""One end of the connection between the owner and a front process."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import Any, cast

from front.http.processes.wire import Message, Unpacker, packed


class Channel(asyncio.Protocol):
    """heard: called with each message, in order; over: called once, when the other end is gone."""

    def __init__(self, heard: Callable[[Message], None], over: Callable[[], None]):
        self._heard, self._over = heard, over
        self._unpacker = Unpacker()
        self._transport: asyncio.Transport | None = None
        self._early: list[bytes] | None = []  # what was sent before there was a connection

    async def open(self, end: socket.socket) -> None:
        """Speak over this end of a pair of sockets, which is closed with it."""
        await asyncio.get_running_loop().create_unix_connection(lambda: self, sock=end)

    def send(self, message: list[Any]) -> None:
        """To the other end, as soon as there is one; to nobody, when it is gone."""
        if self._early is not None:
            self._early.append(packed(message))
        elif self._transport is not None and not self._transport.is_closing():
            self._transport.write(packed(message))

    def close(self) -> None:
        """What was sent still arrives."""
        if self._transport is not None:
            self._transport.close()

    # ------------------------------------------------------------ asyncio's
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is none by its class
        self._transport.writelines(self._early or [])
        self._early = None

    def data_received(self, data: bytes) -> None:
        for message in self._unpacker.feed(data):
            self._heard(message)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._over()
