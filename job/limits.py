"""What a job may ask for: size and depth of its input, number and length of its prompts, size of its result.

Pure. Numbers and prompts are counted before anything is sent, because the engine does nothing else while it reads too
many of them (docs/hostile-input.md lists what was tried).
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from json.encoder import encode_basestring
from typing import Any

from job import shape
from job.model import ModelFacts
from settings.limits import Limits
from utils import JobError

_SLICE = 4096  # entries that are looked at in one go: one go is what others wait for
_PIECE = 2**18  # characters, likewise
_ENVELOPE = len('{"output": []}')  # of what the SDK posts as a job's result (rp_http.py, rp_job.py)
_LETTERED = b'"\\\n\r\t\b\f'  # what JSON writes as a backslash and one letter
_PLAIN = bytes(set(range(256)) - set(range(32)) - set(_LETTERED))

_BYTES_PER_TOKEN = 32  # no tokenizer packs ordinary text tighter
_LEAST_TEXT = 2**16  # bytes that are always allowed, however short the context
# Prompts that only have to be read take less than answers: OpenAI's own limit is 2,048 inputs.
_EMBEDDING = ("/v1/embeddings", "/v1/classify", "/encode", "/classify")
_ID_FIELDS = ("input_ids", "prompt", "input", "tokens", "query", "items")
_LISTED = ("tools", "questions")
# What is rendered into one prompt beside the prompts themselves.
_RENDERED = ("system", "instructions", "tools", "chat_template_kwargs", "questions", "instruct")


def check_input(job_input: Any, limits: Limits) -> None:
    """Raises JobError (400 or 413) when a job's input is nested too deep or too large. Costs a walk, no copy."""
    for depth, size in _sizes(job_input):
        if size > limits.input_bytes:
            raise JobError(f"The input is larger than {limits.input_bytes / 1e6:g} MB (MAX_INPUT_MB).",
                           type="request_too_large", param="input", code=413)
        if depth > limits.depth:
            raise JobError(f"The input is nested deeper than {limits.depth} levels (MAX_INPUT_DEPTH).", param="input")


def json_bytes(value: Any, enough: int) -> int:
    """Bytes of a value as JSON without spaces, in UTF-8. Counting ends once there are more than `enough`."""
    size = 0
    for _, size in _sizes(value):
        if size > enough:
            break
    return size


def _sizes(value: Any) -> Iterator[tuple[int, int]]:
    """(depth, bytes of everything until then) of each list and object, from the outside inwards; depth is 1 for the
    outermost, 0 where there is none."""
    below: list[Any] = []
    size, depth = _slice_bytes([value], below), 0
    yield 0, size
    while below:
        level, below, depth = below, [], depth + 1
        for entry in level:
            size += _own_bytes(entry, below)
            yield depth, size


def _own_bytes(value: dict[str, Any] | list[Any], below: list[Any]) -> int:
    """Bytes of a list or object without those in it, which are added to `below`."""
    size = max(2, len(value) + 1)  # brackets and commas
    if isinstance(value, dict):
        size += len(value) + sum(map(text_bytes, value))
        value = list(value.values())
    if len(value) <= _SLICE:
        return size + _slice_bytes(value, below)
    return size + sum(_slice_bytes(value[start:start + _SLICE], below) for start in range(0, len(value), _SLICE))


def _slice_bytes(entries: list[Any], below: list[Any]) -> int:
    """Bytes of the entries that are no lists or objects; those are added to `below`."""
    size, numbers = 0, []
    for entry in entries:
        if isinstance(entry, str):
            size += text_bytes(entry)
        elif isinstance(entry, (list, dict)):
            below.append(entry)
        else:
            numbers.append(entry)
    # Python writes numbers as JSON does, and its three words (True, False, None) are as long as JSON's.
    return size + (len(repr(numbers)) - 2 * len(numbers) if numbers else 0)


