"""Input that ends or stalls the engine, and with it every other job, refused before it is sent.

Pure. Each check stands for something that one request was seen to do to a real SGLang 0.5.23; the comments name the
rows of docs/hostile-input.md. What the engine itself refuses with an error is left to the engine. Deaths by
not-a-number are prevented in the engine (SGLANG_SANITIZE_NAN_LOGITS, see config.engine_environ).
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from typing import Any

from job import limits as sizes
from job import patterns, shape
from job.model import ModelFacts
from settings.limits import Limits
from utils import JobError

GENERATING = ("/generate", "/v1/chat/completions", "/v1/completions", "/v1/responses", "/v1/messages", "/invocations")
_WITH_PROMPTS = (*GENERATING, "/encode", "/classify", "/v1/embeddings", "/v1/classify")
# Token ids only, and text or token ids.
_ID_FIELDS = ("input_ids", "stop_token_ids")
_PROMPT_FIELDS = ("prompt", "input", "query", "items")
_PROMPTS = ("text", "input_ids", "prompt", "input")
# Internals of the engine's own callers, whose shapes it trusts (rows 10 to 12).
_INTERNAL_FIELDS = ("positional_embed_overrides", "query_embed_overrides", "item_embed_overrides",
                    "token_indices_to_pool")
# One value for one prompt; a list of them only with a list of prompts (row 9).
_ONE_EACH = ("logprob_start_len", "top_logprobs_num", "return_hidden_states", "lora_id")
# Compiling goes on after the caller has left. `text` is a format on /v1/responses, where it is no string.
_GRAMMARS = ("regex", "ebnf", "json_schema", "structural_tag", "response_format", "guided_json", "text",
             "output_config")
_NOTES = ("description", "title", "$comment")
_LARGEST_BIAS = 1e4  # OpenAI's range is ±100; from 1e35 on the sampler divides infinities (rows 13, 14)
_INT32 = 2**31 - 1
_STOP_BYTES, _STOPS_BYTES = 4096, 16384  # of one stop string, of all
_SLICE = 4096  # entries that are looked at in one go


def check(path: str, body: dict[str, Any] | None, facts: ModelFacts, limits: Limits) -> None:
    """Raises JobError (400) for a body that harms the engine at `path`, or that is over a limit."""
    if not body:
        return
    if path in GENERATING and not facts.generates:  # row 1
        raise JobError(f"{path} needs a model that generates; this endpoint serves one that only embeds.")
    for name in _INTERNAL_FIELDS:
        if body.get(name) is not None:
            raise JobError(f"`{name}` is not open to jobs: a wrong shape of it ends the engine.", param=name)
    prompts = shape.of(path, body)
    steps, members = 0.0, dict[str, int]()
    for params in _all_params(body):
        _check_ids(params, facts)
        _check_numbers(params, facts)
        n = number(params.get("n"))
        answers = (n or 1) * (1 if isinstance(body.get("sampling_params"), list) else prompts.count)
        steps += _check_patterns(params, limits, members) * answers
        if n is not None and n * prompts.count > limits.batch:
            raise JobError(f"`n` times the number of prompts is {n * prompts.count:g}; the limit is {limits.batch} "
                           "(MAX_BATCH).", param="n")
    patterns.check_all(steps)
    if path in _WITH_PROMPTS:
        _check_prompts(body, prompts, facts)
    if path == "/v1/score":
        _check_score(body, prompts)
    sizes.check_prompts(path, body, prompts, facts, limits)
    for name in ("rid", "request_id"):  # the engine would take the request for its own health check, and never answer
        if any(isinstance(rid, str) and rid.startswith("HEALTH_CHECK") for rid in _scalars(body.get(name))):
            raise JobError(f"`{name}` may not begin with HEALTH_CHECK.", param=name)


def _all_params(body: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The body, and its sampling_params: an object, or a list of them in a batch."""
    yield body
    params = body.get("sampling_params")
    yield from (p for p in (params if isinstance(params, list) else [params]) if isinstance(p, dict))


def _scalars(value: Any) -> Iterator[Any]:
    """Every entry of nested lists that is no list; the depth is limited already."""
    if isinstance(value, list):
        for entry in value:
            yield from _scalars(entry)
    else:
        yield value


