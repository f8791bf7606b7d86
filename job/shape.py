"""What a request asks the engine to read: one description of its prompts, on which routes, hazards and limits decide.

Pure, and cheap to make: nothing is walked before it is asked for. How each route reads its fields follows SGLang 0.5.23
(managers/io_struct.py, entrypoints/openai/protocol.py).
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator, Sequence
from typing import Any, Literal

Kind = Literal["text", "ids", "embeds", "parts", "media", "conversation", "none"]

_NATIVE = ("text", "input_ids", "input_embeds")
_MEDIA_DATA = ("image_data", "video_data", "audio_data")
# Where a route's prompts stand; of several fields the first that is set.
_FIELDS: dict[str, tuple[str, ...]] = {
    "/generate": _NATIVE, "/encode": (*_NATIVE[:2], *_MEDIA_DATA), "/classify": (*_NATIVE[:2], *_MEDIA_DATA),
    "/v1/completions": ("prompt",), "/v1/embeddings": ("input",), "/v1/classify": ("input",), "/v1/score": ("items",),
    "/v1/rerank": ("documents",), "/rerank": ("documents",), "/v2/rerank": ("documents",),
    "/v1/tokenize": ("prompt", "messages"), "/tokenize": ("prompt", "messages"),
    "/v1/detokenize": ("tokens",), "/detokenize": ("tokens",), "/invocations": ("messages", "prompt"),
    "/v1/chat/completions": ("messages",), "/v1/messages": ("messages",), "/v1/messages/count_tokens": ("messages",),
    "/v1/responses": ("input",), "/v1/decisions": ("input",), "/v1/systemone": ("state",),
}
# Of a route that the operator opened, nothing is known.
_ANY = (*_NATIVE, "prompt", "input", "items", "documents", "tokens", "messages")
# One conversation, whatever its field is a list of.
_CONVERSATIONS = ("/v1/responses", "/v1/decisions", "/v1/systemone")
# Read before, or with, each prompt.
_BESIDE = {"/v1/score": "query", "/v1/rerank": "query", "/rerank": "query", "/v2/rerank": "query"}
# A content part of one of these types holds its media in one of these fields. Only there: the same names inside a
# tool's arguments or schema are text.
_MEDIA_PARTS = frozenset((
    "image", "image_url", "input_image", "video", "video_url", "input_video", "audio", "audio_url", "input_audio",
    "file", "input_file", "document", "computer_screenshot", "image_generation_call", "reasoning", "redacted_thinking"))
_MEDIA_FIELDS = frozenset((
    "image", "image_url", "video", "video_url", "audio", "audio_url", "input_audio", "url", "data", "source", "file",
    "file_data", "file_url", "result", "encrypted_content"))
_CONTENT = ("content", "output")  # of a message or a part, which hold parts again


@dataclasses.dataclass(frozen=True)
class Prompts:
    """The prompts of one request.

    field: the body's field that holds them, "" without any; listed: they stand in a list that the engine takes for a
    batch, though it may hold only one; values: one entry for each prompt, as in the body; beside: what is read with
    each of them, as a query with each document. kind says what an entry of `values` is: "text" a string (or a pair of
    them), "ids" a list of token ids, "embeds" a matrix, "parts" an object with `text` and media, "media" pictures
    without text, "conversation" everything that is said in one, "none" nothing that a prompt could be.
    """

    field: str
    kind: Kind
    listed: bool
    values: Sequence[Any]
    beside: Any = None

    @property
    def count(self) -> int:
        """Prompts that the engine makes of it, at least 1."""
        return max(1, len(self.values))

    def strings(self) -> Iterator[Iterator[tuple[str, bool]]]:
        """For each prompt every string of it, each with whether it is media: an address or an encoded file."""
        for value in () if self.kind in ("ids", "embeds") else self.values:
            if self.kind == "media":
                yield _as_media(value)
            elif self.kind == "parts" and isinstance(value, dict):
                media = (_as_media(inner) for name, inner in value.items() if name != "text")
                yield itertools.chain(strings(value.get("text")), *media)
            else:
                yield strings([self.beside, value])

    def texts(self) -> Iterator[Iterator[str]]:
        """For each prompt the strings that are tokenized."""
        for prompt in self.strings():
            yield (text for text, media in prompt if not media)

    def media(self) -> Iterator[str]:
        """Every address or encoded file in a prompt."""
        for prompt in self.strings():
            yield from (text for text, media in prompt if media)

    def ids(self) -> Iterator[Sequence[Any]]:
        """For each prompt that is given as token ids, these."""
        if self.kind == "ids":
            yield from self.values


def known(path: str) -> bool:
    """Whether `path` is a route whose fields are known here."""
    return path in _FIELDS


def of(path: str, body: dict[str, Any]) -> Prompts:
    """The description of a request for `path`, whatever its body holds."""
    field = next((name for name in _FIELDS.get(path, _ANY) if body.get(name) is not None), "")
    value, beside = body.get(field), body.get(_BESIDE.get(path, ""))
    if field == "messages" or path in _CONVERSATIONS and field:
        return Prompts(field, "conversation", False, (value,))
    if field in _MEDIA_DATA:
        # A flat list is one request with several (io_struct.py, normalize_batch_and_arguments).
        batch = value if isinstance(value, list) and all(isinstance(entry, list) for entry in value) else []
        return Prompts(field, "media", bool(batch), batch or (value,))
    if not isinstance(value, list) or not value:
        return Prompts(field, "text" if isinstance(value, str) else "none", False, (value,) if field else (), beside)
    first = value[0]
    if field == "input_embeds":
        # The engine looks at the first number of the first row (io_struct.py, _determine_batch_size).
        matrix = not (isinstance(first, list) and first and isinstance(first[0], list))
        return Prompts(field, "embeds", not matrix, (value,) if matrix else value)
    if isinstance(first, (int, float)):
        return Prompts(field, "ids", False, (value,), beside)
    kind: Kind = "parts" if isinstance(first, dict) and field == "input" else "text"
    if isinstance(first, list) and field not in ("text", "documents"):
        kind = "ids"
    return Prompts(field, kind, True, value, beside)


def strings(value: Any) -> Iterator[tuple[str, bool]]:
    """Every string in a message, a part or a list of them, names of fields too, each with whether it is media."""
    stack = [(value, True)]  # with whether a content part may stand here
    while stack:
        value, part = stack.pop()
        if isinstance(value, str):
            yield value, False
        elif isinstance(value, list):
            stack.extend((inner, part) for inner in value)
        elif isinstance(value, dict):
            kind = value.get("type")
            medium = part and isinstance(kind, str) and kind in _MEDIA_PARTS
            for name, inner in value.items():
                yield name, False
                if medium and name in _MEDIA_FIELDS and not _is_text(inner):
                    yield from _as_media(inner)
                else:
                    stack.append((inner, part and name in _CONTENT))


def opaque(value: Any) -> Iterator[tuple[str, bool]]:
    """Every string in a value in which nothing is media: a tool's schema, arguments."""
    stack = [value]
    while stack:
        value = stack.pop()
        if isinstance(value, str):
            yield value, False
        elif isinstance(value, list):
            stack.extend(value)
        elif isinstance(value, dict):
            stack.extend(value)
            stack.extend(value.values())


def _as_media(value: Any) -> Iterator[tuple[str, bool]]:
    return ((text, True) for text, _ in opaque(value))


def _is_text(source: Any) -> bool:
    """Anthropic's documents may carry their text where others carry an encoded file."""
    return isinstance(source, dict) and source.get("type") in ("text", "content")
