"""Bodies that are forms (multipart/form-data): fields, and one file that may still be on its way here."""

from __future__ import annotations

import dataclasses
import re
import secrets
from collections.abc import AsyncIterator, Callable, Sequence

from utils import JobError

Fields = Sequence[tuple[str, str]]
_UNFIT = re.compile(r"[^\w. -]")  # in a name of a file, which the engine reads its kind from at most


@dataclasses.dataclass
class Upload:
    """A file that is handed on while it arrives. content: its bytes, once; raises JobError. late: fields that came
    behind it, filled once all of it was given."""

    name: str
    media_type: str
    content: AsyncIterator[bytes]
    late: dict[str, list[str]] = dataclasses.field(default_factory=dict)


class Form:
    """A form with `fields`, one file, and what `after` gives when the file has ended.

    file: its content, in pieces that are here, or an `Upload`, with which the form can be sent only once. spent: it
    cannot be sent again; error: why it broke off on the way here.
    """

    def __init__(self, fields: Fields, file: Sequence[bytes] | Upload, media_type: str = "application/octet-stream",
                 after: Callable[[], Fields] = tuple) -> None:
        self._fields, self._file, self._after = fields, file, after
        self._boundary = secrets.token_hex(16)
        self.content_type = f"multipart/form-data; boundary={self._boundary}"
        self.spent, self.error = False, None  # type: bool, JobError | None
        name = _UNFIT.sub("_", file.name)[-100:] if isinstance(file, Upload) else "audio"
        self._head = "".join(map(self._field, fields)).encode() + (
            f"--{self._boundary}\r\nContent-Disposition: form-data; name=\"file\"; filename=\"{name}\"\r\n"
            f"Content-Type: {file.media_type if isinstance(file, Upload) else media_type}\r\n\r\n").encode()
        self._tail = f"--{self._boundary}--\r\n".encode()
        self.size = None if isinstance(file, Upload) else (
            len(self._head) + sum(map(len, file)) + len(b"\r\n") + len(self._tail))

    def _field(self, field: tuple[str, str]) -> str:
        return f"--{self._boundary}\r\nContent-Disposition: form-data; name=\"{field[0]}\"\r\n\r\n{field[1]}\r\n"

    async def each(self) -> AsyncIterator[bytes]:
        """Its pieces in turn."""
        yield self._head
        try:
            if isinstance(self._file, Upload):
                self.spent = True
                async for piece in self._file.content:
                    yield piece
            else:
                for piece in self._file:
                    yield piece
            late = "".join(map(self._field, self._after()))
        except JobError as error:  # the client of the network hides it
            self.error = error
            raise
        yield b"\r\n" + late.encode("utf-8", "replace")
        yield self._tail