def number(value: Any) -> float | None:
    """A number, also one in a string, as the engine's validator reads it; else None."""
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return None
    try:
        return float(value)
    except (ValueError, OverflowError):
        return math.inf if isinstance(value, int) else None


def largest_id(facts: ModelFacts) -> int:
    """The last token id that the model may have."""
    return _INT32 if facts.vocabulary is None else facts.vocabulary - 1


def _check_ids(params: dict[str, Any], facts: ModelFacts) -> None:  # rows 2 to 4, 13 to 15
    for name in (*_ID_FIELDS, *_PROMPT_FIELDS):
        for entries in _slices(params.get(name)):
            # Where text may stand as well, what is no number is text.
            _within(name, entries if name in _ID_FIELDS else [i for i in entries if isinstance(i, (int, float))], facts)
    bias = params.get("logit_bias")
    if isinstance(bias, dict):
        _within("logit_bias", [int(key) if re.fullmatch(r"-?\d{1,19}", key) else key for key in bias], facts)
        for value in map(number, bias.values()):
            if value is None or not abs(value) <= _LARGEST_BIAS:
                raise JobError(f"`logit_bias` takes numbers from -{_LARGEST_BIAS:g} to {_LARGEST_BIAS:g}.",
                               param="logit_bias")


def _slices(value: Any) -> Iterator[list[Any]]:
    """What stands in nested lists and is no list, some at a time, so that nobody waits long for a look at them."""
    if value is None:
        return
    if not isinstance(value, list):
        yield [value]
    elif value and not isinstance(value[0], list):
        for start in range(0, len(value), _SLICE):
            entries = value[start:start + _SLICE]
            inner = [entry for entry in entries if isinstance(entry, list)]
            yield [entry for entry in entries if not isinstance(entry, list)] if inner else entries
            yield from _slices(inner or None)
    else:
        for entry in value:
            yield from _slices(entry if entry is not None else [None])


def _within(name: str, ids: list[Any], facts: ModelFacts) -> None:
    top = largest_id(facts)
    if ids and set(map(type, ids)) == {int} and min(ids) >= 0 and max(ids) <= top:
        return
    for one in ids:
        if isinstance(one, bool) or not isinstance(one, int) or not 0 <= one <= top:
            # The type alone for what may be longer than a message should be.
            short = isinstance(one, (bool, float)) or isinstance(one, int) and abs(one) < 2**70
            raise JobError(f"`{name}` holds {one if short else type(one).__name__}, which is no token id of this "
                           f"model: they go from 0 to {top}.", param=name)


def _check_numbers(params: dict[str, Any], facts: ModelFacts) -> None:  # rows 6 to 8, 16
    vocabulary = facts.vocabulary or 1000
    # -1 log-probabilities are every one elsewhere; here they are those of the chosen tokens alone.
    for name, low, high in (("top_logprobs_num", -1, vocabulary), ("top_logprobs", -1, vocabulary),
                            ("logprobs", -1, vocabulary), ("logprob_start_len", -1, _INT32), ("top_k", -1, _INT32),
                            ("repetition_penalty", 1e-6, math.inf)):
        if params.get(name) is None:
            continue
        for value in _scalars(params[name]):
            found = number(value)
            if found is not None and not low <= found <= high:
                raise JobError(f"`{name}` goes from {low} to {high}.", param=name)


def _check_patterns(params: dict[str, Any], limits: Limits, members: dict[str, int]) -> int:
    """Steps that the search for a prompt's stop patterns takes; members: see patterns.check."""
    steps = 0
    for name in ("stop", "stop_sequences"):
        if params.get(name) is None and params.get("stop_regex") is None:
            continue
        stops = [stop for stop in _scalars(params.get(name)) if isinstance(stop, str)]
        if any(len(stop) > _STOP_BYTES for stop in stops):
            raise JobError(f"A `{name}` string has at most {_STOP_BYTES} characters.", param=name)
        if sum(map(len, stops)) > _STOPS_BYTES:  # each beginning of each is compared with the end of a streamed answer
            raise JobError(f"All strings of `{name}` together have at most {_STOPS_BYTES} characters.", param=name)
        if name == "stop" and params.get("stop_regex") is not None:
            steps = patterns.check(list(_scalars(params["stop_regex"])), stops, members)
    for name in _GRAMMARS:
        value = params.get(name)
        if value is None or name == "text" and not isinstance(value, dict):
            continue
        if _grammar_bytes(value, limits.grammar_bytes) > limits.grammar_bytes:
            raise JobError(f"`{name}` is larger than {limits.grammar_bytes / 1024:g} KiB (MAX_GRAMMAR_KIB).",
                           param=name)
    return steps


