"""Fields of other servers that change an answer and that SGLang does not read: put into its own, or refused by name.

Pure. Left in, they would be dropped without a word (on /generate: refused). A value that asks for nothing is dropped;
a field that only hints, names or counts (`user`, `metadata`, `store`, `best_of` …) is none of this module's business.
"""

from __future__ import annotations

import json
from typing import Any

from utils import JobError

_GENERATING = ("native", "chat", "completions", "responses", "messages")
_OTHERS = ("responses", "messages")  # which read few sampling settings
_CHAT = ("chat",)
_ON_CHAT = "use /v1/chat/completions, which has it"
_OPENAI = ("chat", "completions", *_OTHERS)
_IN_CONTENT = "put it into the content of a message"
_SYSTEM = "put it where the route has it: a message of the role system, `instructions` or `system`"
_BESIDE = "put what it holds beside `messages` or `prompt`, under OpenAI's names"

# Field: the kinds of route that ignore it, the values that ask for nothing, what to do instead.
_REFUSED: dict[str, tuple[tuple[str, ...], tuple[Any, ...], str]] = {
    # vLLM
    "bad_words": (_GENERATING, (), "use `logit_bias` with -100 for their tokens"),
    "allowed_token_ids": (_GENERATING, (), "use `regex`, or `logit_bias`"),
    "use_beam_search": (_GENERATING, (), "use `beam_width` in the sampling_params of /generate"),
    "logits_processors": (_GENERATING, (), "use `custom_logit_processor`"),
    "truncate_prompt_tokens": ((*_GENERATING, "pooled", "scores"), (), "shorten the prompt"),
    "prompt_logprobs": (_GENERATING, (), "use `return_logprob` with `logprob_start_len` 0 on /generate"),
    "guided_whitespace_pattern": (_GENERATING, (), "the server's --constrained-json-whitespace-pattern sets it"),
    "echo": (("chat", *_OTHERS), (), "use `continue_final_message`, or `echo` on /v1/completions"),
    "add_generation_prompt": (_CHAT, (True,), "end with an assistant's message and `continue_final_message`"),
    "add_special_tokens": (("chat", "completions"), (), "give the prompt as token ids"),
    "thinking_token_budget": (_GENERATING, (), "use `max_tokens`, or `max_thinking_tokens` on /generate"),
    "max_thinking_tokens": (("chat", "completions", *_OTHERS), (), "use `max_tokens`, or /generate, which has it"),
    "think": (_GENERATING, (True,), "use `chat_template_kwargs` of /v1/chat/completions, under your template's name"),
    "thinking_budget": (_GENERATING, (), "use `max_tokens`, or `max_thinking_tokens` on /generate"),
    # text-generation-inference, llama.cpp and their kin
    "truncate": (_GENERATING, (), "shorten the prompt"),
    "typical_p": (_GENERATING, (1,), "use `top_p` or `min_p`"),
    "top_a": (_GENERATING, (0,), "use `top_p` or `min_p`"),
    "tfs": (_GENERATING, (1,), "use `top_p` or `min_p`"),
    "tfs_z": (_GENERATING, (1,), "use `top_p` or `min_p`"),
    "mirostat": (_GENERATING, (0,), "use `top_p` or `min_p`"),
    "mirostat_mode": (_GENERATING, (0,), "use `top_p` or `min_p`"),
    "dry_multiplier": (_GENERATING, (0,), "use `repetition_penalty`"),
    "xtc_probability": (_GENERATING, (0,), "use `temperature`"),
    "no_repeat_ngram_size": (_GENERATING, (0,), "use `repetition_penalty`"),
    "return_full_text": (_GENERATING, (), "use `echo` on /v1/completions"),
    "parameters": (_GENERATING, (), _BESIDE), "options": (_GENERATING, (), _BESIDE),
    "generation_config": (_GENERATING, (), _BESIDE), "generationConfig": (_GENERATING, (), _BESIDE),
    # Hugging Face
    "num_beams": (_GENERATING, (1,), "use `beam_width` in the sampling_params of /generate"),
    "num_return_sequences": (_GENERATING, (1,), "use `n`"),
    "bad_words_ids": (_GENERATING, (), "use `logit_bias` with -100 for their tokens"),
    "suppress_tokens": (_GENERATING, (), "use `logit_bias` with -100 for them"),
    "force_words_ids": (_GENERATING, (), "use `regex`"),
    "max_time": (_GENERATING, (), "use `max_tokens`"),
    "max_length": (_GENERATING, (), "use `max_tokens`, which counts the answer alone"),
    # OpenAI
    "suffix": (("chat", "completions", "native"), (), "put the model's own fill-in-the-middle tokens into the prompt, "
               "or set COMPLETION_TEMPLATE, with which /v1/completions reads it"),
    "web_search_options": (_GENERATING, (), "this server does not search: give what was found in the messages"),
    "search_parameters": (_GENERATING, (), "this server does not search: give what was found in the messages"),
    "audio": (_CHAT, (), "the served model answers with text"),
    "modalities": (_CHAT, (["text"],), "the served model answers with text"),
    "prompt": (("responses",), (), "stored prompts are not kept here: use `input` and `instructions`"),
    "conversation": (("responses",), (), "conversations are not kept here: send the items in `input`"),
    "functions": (("completions", *_OTHERS), (), "use `tools`"),
    "tools": (("completions",), (), _ON_CHAT),
    # Anthropic
    "system": (("chat", "completions", "responses"), (), _SYSTEM),
    "instructions": (("chat", "completions", "messages"), (), _SYSTEM), "system_prompt": (_OPENAI, (), _SYSTEM),
    "system_instruction": (_OPENAI, (), _SYSTEM), "systemInstruction": (_OPENAI, (), _SYSTEM),
    "mcp_servers": (("messages",), (), "give the tools themselves in `tools`"),
    "container": (("messages",), (), "this server has none"),
    # Embeddings and ranking
    "late_chunking": (("pooled",), (), "send the chunks as inputs of their own"),
    "normalize": (("pooled",), (True,), "the server decides on it"),
    "normalized": (("pooled",), (True,), "the server decides on it"),
    "prompt_name": (("pooled",), (), "write the prompt in front of the input"),
    "rank_fields": (("scores",), (), "give `documents` as the texts that count"),
    # SGLang's own, where a route lacks them
    **{name: (_OPENAI, (), _IN_CONTENT) for name in ("image_data", "video_data", "audio_data", "images")},
    "beam_width": (_OPENAI, (1,), "use it in the sampling_params of /generate"),
    "return_logprob": (_OPENAI, (), "use `logprobs`"),
    "spaces_between_special_tokens": (("completions", *_OTHERS), (True,), _ON_CHAT),
    **{name: (_OTHERS, neutral, _ON_CHAT) for name, neutral in (
        ("min_tokens", (0,)), ("min_new_tokens", (0,)), ("seed", ()), ("sampling_seed", ()), ("random_seed", ()),
        ("n", (1,)), ("logit_bias", ()), ("stop_token_ids", ()), ("stop_regex", ()), ("ignore_eos", ()),
        ("no_stop_trim", ()), ("include_stop_str_in_output", ()), ("skip_special_tokens", (True,)),
        ("custom_logit_processor", ()), ("custom_params", ()), ("continue_final_message", ()), ("logprobs", (0,)))},
    **{name: (("messages",), neutral, _ON_CHAT) for name, neutral in (
        ("repetition_penalty", (1,)), ("repeat_penalty", (1,)), ("min_p", (0,)),
        ("frequency_penalty", (0,)), ("presence_penalty", (0,)),
        ("chat_template_kwargs", ()), ("top_logprobs", (0,)))},
    "chat_template": (("native", "completions", *_OTHERS), (), _ON_CHAT),
}
# Values that ask for nothing in any field. Not 0: `seed` and `prompt_logprobs` mean it.
_NOTHING: tuple[Any, ...] = (None, "", [], {})
_ANSWERED_BY_TRUE = ("think", "skip_special_tokens", "add_generation_prompt", "spaces_between_special_tokens",
                     "normalize", "normalized")
