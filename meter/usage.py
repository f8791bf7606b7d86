"""What an answer says of its tokens and of its end. Pure.

Streams say it in their last events, and only some of them: chat and completions when `stream_options.include_usage` is
set, /v1/messages, /v1/responses and /generate always (sglang: openai/usage_processor.py, anthropic/serving.py,
openai/serving_responses.py, managers/tokenizer_manager.py). What is not said is None and never guessed.

The events are searched and not parsed: within a text of the model or of the caller every quote is escaped, so a name
with bare quotes around it is a field.
"""

from __future__ import annotations

import json
import re
from typing import Any, NamedTuple

PLAIN, CHAT, MESSAGES, RESPONSES, NATIVE = "", "chat", "messages", "responses", "native"
_KINDS = {"/v1/chat/completions": CHAT, "/v1/completions": CHAT, "/v1/messages": MESSAGES, "/v1/responses": RESPONSES,
          "/generate": NATIVE}
LONG = (NATIVE, RESPONSES)  # whose last event holds the whole answer
ENOUGH = 2**14  # characters of any other chunk that hold its last events
_USAGE = re.compile(r'"usage":\s?\{')
_CHAT_END = re.compile(r'"finish_reason":\s?"([\w-]{1,32})"')
_MESSAGE_END = re.compile(r'"stop_reason":\s?"([\w-]{1,32})"')
_RESPONSE_END = re.compile(r"^event: response\.(completed|incomplete|failed)$", re.MULTILINE)
_NATIVE_END = re.compile(r'"finish_reason":\s?\{"type":\s?"([\w-]{1,32})"')
_WORD = re.compile(r"[\w-]{1,32}", re.ASCII)
_DECODER = json.JSONDecoder()


class Usage(NamedTuple):
    """Tokens of the prompt, of it those from the cache, tokens of the answer; how the answer ended. None: unknown."""

    prompt: int | None = None
    cached: int | None = None
    completion: int | None = None
    finish: str | None = None


def kind(path: str) -> str:
    """Whose words the answers at the engine's `path` are in."""
    return _KINDS.get(path, PLAIN)


def has_token(kind: str, text: str) -> bool:
    """Whether a chunk of a stream holds something of the answer. Every route's first does, but for responses, which
    are opened before anything is computed."""
    if kind == RESPONSES:
        return '.delta"' in text or "event: response.completed" in text or "event: response.incomplete" in text
    return not text.startswith(('data: {"error"', "event: error"))


def finishes(text: str) -> bool:
    """Whether a chunk of a native stream holds the last event of an answer."""
    return '"finish_reason":{' in text or '"finish_reason": {' in text


def progress(kind: str, text: str, length: int, before: float, each: int = 1) -> float:
    """About how many tokens a stream gave with `length` characters of which `text` are the newest; `before`: what this
    said until then. Elsewhere an event is `each` tokens; native ones may repeat the answer, but say how long it is."""
    if kind == NATIVE:
        return max(0.0, (_number("completion_tokens", text[-ENOUGH:]) or 0) - before)
    return text.count("\n\n") * each * length / len(text)


def of_head(kind: str, text: str) -> Usage:
    """What the first chunk of a stream says."""
    if kind != MESSAGES:
        return Usage()
    cached = _number("cache_read_input_tokens", text)
    uncached = _number("input_tokens", text)  # SGLang leaves the cached ones out, as Anthropic does
    return Usage(None if uncached is None else uncached + (cached or 0), cached)


def with_tail(kind: str, known: Usage, tail: str) -> Usage:
    """`known`, with what the last chunks of a stream say."""
    if kind == CHAT:
        return _of_object(_object(tail, newest=True))._replace(finish=_last(_CHAT_END, tail))
    if kind == MESSAGES:
        return known._replace(completion=_number("output_tokens", tail[max(0, tail.rfind("message_delta")):]),
                              finish=_last(_MESSAGE_END, tail))
    if kind == RESPONSES:
        end = _RESPONSE_END.search(tail)
        return known if end is None else _of_object(_object(tail[end.end():]))._replace(finish=end[1])
    return with_finished(known, tail) if kind == NATIVE else known


