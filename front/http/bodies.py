"""Bodies of requests: read when there is room for them, at a pace that nobody draws out, and unpacked with a limit."""

from __future__ import annotations

import asyncio
import contextlib
import json
import zlib
from collections.abc import AsyncIterator, Awaitable
from typing import Any, TypeVar

from aiohttp import hdrs, web
from aiohttp.http import HttpVersion11

from answer.holding import Room
from front.http.gate import Full
from front.http.manners import Manners
from utils import JobError

_T = TypeVar("_T")
_SMALL = 2**16  # bytes of a body that need no room: as much lies in a connection's buffer anyway
_AT_ONCE = 2**18  # bytes of a body that are read as JSON in no time
_LIKELY = 64  # times as large as it came a body may be expected to be
_WRAPPED = {"gzip": 31, "x-gzip": 31, "deflate": 15}  # zlib's wbits


class Bodies:
    """The bodies of all requests. patience: seconds that a large one waits for room."""

    def __init__(self, manners: Manners, patience: float):
        self._manners, self._patience = manners, patience
        self.room = Room(manners.held_bytes)

    @contextlib.asynccontextmanager
    async def of(self, request: web.Request) -> AsyncIterator[bytes]:
        """A request's body, whose room is held until the end of the block. Nothing of it is asked for or read before
        it has room. Raises JobError 400, 408, 413 or 415, and Full."""
        if not request.body_exists:
            yield b""
            return
        size, packed = self._announced(request)
        taken = await self._take(size) if size > _SMALL else 0
        try:
            raw = await self._read(request)
            if packed:
                raw = await _aside(len(raw) * _LIKELY, unpacked, raw, packed, self._manners.body_bytes)
            spare = max(0, taken - len(raw))
            taken -= spare
            self.room.give(spare)
            yield raw
        finally:
            self.room.give(taken)

    def arriving(self, request: web.Request) -> Arrival:
        """One that is handed on while it arrives, and so needs no room. It cannot be packed."""
        if self._announced(request)[1]:
            raise JobError("A form cannot be compressed: leave Content-Encoding out.", code=415)
        return Arrival(request, self._manners)

    def _announced(self, request: web.Request) -> tuple[int, str]:
        """(bytes it may come to need, how it is packed) by what its head says."""
        most, length = self._manners.body_bytes, request.content_length
        if length is not None and length > most:
            raise self._too_large()
        packed = request.headers.get(hdrs.CONTENT_ENCODING, "").strip().lower()
        if packed in ("", "identity"):
            return most if length is None else length, ""
        if packed not in _WRAPPED:
            raise JobError("Content-Encoding can be gzip or deflate here, or left out.", code=415)
        return most, packed

    async def _take(self, size: int) -> int:
        try:
            return await self.room.take_within(size, self._patience)
        except TimeoutError:
            raise Full(self._patience, "The bodies of other requests take all the memory that there is for bodies "
                                       "(HTTP_BODY_MEMORY_MB)") from None

    async def _read(self, request: web.Request) -> bytes:
        if request.content.is_eof():  # it came with its head, as most do
            return request.content.read_nowait()
        arrival, pieces = Arrival(request, self._manners), []
        await arrival.ask()
        while data := await arrival.wait(request.content.readany()):
            arrival.count(len(data))
            pieces.append(data)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def _too_large(self) -> JobError:
        return _too_large(self._manners.body_bytes)


class Arrival:
    """How one body arrives. Its clock stands still while nobody waits for more of it."""

    def __init__(self, request: web.Request, manners: Manners):
        self._request, self._manners = request, manners
        self._received, self._spent = 0, 0.0

    async def ask(self) -> None:
        """Have it sent, by a client that waits for the word."""
        if hdrs.EXPECT in self._request.headers and self._request.version >= HttpVersion11:
            await self._request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            self._request.writer.output_size = 0  # the answer's head is still to come

    async def wait(self, more: Awaitable[_T]) -> _T:
        """What reading `more` of it gives. Raises JobError 400 and 408."""
        clock = asyncio.get_running_loop().time
        began = clock()
        try:
            async with asyncio.timeout(self._manners.due(self._received) - self._spent):
                return await more
        except TimeoutError:
            raise self._too_slow() from None
        except web.RequestPayloadError:
            raise JobError("The body does not fit its length or its Transfer-Encoding.") from None
        finally:
            self._spent += clock() - began

    def count(self, size: int) -> None:
        """So many bytes came. Raises JobError 413."""
        self._received += size
        if self._received > self._manners.body_bytes:
            raise _too_large(self._manners.body_bytes)

    def _too_slow(self) -> JobError:
        most, rate = self._manners.body_seconds, self._manners.body_rate
        return JobError(f"The body did not arrive in time: {self._received} bytes came. It has {most:g} s, and has to "
                        f"come at {rate // 1024} KiB a second or more.", type="timeout_error", code=408)


def unpacked(raw: bytes, packed: str, most: int) -> bytes:
    """What was compressed as `packed` says, of at most so many bytes. Raises JobError 400 or 413."""
    # Some clients send deflate without its head: RFC 9110, 8.4.1.2.
    bare = packed == "deflate" and raw[:1] and raw[0] & 0xF != 8
    inflater = zlib.decompressobj(-15 if bare else _WRAPPED[packed])
    try:
        whole = inflater.decompress(raw, most + 1)
    except zlib.error:
        raise _unfit() from None
    if len(whole) > most:
        raise _too_large(most, " when it is unpacked")
    if not inflater.eof or inflater.unused_data:
        raise _unfit()
    return whole


def _too_large(most: int, when: str = "") -> JobError:
    return JobError(f"The body is larger than {most / 1e6:g} MB{when} (MAX_INPUT_MB); RunPod's load balancer takes 30.",
                    type="request_too_large", code=413)


def _unfit() -> JobError:
    return JobError("The body does not fit its Content-Encoding.")


async def json_of(raw: bytes) -> Any:
    """The JSON value of a body, None for an empty one. Raises JobError for what is none."""
    try:
        return await _aside(len(raw), json.loads, raw) if raw.strip() else None
    except (ValueError, RecursionError):
        raise JobError("The body is not JSON.", param="body") from None


async def _aside(size: int, call: Any, *arguments: Any) -> Any:
    """Large ones beside the event loop, which has everybody else's streams."""
    return await asyncio.to_thread(call, *arguments) if size > _AT_ONCE else call(*arguments)
