"""Input that ends the engine, and with it every other job, refused before it is sent.

Pure. Each check stands for something that was seen to kill a real SGLang 0.5.23 with a single request
(docs/hostile-input.md has the list). What the engine itself refuses with an error is left to the engine.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from limits import Limits
from model import ModelFacts
from utils import JobError

# Fields that carry token ids, at whatever depth of lists: the embedding lookup and the sampler index by them
# unchecked.
_ID_FIELDS = ("input_ids", "stop_token_ids", "token_ids_logprob", "label_token_ids")
# Fields that carry text or, as lists of integers, token ids.
_PROMPT_FIELDS = ("prompt", "input", "query", "items")
_PROMPTS = ("text", "input_ids", "input_embeds", "prompt", "input", "query", "items")
# Counts of alternatives per token, up to the vocabulary.
_LOGPROB_FIELDS = ("top_logprobs_num", "top_logprobs", "logprobs")
# Internals of the engine's own callers, whose shapes it trusts.
_INTERNAL_FIELDS = ("positional_embed_overrides", "embed_overrides", "query_embed_overrides", "item_embed_overrides",
                    "embed_override_token_id", "token_indices_to_pool", "return_sampling_mask")
_LARGEST_BIAS = 1e4  # OpenAI's range is ±100; from about 1e35 on, the sampler divides infinity by infinity
_INT32 = 2**31 - 1
_GENERATING = ("/generate", "/v1/chat/completions", "/v1/completions", "/v1/responses", "/v1/messages")
_EMBEDDING = ("/encode", "/classify", "/v1/embeddings", "/v1/classify", "/v1/rerank")
_BATCHED = ("text", "input_ids", "input_embeds", "prompt", "input", "items", "documents", "tokens")


def check(path: str, body: dict | None, facts: ModelFacts, limits: Limits) -> None:
    """Raises JobError (400) for a body that the engine at `path` would not survive, or that is over a limit."""
    if not body:
        return
    if path in _GENERATING and not facts.generates:
        raise JobError(f"{path} needs a model that generates; this endpoint serves one that only embeds.", code=400)
    for name in _INTERNAL_FIELDS:
        if body.get(name) not in (None, False):
            raise JobError(f"`{name}` is not open to jobs: a wrong shape of it ends the engine.", param=name)
    for params in _all_params(body):
        _check_ids(params, facts)
        _check_numbers(params, facts, limits)
    if path in (*_GENERATING, *_EMBEDDING, "/v1/score"):
        _check_prompts(body)
    for name in _BATCHED:
        if isinstance(body.get(name), list) and _is_batch(body[name]) and len(body[name]) > limits.batch:
            raise JobError(f"`{name}` holds {len(body[name])} entries; the limit is {limits.batch} (MAX_BATCH).",
                           param=name)


def _all_params(body: dict) -> Iterator[dict]:
    """The body, and its sampling_params: an object, or a list of them in a batch."""
    yield body
    params = body.get("sampling_params")
    yield from (p for p in (params if isinstance(params, list) else [params]) if isinstance(p, dict))


def _is_batch(value: list) -> bool:
    return any(not isinstance(entry, (int, float)) for entry in value[:1])


def _integers(value: Any) -> Iterator[Any]:
    """Every scalar in nested lists; the depth is limited already."""
    if isinstance(value, list):
        for entry in value:
            yield from _integers(entry)
    else:
        yield value


def _check_ids(params: dict, facts: ModelFacts) -> None:
    for name in (*_ID_FIELDS, *_PROMPT_FIELDS):
        value = params.get(name)
        if isinstance(value, list):
            # Numbers only: text in the same place, and what is neither, is the engine's to judge.
            _within(name, (i for i in _integers(value) if isinstance(i, (int, float))), facts)
        elif name in _ID_FIELDS and isinstance(value, (int, float)):
            _within(name, iter((value,)), facts)
    bias = params.get("logit_bias")
    if isinstance(bias, dict):
        _within("logit_bias", (_as_id(key) for key in bias), facts)
        for value in bias.values():
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not abs(value) <= _LARGEST_BIAS:
                raise JobError(f"`logit_bias` takes numbers from -{_LARGEST_BIAS:g} to {_LARGEST_BIAS:g}.",
                               param="logit_bias")


def _as_id(key: str) -> int | float:
    try:
        return int(key)
    except ValueError:
        return math.nan


def _within(name: str, ids: Iterator[Any], facts: ModelFacts) -> None:
    top = _INT32 if facts.vocabulary is None else facts.vocabulary - 1
    for number in ids:
        if isinstance(number, bool) or not isinstance(number, int) or not 0 <= number <= top:
            raise JobError(f"`{name}` holds {number!r:.30}, which is no token id of this model: they go from 0 to "
                           f"{top}.", param=name)


def _check_numbers(params: dict, facts: ModelFacts, limits: Limits) -> None:
    def whole(name: str, low: int, high: int) -> None:
        for value in _integers(params.get(name)):
            if isinstance(value, (int, float)) and not isinstance(value, bool) and not low <= value <= high:
                raise JobError(f"`{name}` is {value!r:.30}: it goes from {low} to {high}.", param=name)

    top = 1000 if facts.vocabulary is None else facts.vocabulary
    for name in _LOGPROB_FIELDS:
        whole(name, 0, top)
    whole("logprob_start_len", -1, _INT32)
    whole("top_k", -1, _INT32 - 1)
    n = params.get("n")
    if isinstance(n, (int, float)) and n > limits.batch:
        raise JobError(f"`n` is {n!r:.30}; the limit is {limits.batch} (MAX_BATCH).", param="n")


def _check_prompts(body: dict) -> None:
    for name in _PROMPTS:
        value = body.get(name)
        # An empty prompt is a request of no tokens, which the scheduler does not survive.
        if value is not None and (value in ("", []) or isinstance(value, list) and any(v in ("", []) for v in value)):
            raise JobError(f"`{name}` is empty, or holds an empty prompt.", param=name)
