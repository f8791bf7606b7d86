"""Media from the internet, fetched for one job beside each other, as `data:` URLs in pieces.

The one place where an address from a job is opened, and all of it assumes the worst of the address and of the server
behind it. Where a connection goes is judged by the numeric address of its socket, when it is made, for every redirect
anew: no name, spelling or second answer of a name server comes after that.
"""

from __future__ import annotations

import asyncio
import binascii
import dataclasses
import re
import socket
from collections.abc import Callable, Sequence

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from answer.addresses import host_name, is_public
from answer.media_types import HEAD, media_type, names_others
from utils import JobError, log

_CONNECT = 10.0  # seconds to one address
_BLOCK = 2**16  # bytes that are encoded at once
_REDIRECTS = (301, 302, 303, 307, 308)
# With whatever else a client may have written, an address is quoted first; those that are whole stay letter by letter,
# for they may be signed.
_WHOLE = re.compile(r"([A-Za-z0-9._~:/?#\[\]@!$&'()*+,;=-]|%[0-9A-Fa-f]{2})+")
_UNWRITABLE = re.compile(r"[\x00-\x1f\x7f\\]")
# One text for every way in which an address leads nowhere: whether a name or a host exists inside is nobody's business.
_UNREACHED = "cannot be fetched: its host has no public address that answers"


@dataclasses.dataclass(frozen=True)
class Wanted:
    """One address that a job names. field: where it does so first; uses: how often."""

    address: str
    field: str
    uses: int = 1


# A `data:` URL: what stands in front of the base64, and the base64. Never joined: it may be large, and a copy of it
# would hold up everybody else's job.
DataUrl = list[bytes]


class Allowance:
    """Bytes that the media of one job may still have; `text` says in an error what they may have had."""

    def __init__(self, left: int, text: str):
        self.left, self.text = left, text

    def spend(self, amount: int) -> None:
        """Raises Refused once there is nothing left."""
        self.left -= amount
        if self.left < 0:
            raise Refused(self.text)


class Refused(Exception):
    """A medium that is not handed on; the text ends the sentence that begins with its field."""


class _PublicResolver(AbstractResolver):
    """The inner resolver's answers without the addresses that are not public."""

    def __init__(self, inner: AbstractResolver, public: Callable[[str], bool]):
        self._inner, self._public = inner, public

    async def resolve(self, host: str, port: int = 0,
                      family: socket.AddressFamily = socket.AF_INET) -> list[ResolveResult]:
        found = [entry for entry in await self._inner.resolve(host, port, family) if self._public(entry["host"])]
        if not found:
            raise OSError(None, "no public address")
        return found

    async def close(self) -> None:
        await self._inner.close()


