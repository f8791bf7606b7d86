"""Fields of other servers that change an answer and that SGLang does not read: put into its own, or refused by name.

Pure. Left in, they would be dropped without a word (on /generate: refused). A value that asks for nothing is dropped;
a field that only hints, names or counts (`user`, `metadata`, `store` …) is none of this module's business.
"""

from __future__ import annotations

import json
from typing import Any

from job import sampling
from job.unread import GENERATING, UNREAD, Unread
from utils import JobError

# Values that ask for nothing in any field. Not 0: `seed` and `prompt_logprobs` mean it.
_NOTHING: tuple[Any, ...] = (None, "", [], {})
# Where true is what is done without them, and false asks for something.
_ANSWERED_BY_TRUE = frozenset((
    "think", "enable_thinking", "skip_special_tokens", "add_generation_prompt", "spaces_between_special_tokens",
    "normalize", "normalized", "include_reasoning", "include_thoughts", "separate_reasoning"))
# vLLM's sampling settings that ask for nothing here; /generate would refuse the name.
_DROPPED = ("length_penalty", "early_stopping", "best_of", "detokenize", "do_sample")
# What a chat template reads: SGLang passes it on inside chat_template_kwargs alone.
_TEMPLATE = ("chat_template", "documents", "enable_thinking", "spaces_between_special_tokens")
_TEMPLATES = {"chat": _TEMPLATE, "responses": ("documents", "enable_thinking")}
# The window in which repetitions count is the whole text here.
_WINDOWS = ("repeat_last_n", "rep_pen_range", "repetition_penalty_range")
# Where thoughts shall stand (llama.cpp, Groq): a chat's content, or beside it, as it is by default.
_FORMATS = {"none": False, "raw": False, "auto": True, "parsed": True, "deepseek": True, "deepseek-legacy": True}
# Those that may stand beside `text`.
NATIVE = (*(name for kind, name in UNREAD if kind == "native"), *_DROPPED, *_WINDOWS, "thinking", "reasoning_format")


def settled(body: dict[str, Any], kind: str, suffix: bool = False) -> dict[str, Any]:
    """A body (or sampling_params) in which nothing is left that a route of `kind` would ignore and that changes the
    answer. `suffix`: /v1/completions reads it. Raises JobError 400 naming the field and the remedy."""
    body = dict(body)
    if kind in GENERATING and body.get("do_sample") is False:  # Hugging Face's word for greedy
        body.setdefault("temperature", 0)
    _template_kwargs(body, kind)
    _efforts(body, kind)
    _thoughts(body, kind)
    for name in list(body):
        row = _ROWS.get((kind, name))
        if row is None or name == "suffix" and suffix and kind == "completions":
            continue
        if _asks(name, body[name], row.neutral, kind):
            raise _without_effect(name, body[name], row.remedy)
        del body[name]
    if kind == "native":
        for name in _DROPPED:
            if name != "best_of" or _small(body.get(name), body.get("n", 1)):
                body.pop(name, None)
    if kind in GENERATING:
        _check_values(body, kind)
    return body


def _row(kind: str, name: str) -> Unread | None:
    """What the table says of a field, or of the same setting under another name."""
    if (row := UNREAD.get((kind, name))) or kind not in GENERATING:
        return row
    others = next((names for names, read in sampling.SETTINGS if name in names and kind not in read), ())
    return next((UNREAD[kind, other] for other in others if (kind, other) in UNREAD), None)


# Looked up once for every name that there is, and not for every field of every request.
_ROWS = {(kind, name): row for kind in {*GENERATING, *(kind for kind, _ in UNREAD)}
         for name in {*(name for _, name in UNREAD), *(name for names, _ in sampling.SETTINGS for name in names)}
         if (row := _row(kind, name))}


def _without_effect(name: str, value: Any, remedy: str) -> JobError:
    return JobError(f"`{name}` {_shown(value)}is not known to SGLang here and would have no effect: {remedy}.",
                    param=name.partition(".")[0])


def _check_values(body: dict[str, Any], kind: str) -> None:
    """Fields of which it depends on the value, or on another field, whether they have an effect."""
    reasoning = body.get("reasoning")
    if kind == "chat" and isinstance(reasoning, dict) and reasoning.get("max_tokens"):
        raise _without_effect("reasoning.max_tokens", None, "use `max_tokens`")
    best, n = body.get("best_of"), body.get("n", 1)
    if kind != "native" and type(best) is int and type(n) is int and best > n:  # /generate refuses the name itself
        raise _without_effect("best_of", best, "use `n`, and choose among the answers")
    if kind in ("chat", "completions", "messages") and isinstance(body.get("text"), str) and body["text"]:
        raise _without_effect("text", None, "give the prompt in the route's own field alone")
    for name in _WINDOWS:
        window = body.pop(name, None)
        if body.get("repetition_penalty") not in (None, 1) and window not in (None, 0, -1):
            raise _without_effect(name, window, "`repetition_penalty` counts the whole text")


def _asks(name: str, value: Any, nothing: tuple[Any, ...], kind: str) -> bool:
    if name == "add_special_tokens":  # which are there already where a template writes them, and otherwise not
        return value is (kind not in ("native", "completions"))
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


def _template_kwargs(body: dict[str, Any], kind: str) -> None:
    given = {name: body.pop(name) for name in _TEMPLATES.get(kind, ()) if body.get(name) is not None}
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


def _thoughts(body: dict[str, Any], kind: str) -> None:
    """Whether the model shall think, and where its thoughts shall stand, in the words of other routes and servers."""
    if kind == "messages" and isinstance(switch := body.pop("enable_thinking", None), bool):
        body.setdefault("thinking", {"type": "adaptive" if switch else "disabled"})
    thinking = body.get("thinking")
    off = thinking is False or isinstance(thinking, dict) and thinking.get("type") == "disabled"
    if kind in ("native", "completions", "responses"):
        if off and kind == "responses":
            body.setdefault("reasoning", {"effort": "none"})
        elif off:
            raise _without_effect("thinking", None, "use /v1/chat/completions or /v1/messages")
        body.pop("thinking", None)
    shown = body.get("reasoning_format")
    if kind in GENERATING and shown is not None:
        separate = _FORMATS.get(shown) if isinstance(shown, str) else None
        if separate is None or kind != "chat" and not separate:
            raise _without_effect("reasoning_format", None, "use `separate_reasoning` of /v1/chat/completions")
        del body["reasoning_format"]
        if not separate:
            body.setdefault("separate_reasoning", False)