def text_bytes(text: str) -> int:
    """Bytes of a string as JSON in UTF-8, with its quotes and escapes."""
    if len(text) > _PIECE:
        return 2 + sum(text_bytes(text[start:start + _PIECE]) - 2 for start in range(0, len(text), _PIECE))
    size = len(encode_basestring(text))
    return size if text.isascii() else size + len(text.encode("utf-8", "surrogatepass")) - len(text)


def check_prompts(path: str, body: dict[str, Any], prompts: shape.Prompts, facts: ModelFacts, limits: Limits) -> None:
    """Raises JobError (400) for too many prompts, too many tools, and for prompts far longer than the context."""
    most = limits.batch * (2 if path in _EMBEDDING else 1)
    counts = [(prompts.field, prompts.count, most)]
    # Each question is a prompt of its own, and each tool a part of every prompt.
    counts += [(name, len(body[name]), limits.batch) for name in _LISTED if isinstance(body.get(name), (list, dict))]
    for name, number, allowed in counts:
        if number > allowed:
            raise JobError(f"`{name}` holds {number} entries; the limit is {allowed} (MAX_BATCH).", param=name)
    if not facts.context:
        return
    conversation = prompts.values[0] if prompts.kind == "conversation" else None
    if isinstance(conversation, list) and len(conversation) > facts.context:
        raise _too_long(prompts.field, facts.context)
    # The engine tokenizes the whole text before it finds it too long, and does nothing else meanwhile.
    longest = max(_LEAST_TEXT, _BYTES_PER_TOKEN * facts.context)
    for prompt in prompts.texts():
        if _exceeds(prompt, longest):
            raise _too_long(prompts.field, facts.context)
    for name in _RENDERED:
        if name in body and _exceeds((text for text, _ in shape.opaque(body[name])), longest):
            raise _too_long(name, facts.context)
    for name in _ID_FIELDS:
        if not isinstance(value := body.get(name), list):
            continue
        lists = value if value and isinstance(value[0], list) else [value]
        number = max((len(ids) for ids in lists if isinstance(ids, list) and ids and isinstance(ids[0], int)),
                     default=0)
        if number > facts.context:
            raise JobError(f"`{name}` holds {number} token ids; the model's context is {facts.context}.", param=name)


def _exceeds(texts: Iterator[str], longest: int) -> bool:
    """Whether there are more characters than `longest`; counting stops there."""
    size = 0
    for text in texts:
        size += len(text)
        if size > longest:
            return True
    return False


def _too_long(name: str, context: int) -> JobError:
    return JobError(f"`{name}` is far longer than the model's context of {context} tokens.", param=name)


class ResultBudget:
    """Counts what one job gives back, as the SDK posts it in the end: every chunk once more, in one list, as JSON.
    RunPod refuses a result over 20 MB, and its sender would never hear of it."""

    def __init__(self, limits: Limits):
        self._limit, self._spent = limits.result_bytes, _ENVELOPE

    def spend(self, output: Any) -> int:
        """The bytes of `output` as JSON. Raises JobError 413 once everything given back is over the limit."""
        size = _as_json(output)
        self._spent += len(", ") + size
        if self._spent > self._limit:
            raise JobError(f"The result is larger than {self._limit / 1e6:g} MB (MAX_RESULT_MB), more than RunPod "
                           "delivers: ask for less, or stream a route that is not cumulative.",
                           type="request_too_large", code=413)
        return size


def _as_json(output: Any) -> int:
    """Bytes of a value as JSON in UTF-8. Of a text without making it, in a quarter of the time: this is done for every
    chunk of every stream."""
    if not isinstance(output, str):
        return len(json.dumps(output, ensure_ascii=False).encode("utf-8", "surrogatepass"))
    raw = output.encode("utf-8", "surrogatepass")
    escaped = raw.translate(None, _PLAIN)
    # A backslash more for each, and four characters more for those that have no letter: \u0001.
    return len('""') + len(raw) + len(escaped) + 4 * len(escaped.translate(None, _LETTERED))
