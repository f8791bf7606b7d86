"""What the running server says of the names, the adapters and the chat template that it serves."""

from __future__ import annotations

import contextlib
import dataclasses
import json
from collections.abc import Sequence
from typing import Any

from engine import Served
from job import parsers
from job.context import Context
from settings.config import UNNAMED_MODEL


def learned(context: Context, engine: Served, tokenizer: bool = True) -> Context:
    """`context` with what the server itself says, once it is ready; what it does not say stays as it was. `tokenizer`:
    it has one, so that it can be asked for its template.

    A configuration file may name the model and its adapters, so the server alone knows (/v1/models: the base model
    comes first, each adapter has a `parent`; /model_info: the parsers).
    """
    cards = asked(engine, "/v1/models").get("data")
    cards = [card for card in cards if isinstance(card, dict)] if isinstance(cards, list) else []
    served = [card["id"] for card in cards if card.get("parent") is None and isinstance(card.get("id"), str)]
    adapters = tuple(card["id"] for card in cards if card.get("parent") is not None and isinstance(card["id"], str))
    if served:
        context = dataclasses.replace(context, served_model_name=served[0], adapters=adapters,
                                      lora=context.lora or bool(adapters))
    lengths = [card["max_model_len"] for card in cards if isinstance(card.get("max_model_len"), int)]
    info = asked(engine, "/model_info")
    context = dataclasses.replace(context, skills=_skills(info), length=lengths[0] if lengths else None,
                                  audio=_hears(info))
    if "reasoning_parser" in info:
        context = dataclasses.replace(context, reasoning=bool(info["reasoning_parser"]))
    if "tool_call_parser" in info:
        context = dataclasses.replace(context, tools=bool(info["tool_call_parser"]))
    if context.model == UNNAMED_MODEL and isinstance(info.get("model_path"), str):
        context = dataclasses.replace(context, model=info["model_path"])
    if not tokenizer or info.get("is_generation") is False:
        return context
    return dataclasses.replace(context, developer=_developer(engine))


def parsers_line(engine: Served, words: Sequence[str], speaks_for: str) -> str | None:
    """What the log says of the parsers of the server (parsers.line)."""
    return parsers.line(asked(engine, "/model_info"), words, speaks_for)


def _hears(info: dict[str, Any]) -> bool:
    """Whether a model may take audio: it says so, or is one of those for which SGLang has a way to transcribe (sglang:
    openai/transcription_adapters)."""
    known = ("Whisper", "Qwen3ASR", "Qwen2Audio", "GraniteSpeech", "GlmAsr", "MiMoV2ASR")
    architectures = info.get("architectures")
    return info.get("has_audio_understanding") is not False or any(
        name in str(architecture) for architecture in architectures or () for name in known)


def _skills(info: dict[str, Any]) -> tuple[str, ...]:
    """What a model can do, as Ollama's clients read it (its types/model/capability.go)."""
    if info.get("is_generation") is False:
        return ("embedding",)
    given = {"vision": "has_image_understanding", "tools": "tool_call_parser", "thinking": "reasoning_parser"}
    return ("completion", *(skill for skill, name in given.items() if info.get(name)))


def asked(engine: Served, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
    """The JSON object that the server answers with; an empty one when it does not."""
    with contextlib.suppress(ValueError):
        status, raw = engine.get(path, body=None if body is None else json.dumps(body).encode())
        answer = json.loads(raw) if status == 200 else None
        return answer if isinstance(answer, dict) else {}
    return {}


def _developer(engine: Served) -> tuple[bool, bool]:
    """Whether the chat template shows a `developer` message, in the first place and after a system message.

    No route gives the template; but two texts that come out as the same tokens are two texts that nobody sees.
    """
    def shown(*before: dict[str, str]) -> bool:
        tokens = []
        for text in ("yes", "no no no"):
            messages = [*before, {"role": "developer", "content": text}, {"role": "user", "content": "a"}]
            tokens.append(asked(engine, "/tokenize", {"messages": messages}).get("tokens"))
        return None not in tokens and tokens[0] != tokens[1]

    first = shown()
    return first, first and shown({"role": "system", "content": "a"})
