"""Ollama's requests, put into OpenAI's words.

Pure. SGLang has some of these routes itself (entrypoints/ollama/serving.py of 0.5.23), but passes over images, tools,
`format`, `think` and most options there, takes no `seed`, and drops the text that comes with the end of a stream. So
they go to its OpenAI routes, where all of this is, and what holds there holds here. The names are those of Ollama's
docs/api.md; what its answers look like is ollama_answers.py's.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterator
from typing import Any

from job import names, sampling
from job.context import Context
from job.ollama_answers import Answers, Translate, listed, loaded, running, shown, version
from job.reshape import Reshape
from utils import JobError

CHAT, GENERATE, SHOW = "/api/chat", "/api/generate", "/api/show"
_COMPLETIONS, _MODELS = "/v1/completions", "/v1/models"
_READS: dict[str, Callable[[Any, Context], Any]] = {
    "/api/tags": lambda cards, _: listed(cards), "/api/ps": running, "/api/version": lambda *_: version()}

# Options that say how Ollama itself runs a model: here the endpoint's settings do.
_MACHINE = frozenset((
    "num_ctx", "num_keep", "num_batch", "num_gpu", "main_gpu", "num_thread", "numa", "low_vram", "use_mmap",
    "use_mlock", "vocab_only", "f16_kv", "logits_all", "embedding_only", "repeat_last_n", "mirostat_tau",
    "mirostat_eta", "penalize_newline"))
_OPTIONS = frozenset((*sampling.SAMPLING, "typical_p", "tfs_z", "mirostat"))
_DROPPED = ("keep_alive", "truncate", "shift", "options", "format", "think", "images", "system", "template", "raw",
            "context", "prompt", "suffix")


@dataclasses.dataclass(frozen=True)
class Asked:
    """path, body: of the engine's OpenAI route, without a body for a read; reshape: makes Ollama's answer of its whole
    one; lines: makes what turns the events of a stream into Ollama's lines, anew for each."""

    path: str
    body: dict[str, Any] | None
    reshape: Reshape
    lines: Callable[[], Translate] | None = None


def asked(path: str, body: dict[str, Any], context: Context) -> Asked:
    """What a body for one of Ollama's routes asks for. Raises JobError."""
    if path in _READS:
        return Asked(_MODELS, None, lambda cards: _READS[path](cards, context))
    model = _model(body, context)
    if path == SHOW:
        return Asked(_MODELS, None, lambda _: shown(model, context))
    answers = Answers(model, chat=path == CHAT)
    if not (body.get("messages") if path == CHAT else body.get("prompt") or body.get("images")):
        return Asked(_MODELS, None, lambda _: loaded(answers))  # a client's way to have the model loaded
    fields = {name: value for name, value in body.items() if name not in _DROPPED}
    fields |= {"model": model, "stream": _flag(body, "stream", True)} | _settings(body)
    if fields["stream"]:
        fields["stream_options"] = {"include_usage": True}
    target = "/v1/chat/completions"
    if path == CHAT:
        fields["messages"] = list(_messages(body["messages"]))
    elif _flag(body, "raw", False) or body.get("suffix"):
        target = _COMPLETIONS
        fields["prompt"] = _text(body, "prompt")
        fields |= {"suffix": body["suffix"]} if body.get("suffix") else {}
        if body.get("images") or body.get("system"):
            raise JobError("`raw` and `suffix` take a `prompt` alone: put all of it in there.", param="prompt")
    else:
        fields["messages"] = list(_spoken(body))
    for name, remedy in (("template", "the model's own template is used; `raw` uses none"),
                         ("context", "send the conversation to /api/chat")):
        if body.get(name):
            raise JobError(f"`{name}` is not known here and would have no effect: {remedy}.", param=name)
    return Asked(target, fields, answers.whole, answers.stream)


def _model(body: dict[str, Any], context: Context) -> str:
    """The model that is asked for, without the tag that Ollama adds to a name."""
    model = body.get("model") or body.get("name") or context.served_model_name
    if not isinstance(model, str):
        raise JobError("`model` must be a string.", param="model")
    try:
        names.adapter_of(model, context)
    except JobError:
        if not model.endswith(":latest"):
            raise
        model = model.removesuffix(":latest")
        names.adapter_of(model, context)
    return model


