"""One setting, many names: what a job calls a sampling setting, and what the route that it goes to reads.

Pure. SGLang's routes ignore the names that they do not know (/generate refuses them), so each setting is put under the
name of its route here. Names of SGLang 0.5.23: entrypoints/openai/protocol.py, entrypoints/anthropic/protocol.py and
sampling/sampling_params.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from utils import JobError

_ALL = ("native", "chat", "completions", "responses", "messages")
_MOST = ("native", "chat", "completions", "responses")
_SOME = ("native", "chat", "completions")


def _same(name: str, kinds: tuple[str, ...], *others: str) -> tuple[tuple[str, ...], dict[str, tuple[str, ...]]]:
    """A setting that is called `name` wherever it is read."""
    return (name, *others), {kind: (name,) for kind in kinds}


# All names of a setting (OpenAI's, Anthropic's, vLLM's, Hugging Face's, llama.cpp's, Ollama's, Google's, Cohere's,
# TensorRT-LLM's, KoboldAI's, SGLang's), and for each kind of route the names that it reads, the one to write first.
SETTINGS: tuple[tuple[tuple[str, ...], dict[str, tuple[str, ...]]], ...] = (
    (("max_tokens", "max_completion_tokens", "max_new_tokens", "max_output_tokens", "max_tokens_to_sample",
      "max_gen_len", "max_gen_toks", "n_predict", "num_predict", "request_output_len", "maxTokens", "maxNewTokens",
      "maxOutputTokens", "maxCompletionTokens"),
     {"native": ("max_new_tokens",), "chat": ("max_tokens", "max_completion_tokens"), "completions": ("max_tokens",),
      "responses": ("max_output_tokens",), "messages": ("max_tokens",)}),
    (("min_tokens", "min_new_tokens", "minTokens"),
     {"native": ("min_new_tokens",), "chat": ("min_tokens",), "completions": ("min_tokens",)}),
    (("seed", "sampling_seed", "random_seed"),
     {"native": ("sampling_seed",), "chat": ("seed",), "completions": ("seed",)}),
    (("stop", "stop_sequences", "stop_strings", "stopSequences", "stop_sequence", "stop_words", "stopping_strings",
      "custom_stopping_strings"),
     {"native": ("stop",), "chat": ("stop",), "completions": ("stop",), "responses": ("stop",),
      "messages": ("stop_sequences",)}),
    _same("stop_token_ids", _SOME, "stopTokenIds", "eos_token_id", "end_id"),
    _same("no_stop_trim", _SOME, "include_stop_str_in_output"),
    _same("temperature", _ALL, "temp"),
    _same("top_p", _ALL, "topP", "p"),
    _same("top_k", _ALL, "topK", "k"),
    _same("min_p", _MOST, "minP"),
    _same("repetition_penalty", _MOST, "repeat_penalty", "rep_pen", "repetitionPenalty"),
    _same("frequency_penalty", _MOST, "frequencyPenalty"),
    _same("presence_penalty", _MOST, "presencePenalty"),
    _same("logit_bias", _SOME, "logitBias"),
    _same("n", _SOME, "num_return_sequences", "candidate_count", "candidateCount"),
    # How many of the ranked documents come back
    _same("top_n", ("scores",), "top_k", "topN", "topK"),
    _same("documents", ("scores",), "texts"),
    _same("return_documents", ("scores",), "return_text"),
    _same("instruct", ("scores",), "instruction"),
)
# What stands inside sampling_params on /generate and may stand beside `text`.
SAMPLING = (
    "stop_regex", "ignore_eos", "regex", "ebnf", "json_schema", "structural_tag", "skip_special_tokens",
    "spaces_between_special_tokens", "custom_params", "beam_width", "stream_interval",
    *(name for names, read in SETTINGS if "native" in read for name in names))
_STOPS = ("stop", "stop_sequences", "stop_regex")
# Objects in which null means unset as well; the schemas inside them are the caller's own.
_OPTIONS = ("stream_options", "response_format", "tool_choice", "reasoning", "thinking", "output_config", "logit_bias")


# Of each kind of route, the names that are another's word for a setting of its own: most requests have none of them.
_FOREIGN = {kind: frozenset(name for names, read in SETTINGS if kind in read for name in names
                            if name not in read[kind]) for kind in {kind for _, read in SETTINGS for kind in read}}
_NONE: frozenset[str] = frozenset()


def without_nulls(body: Mapping[str, Any]) -> dict[str, Any]:
    """A body without the fields that are null: null means unset, and some of SGLang's fields refuse it."""
    kept = {name: value for name, value in body.items() if value is not None}
    for name in _OPTIONS:
        if isinstance(kept.get(name), dict):
            kept[name] = _set(kept[name])
    if isinstance(kept.get("response_format"), dict) and isinstance(kept["response_format"].get("json_schema"), dict):
        kept["response_format"]["json_schema"] = _set(kept["response_format"]["json_schema"])
    if isinstance(kept.get("tools"), list):
        kept["tools"] = [_tool(tool) if isinstance(tool, dict) else tool for tool in kept["tools"]]
    return kept


