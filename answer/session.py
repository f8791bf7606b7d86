"""One web socket to the engine (/v1/realtime), for as long as the engine, the worker and whoever asked for it live."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import aiohttp

from utils import JobError

_DATA = (aiohttp.WSMsgType.TEXT, aiohttp.WSMsgType.BINARY)
_LOST = (None, 1006)  # what stands for a close that nobody said


class Session:
    """stopped: done, with the reason, when the worker ends it. heard: called for every message; fate: what became of
    its engine, None when that lives; over: called once, when it is closed."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse, heard: Callable[[], None],
                 fate: Callable[[], Awaitable[str | None]], over: Callable[[Session], None]) -> None:
        self._socket, self._heard, self._fate, self._over = socket, heard, fate, over
        self.stopped: asyncio.Future[JobError] = asyncio.get_running_loop().create_future()

    def stop(self, error: JobError) -> None:
        """Have whoever asked for it end it."""
        if not self.stopped.done():
            self.stopped.set_result(error)

    async def receive(self) -> str | bytes | None:
        """The engine's next message, None at the end."""
        message = await self._socket.receive()
        self._heard()
        return message.data if message.type in _DATA else None

    async def send(self, message: str | bytes) -> bool:
        """Whether the engine may still get it."""
        try:
            if isinstance(message, str):
                await self._socket.send_str(message)
            else:
                await self._socket.send_bytes(message)
        except (aiohttp.ClientError, ConnectionError):
            return False
        return True

    async def end(self) -> tuple[int, str]:
        """Once the engine ended it: the code for its other side, and why. RFC 6455, 7.4; 1012 is a service restart."""
        code = self._socket.close_code
        if code in _LOST:
            fate = await self._fate()
            return (1012, fate) if fate else (1011, "The connection to the engine broke.")
        return (1000 if code == 1005 else code or 1011), ""

    async def close(self, code: int = 1000) -> None:
        """Tell the engine that it is over, unless it knows."""
        try:
            await self._socket.close(code=code)
        finally:
            self._over(self)
