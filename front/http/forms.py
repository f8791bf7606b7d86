"""Forms with a file (multipart/form-data): the fields are read, the file is handed on while it arrives."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import AsyncIterator, Iterator
from typing import Any

from aiohttp import (
    BadContentDispositionHeader,
    BadContentDispositionParam,
    BodyPartReader,
    MultipartReader,
    web,
)
from aiohttp.http_exceptions import HttpProcessingError

from answer.forms import Upload
from answer.media_types import HEAD, names_others
from front.http.bodies import Arrival
from job import route_table, transcription
from utils import JobError

_FIELD = 2**16  # bytes of one field
_FIELDS = 64
_PIECE = 2**16  # bytes of the file that are handed on at once
_KINDS = "audio/", "video/"
for _warning in (BadContentDispositionHeader, BadContentDispositionParam):  # they quote the caller, in the log
    warnings.simplefilter("ignore", _warning)


def brought(request: web.Request) -> bool:
    """Whether a request brings a form. Raises JobError 404 and 415 where none is taken."""
    if request.content_type != "multipart/form-data":
        return False
    path, _ = route_table.match(request.raw_path)
    if path != transcription.PATH:
        raise JobError(f"A form is taken by {transcription.PATH} alone: send JSON.", code=415)
    return True


async def read(request: web.Request, arrival: Arrival) -> dict[str, Any]:
    """The job's body for a form: its fields, texts or lists of them, and `file`, an Upload. What stands behind the file
    is added to it when the file has been read. Raises JobError 400, 408 and 413."""
    await arrival.ask()
    with _proper():
        reader = await request.multipart()
    body: dict[str, Any] = {}
    form = _Form(reader, arrival, body)
    while part := await form.part():
        if part.filename is not None or part.name == "file":
            late: dict[str, list[str]] = {}
            kind = part.headers.get("Content-Type", "")
            body["file"] = Upload(part.filename or "audio", kind if kind.startswith(_KINDS) and kind.isprintable()
                                  else "application/octet-stream", form.file(part, late), late)
            break
        form.keep(part, await form.text(part))
    return body


class _Form:
    def __init__(self, reader: MultipartReader, arrival: Arrival, body: dict[str, Any]):
        self._reader, self._arrival, self._body = reader, arrival, body
        self._parts = 0

    async def part(self) -> BodyPartReader | None:
        """The next part, None at the end."""
        with _proper():
            part = await self._arrival.wait(self._reader.next())
            self._parts += 1
            if part is None:
                return None
            if not isinstance(part, BodyPartReader) or not part.name or self._parts > _FIELDS:
                raise ValueError
            return part

    async def text(self, part: BodyPartReader) -> str:
        """A field's value."""
        value = b""
        async for piece in self._pieces(part):
            value += piece
            if len(value) > _FIELD:
                raise JobError(f"The form's field `{(part.name or '')[:40]}` is too long for one without a file.")
        return value.decode("utf-8", "replace")

    def keep(self, part: BodyPartReader, value: str) -> None:
        """Add a field to the body; of one that may stand there often, to its list."""
        name = part.name or ""
        if name.endswith("[]"):
            self._body.setdefault(name, []).append(value)
        else:
            self._body[name] = transcription.flag(name, value) if name == "stream" else value

    async def file(self, part: BodyPartReader, late: dict[str, list[str]]) -> AsyncIterator[bytes]:
        """The file's bytes; then the rest of the form is read."""
        head, judged = b"", False
        async for piece in self._pieces(part):
            head = head if judged else head + piece
            if not judged and (judged := len(head) >= HEAD):
                _judge(head)
            yield piece
        if not judged:  # the engine looks at nothing before it has the end
            _judge(head)
        if not head:
            raise JobError("`file` is empty.", param="file")
        while after := await self.part():
            if after.filename is not None:
                raise JobError("The form holds a second file: give one.", param=after.name)
            value = await self.text(after)
            self.keep(after, value)
            late.setdefault(after.name or "", []).append(value)

    async def _pieces(self, part: BodyPartReader) -> AsyncIterator[bytes]:
        with _proper():
            while piece := await self._arrival.wait(part.read_chunk(_PIECE)):
                self._arrival.count(len(piece))
                yield piece


def _judge(head: bytes) -> None:
    if names_others(head):
        raise JobError("`file` is a playlist or a program, and not a medium.", param="file")


@contextlib.contextmanager
def _proper() -> Iterator[None]:
    """What the reader raises for a form that is none, or not whole, in words."""
    try:
        yield
    except (ValueError, AssertionError, LookupError, RuntimeError, web.HTTPException, HttpProcessingError):
        raise JobError("The form is not whole, or is no multipart/form-data with names and boundaries.") from None
