"""Job inputs that nobody sends on purpose: whatever JSON can carry, most of it near to something valid. Seeded."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TextIO

import hypothesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from job.routes import ROUTES

_FIELDS = (
    "openai_route", "openai_input", "route", "body", "method", "messages", "text", "input_ids", "input_embeds",
    "prompt", "sampling_params", "stream", "model", "n", "max_tokens", "max_new_tokens", "max_completion_tokens",
    "temperature", "top_p", "top_k", "stop", "stop_token_ids", "logit_bias", "rid", "seed", "apply_chat_template",
    "image_data", "use_openai_format", "tools", "tool_choice", "response_format", "json_schema", "regex", "user",
    "metadata", "role", "content", "type", "image_url", "url", "lora_path", "return_logprob", "logprobs",
    "stream_options", "include_usage", "input", "query", "documents", "tokens", "error", "status", "id",
    "bootstrap_host", "session_params", "priority",
)


def _nested(depth: int, key: str | None) -> object:
    value: object = []
    for _ in range(depth):
        value = [value] if key is None else {key: value}
    return value


_HUGE = ("x" * 100_000, "é" * 60_000, "🦜" * 30_000, "\ud800" * 20_000, '"\\' * 30_000, "\n\ndata: " * 9_000)
_NASTY = (
    None, True, False, 0, -1, 1, 2**31, -2**63, 2**64, 10**300, 0.5, -0.0, 5e-324, 1e308, float("nan"), float("inf"),
    float("-inf"), "", " ", "\x00", "\r\n\r\n", "\ud800", "\udfff\ud83d", "null", "NaN", "data: [DONE]\n\n", "../..",
    "{}", "[]", "true", "\u202e", "e\u0301", "%00", "__proto__", "{0}", "%s", "$(id)", "\x1b[2J", [], {}, [[]], [{}],
    [None], {"": None}, {"error": "x"}, {"error": {"message": "x"}}, [[[[1]]]], "a" * 300, list(range(300)),
)
_text = st.text(st.characters(codec=None, exclude_categories=()), max_size=20)
_scalar = st.one_of(st.sampled_from(_NASTY), st.integers(), st.floats(), _text, st.booleans())
_name = st.one_of(st.sampled_from(_FIELDS), st.sampled_from(_FIELDS), _text)
# Large and deep values are rare: ten thousand of them would take an hour and show no more.
_rare = st.one_of(st.sampled_from(_HUGE), st.builds(_nested, st.sampled_from((40, 99, 150, 900)),
                                                    st.sampled_from((None, "text", "body"))))
_json = st.recursive(_scalar, lambda inner: st.one_of(st.lists(inner, max_size=4),
                                                      st.dictionaries(_name, inner, max_size=4)), max_leaves=12)
_any = st.integers(0, 60).flatmap(lambda number: _rare if number == 0 else _json)

_messages = st.one_of(
    st.just([{"role": "user", "content": "What is the capital of France?"}]),
    st.lists(st.fixed_dictionaries({}, optional={
        "role": st.one_of(st.sampled_from(("user", "system", "assistant", "tool")), _any),
        "content": st.one_of(_text, st.lists(st.fixed_dictionaries({"type": _scalar}, optional={
            "text": _any, "image_url": _any}), max_size=3), _any)}), max_size=3))
_prompts = st.one_of(_text, st.just("What is the capital of France?"), st.lists(_text, max_size=3),
                     st.lists(st.integers(-5, 300), max_size=5),
                     st.lists(st.lists(st.integers(0, 255), max_size=3), max_size=3))
_stream = st.sampled_from((True, False) * 10 + (None, "true", 1, [], {}))


def _body(**good) -> st.SearchStrategy:
    """An object with these fields, some of them spoilt, and some that do not belong."""
    spoilt = st.one_of(st.just({}), st.dictionaries(_name, _any, max_size=1), st.dictionaries(_name, _any, max_size=3))
    return st.builds(lambda body, more: {**body, **more}, st.fixed_dictionaries(good), spoilt)


_bodies = st.one_of(
    _body(messages=_messages, stream=_stream), _body(text=_prompts, stream=_stream),
    _body(prompt=_prompts, stream=_stream),
    _body(text=_prompts, sampling_params=st.dictionaries(_name, _any, max_size=4)), _body(input_ids=_prompts),
    _body(messages=_messages, sampling_params=st.dictionaries(_name, _any, max_size=4), model=st.just("tiny")),
    _body(text=_prompts, apply_chat_template=_stream), _body(input=_prompts), _body(tokens=_prompts))
_routes = st.one_of(
    st.sampled_from(sorted(ROUTES)), st.sampled_from(sorted(ROUTES)), _any,
    st.builds(lambda route, tail: route + tail, st.sampled_from(sorted(ROUTES)), _text),
    st.sampled_from(("/v1/models/", "/v1/responses/", "//", "/_scripted/", "http://127.0.0.1/")).flatmap(
        lambda head: _text.map(lambda tail: head + tail)))
JOB_INPUTS = st.one_of(
    _any, st.dictionaries(_name, _any, max_size=6), _bodies, _bodies, _bodies,
    st.builds(lambda route, body: {"openai_route": route, "openai_input": body}, _routes, st.one_of(_bodies, _any)),
    st.builds(lambda route, body, method: {"route": route, "body": body, "method": method}, _routes,
              st.one_of(_bodies, _any), st.one_of(st.sampled_from(("GET", "POST", "post", "PUT", None)), _scalar)))


def write(out: TextIO, count: int, seed: int) -> None:
    """`count` inputs as JSON, one a line."""
    left = count
    while left > 0:
        for line in _some(left, seed):
            out.write(line + "\n")
            left -= 1
        seed += 1_000_000  # only when there were too few


def _some(count: int, seed: int) -> Iterator[str]:
    found: list[str] = []

    @hypothesis.seed(seed)
    @settings(max_examples=count, database=None, deadline=None, phases=[Phase.generate],
              suppress_health_check=list(HealthCheck))
    @given(JOB_INPUTS)
    def collect(value):
        found.append(json.dumps(value))

    collect()
    yield from found[:count]
