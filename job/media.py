"""The media that a job's body names: found by field, sorted by what each is, and replaced.

Pure. Whatever names a medium leaves here as a `data:` URL, as an address or a file that the worker itself reads, or as
a JobError: so the engine opens nothing. What it would open, and from which fields, is in SGLang 0.5.23's srt/utils/
common.py (load_image, load_video, load_audio), in its entrypoints' protocols, and in the processors of single models,
which take objects as well.
"""

from __future__ import annotations

import binascii
import contextlib
import copy
import dataclasses
import posixpath
import re
from collections.abc import Iterator
from typing import Any, Literal
from urllib.parse import unquote

from answer.files import CLOSED
from answer.media_types import HEAD, media_type, names_others
from utils import JobError

Way = tuple[str | int, ...]  # from the body to a value: keys and positions

# Fields whose strings are media, on every route; lists of lists and objects are taken apart.
_NATIVE = ("image_data", "video_data", "audio_data")
# Fields with messages, items or documents, in which media are parts of a content.
_CONTENTS = ("messages", "system", "input", "query", "documents", "items", "instances")
# Here `input` and `state` are any JSON, rendered as text.
_OWN_FIELDS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "/v1/audio/transcriptions": (("file",), ()), "/v1/decisions": (("images",), ()), "/v1/systemone": (("images",), ())}
# Inside a part: what names a medium, and what holds further parts. A tool call's arguments are neither.
_MEDIA_KEYS = ("image_url", "video_url", "audio_url", "file_url", "image", "video", "audio", *_NATIVE)
_NESTED = ("content", "output")
# Inside an object that stands for one medium: a setting such as {"detail": "low"} names nothing, but what a key of the
# second kind holds does, and so does whatever looks like an address or a path.
_PLAIN_KEYS = ("detail", "format", "type", "content_hash", "modalities", "media_type", "mime_type", "dtype", "id")
_NAMING_KEY = re.compile(r"(.*_)?(url|uri|image|video|audio|path|file|source|src|data|bytes)s?", re.IGNORECASE)

_ENDS = "".join(map(chr, range(0x21)))  # what URL parsers take off at both ends
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]{0,30}):")
_BASE64 = re.compile(r"[A-Za-z0-9+/]+={0,2}")
_LOOKED_AT = 4096  # characters of a string that tell base64 from a path
_LONGEST_PATH = 8192  # characters, percent-encoded; Linux takes 4096 bytes
_OTHER = ("is neither an http(s) address, a `data:` URL nor base64. Other schemes are closed, and so are files outside "
          "the folders in ALLOWED_MEDIA_FOLDERS")


@dataclasses.dataclass(frozen=True)
class Reference:
    """A medium that has to be read. at: where the body names it; kind: how; name: the address, or an absolute path.
    bare: its place takes base64 alone, without the `data:` in front."""

    at: Way
    kind: Literal["address", "file"]
    name: str
    bare: bool = False

    @property
    def field(self) -> str:
        return spelled(self.at)


@dataclasses.dataclass
class Found:
    """What a body names: `references` are to be read, `changes` are new texts that are known already."""

    references: list[Reference] = dataclasses.field(default_factory=list)
    changes: dict[Way, str] = dataclasses.field(default_factory=dict)


def spelled(at: Way) -> str:
    """`messages[0].content[1].image_url.url`"""
    return "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in at).lstrip(".")


def find(path: str, body: dict[str, Any], folders: tuple[str, ...] = ()) -> Found:
    """The media in the body of a request to `path`; `folders` are those from which files may be read.

    Raises JobError 400, naming the field, for what is never handed to the engine.
    """
    found = Found()
    for at, text, bare in _named(path, body):
        _sort(found, at, text, bare, folders)
    return found


def replaced(body: dict[str, Any], changes: dict[Way, str]) -> dict[str, Any]:
    """`body` with new texts in places of it. What does not change is shared, and `body` stays as it is."""
    fresh = dict(body)
    copied: dict[Way, Any] = {}
    for at, text in changes.items():
        holder: Any = fresh
        for depth, key in enumerate(at[:-1], 1):
            if at[:depth] not in copied:
                copied[at[:depth]] = holder[key] = copy.copy(holder[key])
            holder = copied[at[:depth]]
        holder[at[-1]] = text
    return fresh


def _named(path: str, body: dict[str, Any]) -> Iterator[tuple[Way, str, bool]]:
    """(where, text, bare) of every text that the engine takes for a medium or for the name of one."""
    native, contents = _OWN_FIELDS.get(path, (_NATIVE, _CONTENTS))
    for name in native:
        yield from _media((name,), body.get(name))
    for name in contents:
        value = body.get(name)
        if name == "messages" and isinstance(value, list):  # what else a message has beside its content is no medium
            for position, message in enumerate(value):
                if isinstance(message, dict):
                    yield from _parts((name, position, "content"), message.get("content"))
        else:
            yield from _parts((name,), value)


