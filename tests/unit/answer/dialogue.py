"""A network without sockets: it says what a test wrote, and remembers what it was asked."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from answer.wire import Broke


class Reply:
    """An answer that consists of `parts`: bytes, an exception to raise, or a future to wait for first."""

    def __init__(self, *parts: Any, status: int = 200, content_type: str = "text/event-stream"):
        self.status, self.content_type, self._parts = status, content_type, list(parts)
        self.ended = asyncio.get_running_loop().create_future()
        self.closed = False

    def arrived(self) -> bytes:
        return self._parts.pop(0) if self._parts and isinstance(self._parts[0], bytes) else b""

    async def some(self) -> bytes:
        while self._parts:
            part = self._parts.pop(0)
            if isinstance(part, bytes):
                return part
            if isinstance(part, BaseException):
                raise part
            await part
        if not self.ended.done():
            self.ended.set_result(None)
        return b""

    async def whole(self) -> bytes:
        data = b""
        while more := await self.some():
            data += more
        return data

    def over(self) -> bool:
        return self.ended.done() and not self._parts

    def pausable(self) -> None:
        return None

    def close(self) -> bool:
        self.closed = True
        return self.ended.done()


def whole(value: Any, status: int = 200) -> Reply:
    return Reply(json.dumps(value).encode(), status=status, content_type="application/json")


def events(*values: Any) -> list[bytes]:
    return [b"data: " + json.dumps(value).encode() + b"\n\n" for value in values]


class Network:
    """Each request to a route takes the next line of the script: a Reply, an exception, or a function that gives one.
    Aborts are answered, and kept in `aborted`."""

    def __init__(self, *script: Any):
        self._script = list(script)
        self.sent: list[tuple[str, Any]] = []
        self.aborted: list[str] = []

    async def send(self, method: str, path: str, body: Any, *, admin: bool = False,
                   headers: Any = None) -> Any:
        if path == "/abort_request":
            assert admin
            self.aborted.append(body["rid"])
            return whole(None)
        self.sent.append((path, body))
        line = self._script.pop(0)
        line = line() if callable(line) else line
        if asyncio.isfuture(line):
            line = await line
        if isinstance(line, BaseException):
            raise line
        return line

    async def close(self) -> None:
        pass


class Engine:
    """Its lives: `available` gives the number of the one that is on, `fate` what became of it."""

    def __init__(self, *lives: int | Exception, fate: str | None = None):
        self._lives, self.told, self.asked = list(lives), fate, []

    async def available(self) -> int:
        life = self._lives.pop(0)
        if isinstance(life, Exception):
            raise life
        return life

    async def fate(self, life: int) -> str | None:
        self.asked.append(life)
        return self.told


BROKEN = Broke("ClientOSError")