def _grammar_bytes(value: Any, enough: int) -> int:
    """Size of what is compiled; of more than `enough` some number above it."""
    if isinstance(value, str):
        return len(value)
    size = sizes.json_bytes(value, enough)
    return size if size <= enough else sizes.json_bytes(_without_notes(value), enough)


def _without_notes(schema: Any) -> Any:
    """A JSON schema without what it says to its readers alone. A constant is no schema, and compiled as it is."""
    if isinstance(schema, list):
        return [_without_notes(entry) for entry in schema]
    if not isinstance(schema, dict):
        return schema
    return {name: value if name in ("const", "enum") else _without_notes(value) for name, value in schema.items()
            if not (name in _NOTES and isinstance(value, str))}


def _check_prompts(body: dict[str, Any], prompts: shape.Prompts, facts: ModelFacts) -> None:
    for name in _PROMPTS:
        value = body.get(name)
        # A prompt of no tokens does not survive the scheduler (row 5).
        if value is not None and (_empty(value) or isinstance(value, list) and _one_empty(value)):
            raise JobError(f"`{name}` is empty, or holds an empty prompt.", param=name)
    for name in _ONE_EACH:
        if isinstance(body.get(name), list) and not prompts.listed:
            raise JobError(f"`{name}` is a list, but there is only one prompt.", param=name)
    if body.get("custom_logit_processor") is not None and not isinstance(body["custom_logit_processor"], (str, list)):
        raise JobError("`custom_logit_processor` must be a string.", param="custom_logit_processor")
    if body.get("custom_logit_processor") == []:  # row 22
        raise JobError("`custom_logit_processor` is empty.", param="custom_logit_processor")
    if body.get("input_embeds") is not None:  # rows 19 to 21
        if not facts.takes_embeds:
            raise JobError("`input_embeds` ends a server without a radix cache that does not run in bfloat16: "
                           "DISABLE_RADIX_CACHE needs DTYPE=bfloat16 for it.", param="input_embeds")
        _check_embeds(body["input_embeds"], facts)


def _check_score(body: dict[str, Any], prompts: shape.Prompts) -> None:
    """The engine reads each item with the query: only both together must not be empty (row 5)."""
    items = body.get("items")
    if _empty(body.get("query") or "") and isinstance(items, list) and _one_empty(items):
        raise JobError("`items` holds an empty item, and `query` is empty too: there is nothing to score.",
                       param="items")


def _empty(value: Any) -> bool:
    return value == "" or isinstance(value, list) and all(map(_empty, value))


def _one_empty(prompts: list[Any]) -> bool:
    """Of a list that begins with a token id, one prompt, no entry is."""
    return not isinstance(prompts[0], int) and any(map(_empty, prompts)) if prompts else False


def _check_embeds(value: Any, facts: ModelFacts) -> None:
    """[tokens][width] for one prompt, [prompts][tokens][width] for several, of finite numbers."""
    def row(entry: Any) -> bool:
        return isinstance(entry, list) and bool(entry) and not isinstance(entry[0], list)

    matrix = value if isinstance(value, list) else []
    rows = matrix if matrix and row(matrix[0]) else [r for prompt in matrix if isinstance(prompt, list) for r in prompt]
    width = facts.width or (len(rows[0]) if rows and isinstance(rows[0], list) else 0)
    right = bool(rows) and all(
        row(r) and len(r) == width and all(type(x) in (int, float) and abs(x) < 1e38 for x in r) for r in rows)
    if not right:
        raise JobError(f"`input_embeds` must be rows of {width or 'equally many'} finite numbers.",
                       param="input_embeds")