def _parts(at: Way, value: Any) -> Iterator[tuple[Way, str, bool]]:
    if isinstance(value, list):
        for position, entry in enumerate(value):
            if isinstance(entry, (list, dict)):
                yield from _parts((*at, position), entry)
        return
    if not isinstance(value, dict):
        return
    for key in _MEDIA_KEYS:
        yield from _media((*at, key), value.get(key))
    for key in _NESTED:
        yield from _parts((*at, key), value.get(key))
    inline = value.get("input_audio")
    if isinstance(inline, dict):
        if isinstance(inline.get("data"), str):
            yield (*at, "input_audio", "data"), inline["data"], True
        yield from _media((*at, "input_audio", "url"), inline.get("url"))
    source = value.get("source")
    # A search result's source is a text for the model. Only an image's is opened, but others' may come to be.
    if isinstance(source, dict) and value.get("type") != "search_result":
        yield from _media((*at, "source", "url"), source.get("url"))
    elif isinstance(source, str) and value.get("type") in ("image", "video", "audio", "document"):
        yield (*at, "source"), source, False


def _media(at: Way, value: Any) -> Iterator[tuple[Way, str, bool]]:
    if isinstance(value, str):
        yield at, value, False
    elif isinstance(value, list):
        for position, entry in enumerate(value):
            yield from _media((*at, position), entry)
    elif isinstance(value, dict):
        for key, entry in value.items():
            if isinstance(entry, str) and key in _PLAIN_KEYS:
                continue
            if not isinstance(entry, str) or _NAMING_KEY.fullmatch(key) or re.search(r"[:.]|^\s*[/~]", entry):
                yield from _media((*at, key), entry)


def _sort(found: Found, at: Way, given: str, bare: bool, folders: tuple[str, ...]) -> None:
    text = given.strip(_ENDS)
    scheme = _SCHEME.match(text)
    kind = scheme[1].lower() if scheme else ""
    if not text:
        return  # the engine opens nothing for it
    if kind in ("http", "https"):
        found.references.append(Reference(at, "address", text, bare))
    elif kind == "data":
        text = text if text.startswith("data:") else "data:" + text[len("data:"):]
        _check_inline(at, text)
        text = text.partition(",")[2] if bare else text
        if text != given:
            found.changes[at] = text
    elif folders and (file := _file(kind, text)) and any(_inside(file, folder) for folder in folders):
        found.references.append(Reference(at, "file", file, bare))
    elif kind == "file":
        raise _refused(at, CLOSED)
    elif _is_base64(text):
        head = _check_inline(at, "," + text)
        if not bare:  # a bare one becomes part of a `data:` URL there, this one might be taken for a path
            found.changes[at] = f"data:{media_type(head)};base64,{text}"
    else:
        raise _refused(at, CLOSED if text.startswith(("/", "./", "../", "~")) else _OTHER)


def _file(kind: str, text: str) -> str | None:
    """The absolute path that a text names, if it names one."""
    if len(text) > _LONGEST_PATH:
        return None
    if kind == "file":
        host, slash, path = text[len("file:"):].removeprefix("//").partition("/")
        # file:/path and file:///path have no host; a path that two slashes begin is no host either
        return posixpath.normpath(slash + unquote(path)) if slash and host.lower() in ("", "localhost") else None
    return posixpath.normpath(text) if text.startswith("/") else None


def _inside(path: str, folder: str) -> bool:
    return path.startswith(folder.rstrip("/") + "/")


def _is_base64(text: str) -> bool:
    last = len(text) - _LOOKED_AT
    return len(text) % 4 == 0 and _BASE64.fullmatch(text, max(0, last)) is not None and (
        last <= 0 or _BASE64.fullmatch(text, 0, _LOOKED_AT) is not None)


def _check_inline(at: Way, text: str) -> bytes:
    """The first bytes of a `data:` URL. Not checked is whether all of it is base64: the engine does that."""
    start = text.find(",") + 1
    head = _decoded(text[start:start + 8192])
    if b"\0" not in head or head.startswith(b"ID3"):  # it may be a text, and tell what it is only later
        head = _decoded(text[start:start + HEAD * 4 // 3])
    if names_others(head):
        raise _refused(at, "is a playlist or a program, and not a medium")
    return head


def _decoded(letters: str) -> bytes:
    for cut in range(4):  # what is not base64 is left out, as some readers do; then the end may be half a group
        with contextlib.suppress(ValueError):
            return binascii.a2b_base64(letters[:len(letters) - cut])
    return b""


def _refused(at: Way, why: str) -> JobError:
    return JobError(f"`{spelled(at)}` {why}.", param=spelled(at))