class Fetcher:
    """Fetches with the worker's rules. file_bytes: the largest medium, 0 for no limit of its own; seconds: all media of
    one job together; parallel: how many of one job at once; domains: the only hosts, empty for every one.

    resolver and public are for tests, which have no public addresses; no setting leads to them.
    """

    def __init__(self, *, file_bytes: int, seconds: float, redirects: int, parallel: int = 16,
                 domains: Sequence[str] = (), resolver: Callable[[], AbstractResolver] = aiohttp.ThreadedResolver,
                 public: Callable[[str], bool] = is_public):
        self._file_bytes, self._seconds, self._redirects = file_bytes, seconds, redirects
        self._parallel, self._domains = parallel, frozenset(map(host_name, domains))
        self._resolver, self._public = resolver, public

    async def fetch(self, wanted: Sequence[Wanted], allowance: Allowance) -> dict[str, DataUrl]:
        """{address: `data:` URL}. Raises JobError 400, naming the field, for the first that fails; the others end."""
        fetched: dict[str, DataUrl] = {}
        slots = asyncio.Semaphore(self._parallel)

        async def one(session: aiohttp.ClientSession, entry: Wanted) -> None:
            async with slots:
                try:
                    fetched[entry.address] = await self._one(session, entry, allowance)
                except Refused as refused:
                    raise JobError(f"`{entry.field}` {refused}.", param=entry.field) from None

        try:
            async with self._session() as session, asyncio.timeout(self._seconds), asyncio.TaskGroup() as group:
                for entry in wanted:
                    group.create_task(one(session, entry))
        except BaseExceptionGroup as failed:
            raise _first(failed) from None
        except TimeoutError:
            late = next((entry.field for entry in wanted if entry.address not in fetched), wanted[0].field)
            raise JobError(f"`{late}` was not fetched within {self._seconds:g} s (MEDIA_FETCH_TIMEOUT).",
                           param=late) from None
        return fetched

    def _session(self) -> aiohttp.ClientSession:
        # A connection serves one request, and no name is remembered: each is judged anew.
        connector = aiohttp.TCPConnector(
            limit=0, force_close=True, use_dns_cache=False, socket_factory=self._socket,
            resolver=_PublicResolver(self._resolver(), self._public))
        return aiohttp.ClientSession(
            connector=connector, cookie_jar=aiohttp.DummyCookieJar(), trust_env=False, auto_decompress=False,
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT),
            headers={"Accept": "*/*", "Accept-Encoding": "identity", "User-Agent": "worker-sglang"})

    def _socket(self, where: tuple[int, int, int, str, tuple[str, int]]) -> socket.socket:
        """The socket for an address that is about to be connected to, whether a resolver or a literal gave it."""
        family, kind, protocol, _, address = where
        if not self._public(address[0]) or len(address) == 4 and address[3]:
            raise OSError(None, "no public address")
        return socket.socket(family, kind, protocol)

    async def _one(self, session: aiohttp.ClientSession, entry: Wanted, allowance: Allowance) -> DataUrl:
        try:
            url = self._checked(_parsed(entry.address))
            for _ in range(self._redirects + 1):
                async with session.get(url, allow_redirects=False) as response:
                    location = response.headers.get("Location")
                    if response.status not in _REDIRECTS or location is None:
                        return await self._content(response, entry, allowance)
                # What the caller gave for the first host is not for the next one.
                url = self._checked(url.join(_parsed(location))).with_user(None)
        except (Refused, asyncio.CancelledError):
            raise
        except aiohttp.ClientConnectorCertificateError:
            raise Refused("cannot be fetched: the certificate of its host is not valid") from None
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError, ValueError) as error:
            log(f"media: {type(error).__name__}", "debug")
            raise Refused(_UNREACHED) from None
        except Exception as error:  # the server's doing, whatever it is; its text may hold the address
            log(f"media: {type(error).__name__}", "debug")
            raise Refused("cannot be fetched: its host gave no proper answer") from None
        raise Refused(f"cannot be fetched: it is redirected more than {self._redirects} times (MAX_MEDIA_REDIRECTS)")

    def _checked(self, url: URL) -> URL:
        if url.scheme not in ("http", "https"):
            raise Refused("cannot be fetched: it leads to an address that is neither http nor https")
        try:
            host, _ = url.host, url.port
        except ValueError:
            host = None
        if not host:
            raise Refused("is not a proper http(s) address")
        if self._domains and host_name(host) not in self._domains:
            raise Refused("cannot be fetched: its host is not among ALLOWED_MEDIA_DOMAINS")
        return url

    async def _content(self, response: aiohttp.ClientResponse, entry: Wanted, allowance: Allowance) -> DataUrl:
        if not 200 <= response.status < 300:
            raise Refused(f"cannot be fetched: its host answered {response.status}")
        if response.headers.get("Content-Encoding", "identity").strip().lower() not in ("", "identity"):
            raise Refused("cannot be fetched: its host sends it compressed, which was not asked for")
        self._within(response.content_length or 0)
        head, waiting, size = bytearray(), bytearray(), 0
        encoded: DataUrl = []
        async for chunk in response.content.iter_chunked(2**16):
            size += len(chunk)
            self._within(size)
            allowance.spend(len(chunk) * entry.uses)
            if len(head) < HEAD:
                head += chunk
            waiting += chunk
            if len(waiting) >= _BLOCK:  # however small the parts are in which a server sends it
                whole = len(waiting) - len(waiting) % 3
                encoded.append(binascii.b2a_base64(waiting[:whole], newline=False))
                del waiting[:whole]
        return data_url(bytes(head), response.content_type, [*encoded, binascii.b2a_base64(waiting, newline=False)])

    def _within(self, size: int) -> None:
        if self._file_bytes and size > self._file_bytes:
            raise Refused(f"is larger than {self._file_bytes / 2**20:g} MiB (MEDIA_URL_MAX_FILE_SIZE_MB)")


def data_url(head: bytes, declared: str, encoded: DataUrl) -> DataUrl:
    """The `data:` URL of `encoded` (base64), whose first bytes are `head`. Raises Refused for what is no medium."""
    if not head:
        raise Refused("is empty")
    if names_others(head):
        raise Refused("is a playlist or a program, and not a medium")
    return [f"data:{media_type(head, declared)};base64,".encode(), *encoded]


def _parsed(text: str) -> URL:
    try:
        if _UNWRITABLE.search(text):
            raise ValueError
        return URL(text, encoded=_WHOLE.fullmatch(text) is not None)
    except ValueError:
        raise Refused("is not a proper http(s) address") from None


def _first(failed: BaseException) -> BaseException:
    return _first(failed.exceptions[0]) if isinstance(failed, BaseExceptionGroup) else failed
