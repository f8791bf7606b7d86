"""A request whose media the worker reads itself, instead of the engine.

What is read waits in memory until the job has ended: the request may have to be sent again.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import contextlib
import dataclasses
import functools
import json
import re
import secrets
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from answer import files
from answer.encoding import encoded, is_large
from answer.fetch import Allowance, DataUrl, Fetcher, Refused, Wanted, data_url
from answer.forms import Form
from answer.holding import Room
from answer.request import Pieces, Request
from engine import Served
from job import media
from job.media import Found, Reference, Way
from settings.media import MediaSettings
from utils import JobError

# Of a body and its media, by where they stand in it: what is sent.
Make = Callable[[dict[str, Any], dict[Way, DataUrl]], Awaitable[Pieces | Form]]
_KIND = re.compile(rb"[\w.+-]+/[\w.+-]+")


class MediaReader:
    """`ready = await reader.of(request, held)`: the same request, with what its media need before it can be sent; when
    `held` is closed they are let go.

    fetcher: makes the client for addresses; for tests. room: the memory for what is read.
    """

    def __init__(self, settings: MediaSettings, fetcher: Callable[..., Fetcher] = Fetcher):
        self.room, self._make = Room(settings.memory_bytes), fetcher
        self.hold_to(settings)

    def hold_to(self, settings: MediaSettings) -> None:
        """Read by these settings from now on."""
        self.settings = settings
        self._fetcher = self._make(file_bytes=settings.file_bytes, seconds=settings.seconds,
                                   redirects=settings.redirects, domains=settings.domains)

    def learn(self, engine: Served) -> None:
        """Take the allowed domains and the size of one medium from a server that may have them from a file of its own.
        """
        told: Any = None
        with contextlib.suppress(ValueError):
            told = json.loads(engine.get("/server_info")[1])
        domains, size = (told.get(name) if isinstance(told, dict) else None
                         for name in ("allowed_media_domains", "media_url_max_file_size_mb"))
        if isinstance(domains, list) and domains:
            self.hold_to(dataclasses.replace(self.settings, domains=tuple(map(str, domains))))
        if type(size) is int and size >= 0:
            self.hold_to(dataclasses.replace(self.settings, file_bytes=size * 2**20))

    async def of(self, request: Request, held: contextlib.ExitStack) -> Request:
        """Raises JobError 400 for media that are refused by their spelling alone. Nothing is read yet.

        No context manager by a generator: those of a job that was dropped half done are closed in any order, and one
        that finds its own closed already breaks.
        """
        if self.settings.by_engine and not request.form or not request.body:
            return request
        search = functools.partial(media.find, request.path, request.body, self.settings.folders)
        found = await asyncio.to_thread(search) if is_large(request.body) else search()
        if len(found.references) > self.settings.items:
            raise JobError(f"The job names {len(found.references)} media by address; the limit is "
                           f"{self.settings.items} (MAX_MEDIA_ITEMS).", param=found.references[0].field)
        make = functools.partial(formed, request.form) if request.form else spliced
        if not found.references:
            body = media.replaced(request.body, found.changes) if found.changes else request.body
            if request.form:
                made = await make(body, {("file",): [body["file"].encode()]})
                return dataclasses.replace(request, prepare=lambda: _ready(made))
            return dataclasses.replace(request, body=body)
        reading = _Reading(request.body, found, self.settings, self.room, self._fetcher, make)
        held.callback(reading.release)
        return dataclasses.replace(request, prepare=reading.body)


class _Reading:
    """The media of one job: read once, however often its request is sent."""

    def __init__(self, body: dict[str, Any], found: Found, settings: MediaSettings, room: Room, fetcher: Fetcher,
                 make: Make):
        self._given, self._found, self._settings, self._room, self._fetcher = body, found, settings, room, fetcher
        self._make = make
        self._taken = 0
        self._body: Pieces | Form | None = None

    async def body(self) -> Pieces | Form:
        """The body with every medium in it, as JSON in pieces, or as a form. Raises JobError."""
        if self._body is None:
            try:
                self._body = await self._read()
            except BaseException:
                self.release()
                raise
        return self._body

    def release(self) -> None:
        """Give back the memory; the body is not to be used again."""
        self._room.give(self._taken)
        self._taken, self._body = 0, None

    async def _read(self) -> Pieces | Form:
        most, single = self._settings.job_bytes, self._settings.file_bytes
        self._taken = await self._room.take(min(most, single * len(self._found.references) or most))
        allowance = Allowance(most, f"is more than may be read for one job: {most / 1e6:g} MB (MAX_MEDIA_MB)")
        uses: dict[tuple[str, str], list[Reference]] = {}
        for reference in self._found.references:
            uses.setdefault((reference.kind, reference.name), []).append(reference)
        read = {key: await self._file(places, allowance) for key, places in uses.items() if key[0] == "file"}
        fetched = await self._fetcher.fetch(
            [Wanted(name, places[0].field, len(places)) for (kind, name), places in uses.items() if kind == "address"],
            allowance)
        read |= {("address", name): pieces for name, pieces in fetched.items()}
        spare = max(0, self._taken - (most - allowance.left))
        self._taken -= spare
        self._room.give(spare)
        return await self._make(media.replaced(self._given, self._found.changes), {
            place.at: pieces[1:] if place.bare else pieces for key, pieces in read.items() for place in uses[key]})

    async def _file(self, places: list[Reference], allowance: Allowance) -> DataUrl:
        field = places[0].field
        try:
            data = await asyncio.to_thread(files.read, places[0].name, self._settings.folders,
                                           min(self._settings.file_bytes or allowance.left, allowance.left))
            allowance.spend(len(data) * len(places))
            return data_url(data, "", [base64.b64encode(data)])
        except (files.Closed, Refused) as error:
            raise JobError(f"`{field}` {error}.", param=field) from None


async def _ready(form: Pieces | Form) -> Pieces | Form:
    return form


async def formed(form: Callable[[str, Sequence[bytes]], Form], body: dict[str, Any], contents: dict[Way, DataUrl]
                 ) -> Form:
    """The form whose file is the one that `contents` has as a `data:` URL. Raises JobError 400."""
    [pieces] = contents.values()
    return form(*await asyncio.to_thread(raw, pieces))


def raw(pieces: DataUrl) -> tuple[str, list[bytes]]:
    """(media type, content) of a `data:` URL. Raises JobError 400 for one that is not base64."""
    head, comma, first = pieces[0].partition(b",")
    kind, *parameters = head.removeprefix(b"data:").split(b";")
    encoded = [first, *pieces[1:]]
    try:
        if not comma or b"base64" not in parameters:
            raise ValueError
        content = [binascii.a2b_base64(b"".join(piece.split()), strict_mode=True) for piece in encoded]
    except ValueError:
        raise JobError("`file` is not base64, nor a `data:` URL of it.", param="file") from None
    if not any(content):
        raise JobError("`file` is empty.", param="file")
    return (kind.decode() if _KIND.fullmatch(kind) else "application/octet-stream"), content


async def spliced(body: dict[str, Any], contents: dict[Way, DataUrl]) -> Pieces:
    """`body` as JSON in pieces, with `contents`, which need no escaping, for the texts in those places. Writing them
    into the body would take two more copies of each, and as long the event loop."""
    mark = secrets.token_hex(16)  # nobody can have written that
    marked = media.replaced(body, {at: f"{mark}{number:08}" for number, at in enumerate(contents)})
    first, *others = (await encoded(marked)).split(mark.encode())
    pieces, ordered = [first], list(contents.values())
    for other in others:
        pieces += [*ordered[int(other[:8])], other[8:]]
    return Pieces(pieces)