def with_finished(known: Usage, text: str) -> Usage:
    """`known`, with the answers that end in a chunk of a native stream added."""
    for event in text.split("\n\n"):
        if not finishes(event):
            continue
        meta = event[max(0, event.rfind('"meta_info"')):]
        end = _NATIVE_END.search(meta)
        known = _added(known, Usage(_number("prompt_tokens", meta), _number("cached_tokens", meta),
                                    _number("completion_tokens", meta), end[1] if end else None))
    return known


def settled(known: Usage, answers: int) -> Usage:
    """A sum over all answers of a native request, each prompt with `answers` of them, 0 for unknown: the prompt counts
    once."""
    if answers == 1:
        return known
    prompt = known.prompt // answers if known.prompt is not None and answers else None
    return known._replace(prompt=prompt, cached=None)


def of_value(value: Any, answers: int = 1) -> Usage:
    """What a whole answer says."""
    if isinstance(value, list):
        return _of_list(value, answers)
    if not isinstance(value, dict):
        return Usage()
    if isinstance(value.get("meta_info"), dict):
        return _of_meta(value["meta_info"])
    if isinstance(value.get("usage"), dict):
        return _of_object(value["usage"])._replace(finish=_finish(value))
    return Usage()


def _of_list(values: list[Any], answers: int) -> Usage:
    metas = [value["meta_info"] for value in values if isinstance(value, dict) and isinstance(
        value.get("meta_info"), dict)]
    if not metas or len(metas) != len(values):
        return Usage()
    total = _of_meta(metas[0])
    for meta in metas[1:]:
        total = _added(total, _of_meta(meta))
    return settled(total, answers)


def _of_meta(meta: dict[str, Any]) -> Usage:
    reason = meta.get("finish_reason")
    return Usage(_whole(meta.get("prompt_tokens")), _whole(meta.get("cached_tokens")),
                 _whole(meta.get("completion_tokens")), _word(reason.get("type") if isinstance(reason, dict) else None))


def _of_object(told: dict[str, Any]) -> Usage:
    """A `usage` object, as OpenAI's chat, its responses or Anthropic's messages have it."""
    if "prompt_tokens" in told:
        details = told.get("prompt_tokens_details")
        return Usage(_whole(told["prompt_tokens"]), _cached(details), _whole(told.get("completion_tokens")))
    prompt, cached = _whole(told.get("input_tokens")), _whole(told.get("cache_read_input_tokens"))
    if prompt is not None and cached is not None:
        prompt += cached
    if cached is None:
        cached = _cached(told.get("input_tokens_details"))
    return Usage(prompt, cached, _whole(told.get("output_tokens")))


def _cached(details: Any) -> int | None:
    return _whole(details.get("cached_tokens")) if isinstance(details, dict) else None


def _finish(value: dict[str, Any]) -> str | None:
    choices = value.get("choices")
    if isinstance(choices, list) and choices and isinstance(choices[-1], dict):
        return _word(choices[-1].get("finish_reason"))
    return _word(value.get("stop_reason") or (value.get("status") if value.get("object") == "response" else None))


def _object(text: str, newest: bool = False) -> dict[str, Any]:
    """The first `usage` object in a text, or the newest."""
    found = list(_USAGE.finditer(text))
    if not found:
        return {}
    try:
        value = _DECODER.raw_decode(text, found[-1 if newest else 0].end() - 1)[0]
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def _added(one: Usage, other: Usage) -> Usage:
    if one == Usage():
        return other

    def both(a: int | None, b: int | None) -> int | None:
        return None if a is None or b is None else a + b

    return Usage(both(one.prompt, other.prompt), both(one.cached, other.cached), both(one.completion, other.completion),
                 other.finish)


def _number(name: str, text: str) -> int | None:
    """The newest number in a field."""
    found = re.findall(rf'"{name}":\s?(\d{{1,12}})', text)
    return int(found[-1]) if found else None


def _last(pattern: re.Pattern[str], text: str) -> str | None:
    found = pattern.findall(text)
    return found[-1] if found else None


def _whole(value: Any) -> int | None:
    return value if type(value) is int and value >= 0 else None


def _word(value: Any) -> str | None:
    return value if isinstance(value, str) and _WORD.fullmatch(value) else None