def _settings(body: dict[str, Any]) -> dict[str, Any]:
    options, form, think = body.get("options") or {}, body.get("format"), body.get("think")
    if not isinstance(options, dict):
        raise JobError("`options` must be an object such as {\"temperature\": 0.7}.", param="options")
    fields: dict[str, Any] = {}
    for name, value in options.items():
        if name in _MACHINE or value is None or name == "num_predict" and value in (-1, -2):  # as much as fits
            continue
        if name not in _OPTIONS:
            raise JobError(f"`options` has {name[:40]!r}, which is not known here and would have no effect.",
                           param=f"options.{name[:40]}")
        fields[name] = value
    if isinstance(form, dict):
        fields["response_format"] = {"type": "json_schema", "json_schema": {"name": "answer", "schema": form}}
    elif form == "json":
        fields["response_format"] = {"type": "json_object"}
    elif form:
        raise JobError("`format` must be \"json\" or a JSON schema.", param="format")
    if isinstance(think, bool):  # templates call it by one of these names, and pass over the other
        fields["chat_template_kwargs"] = {"enable_thinking": think, "thinking": think}
    elif think in ("low", "medium", "high"):
        fields["reasoning_effort"] = think
    elif think is not None:
        raise JobError("`think` must be true, false, \"low\", \"medium\" or \"high\".", param="think")
    return fields


def _spoken(body: dict[str, Any]) -> Iterator[dict[str, Any]]:
    if body.get("system"):
        yield {"role": "system", "content": _text(body, "system")}
    yield _pictured({"role": "user", "content": _text(body, "prompt"), "images": body.get("images")}, "images")


def _messages(messages: Any) -> Iterator[Any]:
    """Ollama's calls have no ids: an answer to one names its tool, or just follows."""
    if not isinstance(messages, list):
        raise JobError("`messages` must be a list.", param="messages")
    waiting: list[tuple[str, Any]] = []
    for number, message in enumerate(messages):
        if not isinstance(message, dict):
            yield message  # the engine says what is wrong with it
            continue
        message = _pictured(message, f"messages[{number}].images")
        message.pop("thinking", None)
        calls, tool = message.get("tool_calls"), message.pop("tool_name", None)
        if isinstance(calls, list) and calls:
            message["tool_calls"] = [_call(call, f"call_{number}_{place}") for place, call in enumerate(calls)]
            waiting = [(call["id"], call["function"].get("name")) for call in message["tool_calls"]
                       if isinstance(call, dict)]
        if message.get("role") == "tool" and "tool_call_id" not in message:
            answered = next((entry for entry in waiting if tool is None or entry[1] == tool), (f"call_{number}", tool))
            waiting = [entry for entry in waiting if entry != answered]
            message["tool_call_id"] = answered[0]
        yield message


def _call(call: Any, name: str) -> Any:
    function = call.get("function") if isinstance(call, dict) else None
    if not isinstance(function, dict):
        raise JobError("`tool_calls` must be objects such as {\"function\": {\"name\": ..., \"arguments\": {...}}}.",
                       param="messages")
    arguments = function.get("arguments")
    text = arguments if isinstance(arguments, str) else json.dumps(arguments or {})
    return {"id": call.get("id") or name, "type": "function",
            "function": {"name": function.get("name"), "arguments": text}}


def _pictured(message: dict[str, Any], field: str) -> dict[str, Any]:
    """A message with its images as parts of its content."""
    message = dict(message)
    images = message.pop("images", None)
    if not images:
        return message
    if not isinstance(images, list) or not all(isinstance(image, str) for image in images):
        raise JobError(f"`{field}` must be a list of images in base64.", param=field)
    pictures = [{"type": "image_url", "image_url": {"url": image}} for image in images]
    return {**message, "content": [{"type": "text", "text": message.get("content") or ""}, *pictures]}


def _text(body: dict[str, Any], name: str) -> str:
    value = body.get(name) or ""
    if not isinstance(value, str):
        raise JobError(f"`{name}` must be a string.", param=name)
    return value


def _flag(body: dict[str, Any], name: str, default: bool) -> bool:
    value = body.get(name)
    if value is None:
        return default
    if not isinstance(value, bool):
        raise JobError(f"`{name}` must be true or false.", param=name)
    return value
