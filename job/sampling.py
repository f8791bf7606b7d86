"""One setting, many names: what a job calls a sampling setting, and what the route that it goes to reads.

Pure. SGLang's routes ignore the names that they do not know (/generate refuses them), so each setting is put under the
name of its route here. Names of SGLang 0.5.23: entrypoints/openai/protocol.py, entrypoints/anthropic/protocol.py and
sampling/sampling_params.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

# All names of a setting (OpenAI's, Anthropic's, vLLM's, Hugging Face's, llama.cpp's, Ollama's, Google's, SGLang's), and
# for each kind of route the names that it reads, the one to write first.
SETTINGS: tuple[tuple[tuple[str, ...], dict[str, tuple[str, ...]]], ...] = (
    (("max_tokens", "max_completion_tokens", "max_new_tokens", "max_output_tokens", "max_tokens_to_sample",
      "max_gen_len", "n_predict", "num_predict", "maxTokens", "maxOutputTokens"),
     {"native": ("max_new_tokens",), "chat": ("max_tokens", "max_completion_tokens"), "completions": ("max_tokens",),
      "responses": ("max_output_tokens",), "messages": ("max_tokens",)}),
    (("min_tokens", "min_new_tokens"),
     {"native": ("min_new_tokens",), "chat": ("min_tokens",), "completions": ("min_tokens",)}),
    (("seed", "sampling_seed", "random_seed"),
     {"native": ("sampling_seed",), "chat": ("seed",), "completions": ("seed",)}),
    (("repetition_penalty", "repeat_penalty"),
     {kind: ("repetition_penalty",) for kind in ("native", "chat", "completions", "responses")}),
    (("stop", "stop_sequences", "stop_strings", "stopSequences"),
     {"native": ("stop",), "chat": ("stop",), "completions": ("stop",), "responses": ("stop",),
      "messages": ("stop_sequences",)}),
    (("no_stop_trim", "include_stop_str_in_output"),
     {"native": ("no_stop_trim",), "chat": ("no_stop_trim",), "completions": ("no_stop_trim",)}),
)
# What stands inside sampling_params on /generate and may stand beside `text`.
SAMPLING = (
    "temperature", "top_p", "top_k", "min_p", "n", "stop_token_ids", "stop_regex", "frequency_penalty",
    "presence_penalty", "ignore_eos", "regex", "ebnf", "json_schema", "structural_tag",
    "skip_special_tokens", "spaces_between_special_tokens", "logit_bias", "custom_params", "beam_width",
    "stream_interval", *(name for names, _ in SETTINGS for name in names))
_STOPS = ("stop", "stop_sequences", "stop_regex")
# Objects in which null means unset as well; the schemas inside them are the caller's own.
_OPTIONS = ("stream_options", "response_format", "tool_choice", "reasoning", "thinking", "output_config")


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
    for names, read in SETTINGS:
        own = read.get(kind)
        if not own:
            continue
        others = [result.pop(name) for name in names if name in result and name not in own]
        if others and not any(name in result for name in own):
            result[own[0]] = others[0]
    if kind == "messages" and isinstance(result.get("stop_sequences"), str):
        result["stop_sequences"] = [result["stop_sequences"]]
    return _without_empty_stops(result)


def merged(beside: dict[str, Any], inside: dict[str, Any], kind: str) -> dict[str, Any]:
    """Settings beside a prompt and those in its sampling_params, both renamed: the latter win, under any name."""
    for names, read in SETTINGS:
        if any(name in inside for name in names):
            beside = {name: value for name, value in beside.items() if name not in read.get(kind, ())}
    return {**beside, **inside}


def _without_empty_stops(fields: dict[str, Any]) -> dict[str, Any]:
    """An empty stop string is found at once, in front of every answer."""
    for name in _STOPS:
        stops = fields.get(name)
        if isinstance(stops, list):
            fields[name] = stops = [stop for stop in stops if stop != "" and stop is not None]
        if stops == "" or stops == []:
            del fields[name]
    return fields