# vLLM's sampling settings that ask for nothing here; /generate would refuse the name.
_DROPPED = ("length_penalty", "early_stopping", "best_of", "detokenize", "do_sample")
# What a chat template reads: SGLang passes it on inside chat_template_kwargs alone.
_TEMPLATE = ("chat_template", "documents", "enable_thinking", "spaces_between_special_tokens")
# Those that may stand beside `text`.
NATIVE = (*(name for name, (kinds, _, _) in _REFUSED.items() if "native" in kinds), *_DROPPED)


def settled(body: dict[str, Any], kind: str, suffix: bool = False) -> dict[str, Any]:
    """A body (or sampling_params) in which nothing is left that a route of `kind` would ignore and that changes the
    answer. `suffix`: /v1/completions reads it. Raises JobError 400 naming the field and the remedy."""
    body = dict(body)
    if kind in _GENERATING and body.get("do_sample") is False:  # Hugging Face's word for greedy
        body.setdefault("temperature", 0)
    if kind == "chat":
        _template_kwargs(body)
    _efforts(body, kind)
    for name in [name for name in body if name in _REFUSED]:
        kinds, nothing, remedy = _REFUSED[name]
        if kind not in kinds or name == "suffix" and suffix and kind == "completions":
            continue
        value = body[name]
        if not _asks(name, value, nothing, kind):
            del body[name]
        else:
            raise JobError(f"`{name}` {_shown(value)}is not known to SGLang here and would have no effect: {remedy}.",
                           param=name)
    if kind == "native":
        for name in _DROPPED:
            if name != "best_of" or _small(body.get(name), body.get("n", 1)):
                body.pop(name, None)
    reasoning, choice = body.get("reasoning"), body.get("tool_choice")
    if kind == "chat" and isinstance(reasoning, dict) and reasoning.get("max_tokens"):
        raise JobError("`reasoning.max_tokens` is not known to SGLang here and would have no effect: use `max_tokens`.",
                       param="reasoning")
    if kind == "responses" and isinstance(choice, dict) and choice.get("type") not in ("function", "custom", "auto"):
        raise JobError("`tool_choice` can be \"auto\", \"none\", \"required\" or a function here; any other would be "
                       "taken for \"auto\".", param="tool_choice")
    return body