def _set(fields: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}


def _tool(tool: dict[str, Any]) -> dict[str, Any]:
    kept = _set(tool)
    if isinstance(kept.get("function"), dict):
        kept["function"] = _set(kept["function"])
    return kept


def renamed(fields: Mapping[str, Any], kind: str) -> dict[str, Any]:
    """Settings under the names that a route of `kind` reads, without nulls and without empty stop strings. A name that
    the route reads itself wins over the same setting under another; a setting that it lacks keeps its name."""
    result = {name: value for name, value in fields.items() if value is not None}
    for names, read in () if _FOREIGN.get(kind, _NONE).isdisjoint(result) else SETTINGS:
        own = read.get(kind)
        if not own:
            continue
        others = [result.pop(name) for name in names if name in result and name not in own]
        if others and not any(name in result for name in own):
            result[own[0]] = others[0]
    if kind == "messages" and isinstance(result.get("stop_sequences"), str):
        result["stop_sequences"] = [result["stop_sequences"]]
    if kind in _SOME and type(result.get("stop_token_ids")) is int:
        result["stop_token_ids"] = [result["stop_token_ids"]]
    if kind == "chat":
        _chat_logprobs(result)
    return _without_empty_stops(result)


def merged(beside: dict[str, Any], inside: dict[str, Any], kind: str) -> dict[str, Any]:
    """Settings beside a prompt and those in its sampling_params, both renamed: the latter win, under any name."""
    for names, read in SETTINGS if inside else ():
        if any(name in inside for name in names):
            beside = {name: value for name, value in beside.items() if name not in read.get(kind, ())}
    return {**beside, **inside}


def _chat_logprobs(fields: dict[str, Any]) -> None:
    """`logprobs` with a number, as completions have it; and `top_logprobs` alone, which asks for them."""
    asked = fields.get("logprobs")
    if isinstance(asked, int) and not isinstance(asked, bool) and asked not in (0, 1):
        fields["logprobs"] = True
        fields.setdefault("top_logprobs", asked)
    if fields.get("top_logprobs"):
        fields.setdefault("logprobs", True)


def with_native_logprobs(body: dict[str, Any], params: dict[str, Any] | None) -> dict[str, Any]:
    """A body of /generate in which `logprobs` and `top_logprobs`, as the OpenAI routes have them, are its own fields.
    They are taken out of `params`, its sampling_params, too, whose values win. Raises JobError 400."""
    asked: dict[str, Any] = {}
    for fields in (body, params or {}):
        for name in ("logprobs", "top_logprobs"):
            if (value := fields.get(name)) is not None:
                asked[name] = value
                if not isinstance(value, int) or name == "top_logprobs" and isinstance(value, bool):
                    raise JobError(f"`{name}` must be {'true, false or ' * (name == 'logprobs')}a number.", param=name)
    body = {name: value for name, value in body.items() if name not in asked}
    for name in asked:
        (params or {}).pop(name, None)
    flag, top = asked.get("logprobs", False), asked.get("top_logprobs", 0)
    if flag is not False or top:
        body.setdefault("return_logprob", True)
        if top or flag is not True:
            body.setdefault("top_logprobs_num", top or flag)
    return body


def _without_empty_stops(fields: dict[str, Any]) -> dict[str, Any]:
    """An empty stop string is found at once, in front of every answer."""
    for name in _STOPS:
        stops = fields.get(name)
        if isinstance(stops, list):
            fields[name] = stops = [stop for stop in stops if stop != "" and stop is not None]
        if stops == "" or stops == []:
            del fields[name]
    return fields
