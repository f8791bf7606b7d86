"""The network between the worker and its engine: all that this package knows of the HTTP client on that way.

In: method, path, and a body: a JSON value, `Pieces` of one, or a `Form`. Out: a `Reply`. Raises Unreached, Broke and
JobError, nothing of the client's own.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import Any, Protocol

import aiohttp
from yarl import URL

from answer.encoding import encoded
from answer.forms import Form
from answer.request import Pieces
from utils import JobError


class Broke(Exception):
    """The connection broke; `str` is the client's name for it."""


class Unreached(Broke):
    """There was no connection: nothing was carried."""


class Reply(Protocol):
    """An answer of the engine whose head is here. `ended` is done once the last byte has arrived."""

    status: int
    content_type: str
    ended: asyncio.Future[None]

    def arrived(self) -> bytes:
        """What has arrived; b"" for nothing, be it the end or not."""

    async def some(self) -> bytes:
        """What has arrived, as soon as there is anything; b"" at the end."""

    async def whole(self) -> bytes:
        """All of it."""

    def over(self) -> bool:
        """Whether all of it has been read. Not so as soon as it has `ended`: reading may bring more of it."""

    def pausable(self) -> asyncio.Transport | None:
        """The connection, for not reading it for a while; None once it is over."""

    def close(self) -> bool:
        """Let go of it. False when not all of it was read: the engine may be at it still."""


class Network(Protocol):
    """What `Upstream` needs of a network."""

    async def send(self, method: str, path: str, body: Any, *, admin: bool = False,
                   headers: Mapping[str, str] | None = None) -> Reply:
        """Send a request, and wait for the head of its answer."""

    async def dial(self, path: str, headers: Mapping[str, str]) -> aiohttp.ClientWebSocketResponse:
        """Open a web socket. Raises JobError when it is refused."""

    async def close(self) -> None:
        """Close the connections; what still runs breaks off."""


_MESSAGE = 2**24  # bytes of one message of a web socket
_FAILURES = (aiohttp.ClientError, ConnectionError)


def _named(error: Exception) -> Broke:
    unreached = isinstance(error, (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError))
    return (Unreached if unreached else Broke)(type(error).__name__)


class Http:
    """The worker's one HTTP client for the engine at `base_url`; make it once, `close` it once.

    api_key, admin_key: what the engine was told to require, in general and for administration, or None; bufsize: bytes
    of one answer that wait in memory before reading it stops.
    """

    def __init__(self, base_url: str, api_key: str | None, admin_key: str | None, bufsize: int) -> None:
        self._base, self._bufsize = base_url, bufsize
        self._keys = {False: api_key, True: admin_key or api_key}
        self._session: aiohttp.ClientSession | None = None

    def _client(self) -> aiohttp.ClientSession:
        if self._session is None:  # made here: it belongs to the event loop that runs the jobs
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=30),
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=10),
                read_bufsize=self._bufsize // 2,  # the client pauses at twice this size
                headers={"Accept-Encoding": "identity"})
        return self._session

    async def send(self, method: str, path: str, body: Any, *, admin: bool = False,
                   headers: Mapping[str, str] | None = None) -> Reply:
        headers = {**(headers or {}), **({"Authorization": f"Bearer {key}"} if (key := self._keys[admin]) else {})}
        data: bytes | AsyncIterator[bytes] | None = None
        if body is not None:
            if isinstance(body, (Pieces, Form)):
                headers["Content-Type"] = body.content_type
                if body.size is not None:
                    headers["Content-Length"] = str(body.size)
                data = body.each()
            else:
                headers["Content-Type"] = "application/json"
                data = await encoded(body)
        try:
            # encoded=True: the path comes from the route table and must reach the engine letter by letter.
            return _HttpReply(await self._client().request(
                method, URL(self._base + path, encoded=True), data=data, headers=headers, allow_redirects=False))
        except _FAILURES as error:
            raise _named(error) from error

    async def dial(self, path: str, headers: Mapping[str, str]) -> aiohttp.ClientWebSocketResponse:
        if key := self._keys[False]:
            headers = {**headers, "Authorization": f"Bearer {key}"}
        try:
            return await self._client().ws_connect(
                URL(self._base + path, encoded=True), headers=headers, max_msg_size=_MESSAGE,
                timeout=aiohttp.ClientWSTimeout(ws_close=2.0))
        except aiohttp.WSServerHandshakeError as error:
            raise JobError(f"The engine opens no session ({error.status}).", type="server_error",
                           code=503 if error.status == 503 else 502) from error
        except _FAILURES as error:
            raise _named(error) from error

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()


class _HttpReply:
    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self._response, self._content = response, response.content
        self.status, self.content_type = response.status, response.content_type
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._content.on_eof(self._end)

    def _end(self) -> None:
        if not self.ended.done():
            self.ended.set_result(None)

    def arrived(self) -> bytes:
        try:
            return self._content.read_nowait()
        except _FAILURES as error:
            raise _named(error) from error

    async def some(self) -> bytes:
        try:
            return await self._content.readany()
        except _FAILURES as error:
            raise _named(error) from error

    async def whole(self) -> bytes:
        try:
            return await self._response.read()
        except _FAILURES as error:
            raise _named(error) from error

    def over(self) -> bool:
        return self._content.at_eof()

    def pausable(self) -> asyncio.Transport | None:
        connection = self._response.connection  # none once the answer has ended
        transport = connection.transport if connection else None
        return None if transport is None or transport.is_closing() else transport

    def close(self) -> bool:
        if self.over():
            return True
        self._response.close()
        return False
