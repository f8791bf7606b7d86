"""OpenAI's answers in Ollama's shapes: one object, or lines of JSON (docs/api.md of Ollama). Pure but for the clock."""

from __future__ import annotations

import contextlib
import datetime
import hashlib
import json
import time
from collections.abc import Callable
from typing import Any

from job.context import Context

Translate = Callable[[str], str]  # a chunk of whole events to whole lines, "" for none

# The API's version that these shapes are of: clients ask for it before they use what came with it.
SPOKEN = "0.12.0"


class Answers:
    """The answers to one request. model: as it was asked for; chat: whether they are of /api/chat."""

    def __init__(self, model: str, chat: bool):
        self._model, self._chat, self._began = model, chat, time.monotonic()

    def said(self, text: str, thinking: str = "", calls: Any = None) -> dict[str, Any]:
        """What was said, without an end."""
        head = {"model": self._model, "created_at": _now()}
        thought = {"thinking": thinking} if thinking else {}
        called = {"tool_calls": calls} if calls else {}
        if self._chat:
            return {**head, "message": {"role": "assistant", "content": text, **thought, **called}, "done": False}
        return {**head, "response": text, **thought, **called, "done": False}

    def end(self, reason: str, usage: Any, first: float | None = None) -> dict[str, Any]:
        """What an answer ends with; first: when its first word came. Times in nanoseconds."""
        now, usage = time.monotonic(), usage if isinstance(usage, dict) else {}
        first = now if first is None else first
        return {"done": True, "done_reason": {"tool_calls": "stop"}.get(reason, reason),
                "total_duration": _nanoseconds(now - self._began), "load_duration": 0,
                "prompt_eval_count": usage.get("prompt_tokens") or 0,
                "prompt_eval_duration": _nanoseconds(first - self._began),
                "eval_count": usage.get("completion_tokens") or 0, "eval_duration": _nanoseconds(now - first)}

    def whole(self, answer: Any) -> Any:
        """Ollama's answer for OpenAI's."""
        choice = (answer.get("choices") or [{}])[0]
        message = choice.get("message") or {"content": choice.get("text")}
        calls = [_called(call.get("function") or {}) for call in message.get("tool_calls") or []]
        return {**self.said(message.get("content") or "", message.get("reasoning_content") or "", calls),
                **self.end(choice.get("finish_reason") or "stop", answer.get("usage"), self._began)}

    def stream(self) -> Translate:
        """What makes lines of one stream's events."""
        return _Lines(self)


class _Lines:
    def __init__(self, answers: Answers):
        self._answers = answers
        self._first: float | None = None
        self._reason, self._usage, self._ended = "stop", None, False
        self._calls: dict[int, dict[str, str]] = {}

    def __call__(self, chunk: str) -> str:
        return "".join(f"{json.dumps(line, ensure_ascii=False)}\n" for event in chunk.split("\n\n")
                       if event.startswith("data: ") for line in self._lines(event[len("data: "):]))

    def _lines(self, data: str) -> list[dict[str, Any]]:
        if self._ended:
            return []
        if data == "[DONE]":
            self._ended = True
            calls = [_called(call) for _, call in sorted(self._calls.items())]
            return [*([self._answers.said("", calls=calls)] if calls else []),
                    {**self._answers.said(""), **self._answers.end(self._reason, self._usage, self._first)}]
        event = json.loads(data)
        if event.get("error"):
            self._ended = True
            error = event["error"]
            return [{"error": error.get("message") if isinstance(error, dict) else str(error)}]
        self._usage = event.get("usage") or self._usage
        lines = []
        for choice in event.get("choices") or []:
            self._reason = choice.get("finish_reason") or self._reason
            delta = choice.get("delta") or {"content": choice.get("text")}
            for call in delta.get("tool_calls") or []:
                self._gather(call.get("index") or 0, call.get("function") or {})
            text, thinking = delta.get("content") or "", delta.get("reasoning_content") or ""
            if text or thinking:
                self._first = self._first or time.monotonic()
                lines.append(self._answers.said(text, thinking))
        return lines

    def _gather(self, index: int, function: dict[str, Any]) -> None:
        call = self._calls.setdefault(index, {"name": "", "arguments": ""})
        for name in call:
            call[name] += function.get(name) or ""


def _called(function: dict[str, Any]) -> dict[str, Any]:
    """A call whose arguments are an object; a text that is none stays one."""
    arguments = function.get("arguments") or "{}"
    with contextlib.suppress(ValueError):
        arguments = json.loads(arguments)
    return {"function": {"name": function.get("name"), "arguments": arguments}}


def loaded(answers: Answers) -> dict[str, Any]:
    """The answer to a request that only wants the model to be there."""
    return {**answers.said(""), "done": True, "done_reason": "load"}


def listed(cards: Any) -> dict[str, Any]:
    """/api/tags, of OpenAI's list of models."""
    return {"models": [_entry(card["id"]) for card in cards.get("data") or [] if isinstance(card, dict)]}


def running(cards: Any, context: Context) -> dict[str, Any]:
    """/api/ps: all of them, for as long as the endpoint is there."""
    length = {"context_length": context.length} if context.length else {}
    return {"models": [{**entry, "expires_at": "9999-12-31T23:59:59Z", "size_vram": 0, **length}
                       for entry in listed(cards)["models"]]}


def version() -> dict[str, Any]:
    """/api/version."""
    return {"version": SPOKEN}


def shown(model: str, context: Context) -> dict[str, Any]:
    """/api/show, of what is known of the model."""
    length = {f"{_family(model)}.context_length": context.length} if context.length else {}
    return {"modelfile": f"FROM {model}\n", "parameters": f"num_ctx {context.length}" if context.length else "",
            "template": "", "license": "", "modified_at": _now(), "details": _details(model),
            "model_info": {"general.architecture": _family(model), "general.basename": model, **length},
            "capabilities": list(context.skills)}


def _entry(model: str) -> dict[str, Any]:
    return {"name": model, "model": model, "modified_at": _now(), "size": 0,
            "digest": hashlib.sha256(model.encode("utf-8", "replace")).hexdigest(), "details": _details(model)}


def _details(model: str) -> dict[str, Any]:
    family = _family(model)
    return {"parent_model": "", "format": "safetensors", "family": family, "families": [family], "parameter_size": "",
            "quantization_level": ""}


def _family(model: str) -> str:
    return model.rsplit("/", 1)[-1]


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat().replace("+00:00", "Z")


def _nanoseconds(seconds: float) -> int:
    return round(max(0.0, seconds) * 1e9)
