"""All that the engine's side knows of a job: one HTTP request. Pure."""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from typing import Any

from answer.forms import Form


@dataclasses.dataclass(frozen=True)
class Request:
    """One HTTP request for the engine. `path` is ready to use; `body` is None for a read. `rids` are the ids under
    which the engine knows its parts, for aborting them. `template_texts`: prompts that the engine's chat template
    is to be applied to first, their token ids then taking the place of `body["text"]`. `openai`: the caller is a
    client of an OpenAI route, behind RunPod's gateway. `reshape` makes the job's answer of the engine's whole one.
    `notes` are lines for the debug log. `prepare`: gives the body to send in place of `body`, as JSON in pieces, when
    something has to be read for it first; asked before each attempt, it may take its time and raise JobError.
    `before`: awaited before each attempt with the number of the engine's life, for what the engine must have by then;
    False when that life ended meanwhile. It may take its time and raise JobError, which is final.
    `lines`: makes, for each stream anew, what turns its chunks into the job's own; the text that it gives may be empty.
    `upload`: the body, where it is a form whose file is still on its way; `form`: makes the body of the media type and
    the content of its `file`, where it is a form whose file has to be read first.
    `headers`: what the caller sent along for the engine."""

    method: str
    path: str
    body: dict[str, Any] | None = None
    rids: tuple[str, ...] = ()
    template_texts: tuple[str, ...] = ()
    one_text: bool = True
    openai: bool = False
    reshape: Callable[[Any], Any] | None = None
    notes: tuple[str, ...] = ()
    prepare: Callable[[], Awaitable[Pieces | Form]] | None = None
    before: Callable[[int], Awaitable[bool]] | None = None
    upload: Form | None = None
    form: Callable[[str, Sequence[bytes]], Form] | None = None
    lines: Callable[[], Callable[[str], str]] | None = None
    headers: Mapping[str, str] = dataclasses.field(default_factory=dict)

    @property
    def streams(self) -> bool:
        return self.body is not None and self.body.get("stream") is True


class Pieces:
    """A body that is JSON already, in pieces: large ones are not put together, which would take as much memory again,
    and hold up the event loop for as long."""

    content_type = "application/json"

    def __init__(self, pieces: Sequence[bytes]) -> None:
        self._pieces, self.size = pieces, sum(map(len, pieces))

    def __bytes__(self) -> bytes:
        return b"".join(self._pieces)

    async def each(self) -> AsyncIterator[bytes]:
        """The pieces in turn; any number of times, for a body may have to be sent again."""
        for piece in self._pieces:
            yield piece