def _asks(name: str, value: Any, nothing: tuple[Any, ...], kind: str) -> bool:
    if name == "add_special_tokens":
        return value is (kind == "chat")
    if name in _ANSWERED_BY_TRUE:
        return value is False
    if value is False:
        return False
    if name == "web_search_options" and value == {}:  # OpenAI's way to ask for a search
        return True
    return not any(value == other and isinstance(value, bool) is isinstance(other, bool)
                   for other in (*_NOTHING, *nothing))


def _shown(value: Any) -> str:
    return f"({json.dumps(value)}) " if isinstance(value, (bool, int, float)) and abs(value) < 1e9 else ""


def _small(best: Any, n: Any) -> bool:
    return best is None or isinstance(best, int) and isinstance(n, int) and best <= n


def _template_kwargs(body: dict[str, Any]) -> None:
    given = {name: body.pop(name) for name in _TEMPLATE if body.get(name) is not None}
    if given.get("spaces_between_special_tokens") is True:  # as it is without
        del given["spaces_between_special_tokens"]
    own = body.get("chat_template_kwargs")
    if given and (own is None or isinstance(own, dict)):
        body["chat_template_kwargs"] = {**given, **(own or {})}


def _efforts(body: dict[str, Any], kind: str) -> None:
    """OpenAI's `reasoning_effort` of a chat, where the route has it inside another field."""
    inside = {"responses": "reasoning", "messages": "output_config"}.get(kind)
    if inside is None or body.get("reasoning_effort") is None:
        return
    effort, own = body.pop("reasoning_effort"), body.get(inside)
    if own is None or isinstance(own, dict):
        body[inside] = {"effort": effort, **(own or {})}
