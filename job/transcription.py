"""A job for /v1/audio/transcriptions, which the engine takes as a form alone (sglang: entrypoints/http_server.py).

Pure. The fields come as a form's, all of them text, or as JSON; a form's may come behind its file. What SGLang 0.5.23
does not read of OpenAI's fields is refused by name.
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from answer.forms import Fields, Form, Upload
from answer.request import Request
from job import names
from job.context import Context
from job.route_table import ROUTES
from utils import JobError

PATH = "/v1/audio/transcriptions"
FORMATS = ("json", "text", "verbose_json")
_SOURCES = ("file", "audio")
# Field: the values that ask for nothing, what to do instead.
_UNREAD: dict[str, tuple[tuple[Any, ...], str]] = {
    "prompt": ((), "the served model is told nothing beside the audio"),
    "include": ((), "no log probabilities are given here"),
    "chunking_strategy": (("auto",), "the engine cuts long audio at its pauses"),
    "known_speaker_names": ((), "speakers are not told apart here"),
    "known_speaker_references": ((), "speakers are not told apart here")}
_NAMES = ("model", "lora_path", "adapter_id")
_GRANULARITIES = ("word", "segment")
_LANGUAGE = re.compile(r"[A-Za-z]{2,40}([-_][A-Za-z0-9]{1,8})*")
_TRUE, _FALSE = ("true", "1", "on", "yes"), ("false", "0", "off", "no")


class Transcription:
    """What was asked for so far: `body`, under OpenAI's names and in JSON's types."""

    def __init__(self, context: Context):
        self._context = context
        self.body: dict[str, Any] = {}

    def take(self, given: Mapping[str, Any]) -> Fields:
        """The engine's fields for these, which are told only once. Raises JobError 400 or 404."""
        fields = {name.removesuffix("[]"): value for name, value in given.items() if value is not None}
        told: list[tuple[str, str]] = []
        for name, value in fields.items():
            if name in _UNREAD:
                nothing, remedy = _UNREAD[name]
                if value not in ("", [], {}, *nothing):
                    raise JobError(f"`{name}` is not known to SGLang here and would have no effect: {remedy}.",
                                   param=name)
            elif name in _READ:
                self.body[name] = read = _READ[name](name, value)
                told += _told(name, read)
        if named := {name: fields[name] for name in _NAMES if name in fields}:
            names.apply(named, PATH, ROUTES[PATH], self._context)
        return told

    def answer(self, value: Any) -> Any:
        """The job's answer for the engine's whole one."""
        if self.body.get("response_format") == "text" and isinstance(value, dict):
            return str(value.get("text", ""))
        return value


def check_realtime(model: str | None, context: Context) -> None:
    """Raises JobError 400 or 404 for a session that the served model cannot have."""
    if not context.audio:
        raise JobError("/v1/realtime needs a model that takes audio; this endpoint serves one that does not.")
    if names.adapter_of(model, context):
        raise JobError("SGLang applies no LoRA adapter on /v1/realtime.", param="model")


def planned(body: dict[str, Any], context: Context) -> Request:
    """The request for a job's body. Raises JobError."""
    if not context.audio:
        raise JobError(f"{PATH} needs a model that takes audio; this endpoint serves one that does not.")
    asked = Transcription(context)
    told = [("model", context.served_model_name),
            *asked.take({name: value for name, value in body.items() if name not in _SOURCES})]
    sources = {name: body[name] for name in _SOURCES if body.get(name) is not None}
    if len(sources) != 1:
        raise JobError("`file` is missing: base64, a `data:` URL or an address; over HTTP also a form." if not sources
                       else "`audio` is another name of `file`: give only one of them.", param="file")
    field, file = next(iter(sources.items()))
    request = Request("POST", PATH, {"model": context.served_model_name, **asked.body}, reshape=asked.answer)
    if isinstance(file, Upload):
        def late() -> Fields:
            return asked.take({name: values if name in _LISTS else values[0] for name, values in file.late.items()})

        return dataclasses.replace(request, upload=Form(told, file, after=late))
    if not isinstance(file, str) or not file.strip():
        raise JobError(f"`{field}` must be a string: base64, a `data:` URL or an address.", param=field)

    def form(media_type: str, content: Sequence[bytes]) -> Form:
        return Form(told, content, media_type)

    assert request.body is not None
    return dataclasses.replace(request, body={**request.body, "file": file}, form=form)


def _told(name: str, value: Any) -> Fields:
    if name == "model":  # told already, as the engine knows it
        return ()
    if name == "timestamp_granularities":
        return [(f"{name}[]", entry) for entry in value]
    if name == "response_format" and value == "text":  # words that look like JSON stay words
        return [(name, "json")]
    return [(name, str(value).lower() if isinstance(value, bool) else str(value))]


def _text(name: str, value: Any) -> str:
    if not isinstance(value, str) or len(value) > 512:
        raise JobError(f"`{name}` must be a string.", param=name)
    return value


def _language(name: str, value: Any) -> str:
    if not isinstance(value, str) or not _LANGUAGE.fullmatch(value):
        raise JobError(f"`{name}` must be a language such as \"en\".", param=name)
    return value


def _format(name: str, value: Any) -> str:
    if value not in FORMATS:
        raise JobError(f"`{name}` can be {', '.join(FORMATS)} here; SGLang has no other. For subtitles make them of "
                       "the `segments` of verbose_json.", param=name)
    return str(value)


def _temperature(name: str, value: Any) -> float:
    try:
        number = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not 0 <= number <= 2:
        raise JobError(f"`{name}` must be a number from 0 to 2.", param=name)
    return number


def flag(name: str, value: Any) -> bool:
    """A switch of a form or of JSON. Raises JobError."""
    word = str(value).lower()
    if word not in (*_TRUE, *_FALSE):
        raise JobError(f"`{name}` must be true or false.", param=name)
    return word in _TRUE


def _granularities(name: str, value: Any) -> list[str]:
    entries = [value] if isinstance(value, str) else value
    if not isinstance(entries, list) or not entries or not all(entry in _GRANULARITIES for entry in entries):
        raise JobError(f"`{name}` must be a list of {' and '.join(_GRANULARITIES)}.", param=name)
    return list(dict.fromkeys(entries))


_READ = {"model": _text, "language": _language, "response_format": _format, "temperature": _temperature,
         "stream": flag, "timestamp_granularities": _granularities}
_LISTS = ("timestamp_granularities", "timestamp_granularities[]", "include", "include[]")
