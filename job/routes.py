"""A job's input to one HTTP request for the engine.

Pure: no I/O. `plan` turns whatever RunPod hands over under `input` into a `Request`, or raises
utils.JobError naming the field and the remedy. A path that reaches the engine always comes from route_table.py,
never from the job. What the fields of a body mean is the business of names.py, sampling.py, constraints.py, foreign.py
and dialogue.py.
"""

from __future__ import annotations

import dataclasses
from typing import Any
from urllib.parse import unquote

from answer.request import Request
from job import carried, constraints, dialogue, foreign, names, ollama, reshape, rids, sampling, tools, transcription
from job.amend import amended
from job.context import Context
from job.older import check as check_older
from job.route_table import ROUTES, Route, match
from utils import JobError

__all__ = ["ROUTES", "Context", "match", "plan"]

# Fields that choose how the job is read, or that worker-vllm takes, and that no engine route knows.
_WORKER_FIELDS = ("apply_chat_template", "max_batch_size", "min_batch_size", "batch_size_growth_factor",
                  "use_openai_format")
_NATIVE_PROMPTS = ("text", "input_ids", "input_embeds")
_MEDIA = ("image_data", "video_data", "audio_data")
# What may stand beside `text`; natively it lives inside sampling_params.
_BESIDE_TEXT = (*sampling.SAMPLING, *constraints.NAMES, *foreign.NATIVE)
_GENERATING = ("chat", "completions", "responses", "messages")
_MODELS = "/v1/models/"


def plan(job_input: Any, context: Context, job_id: str) -> Request:
    """The engine request for a job's `input`. Raises JobError (400, 404 or 405) when there is none.

    Read in this order: `openai_route` with `openai_input` (as RunPod's gateway sends for /openai/*), `route` with
    `body` and `method`, `messages` (chat), `text`/`input_ids`/`input_embeds` (native generate), `prompt`
    (completions), anything else as it is to /generate.
    """
    if not isinstance(job_input, dict):
        raise JobError("`input` must be a JSON object, for example {\"messages\": [...]} or {\"text\": \"...\"}.",
                       param="input")
    if not job_input:
        raise JobError("`input` is empty: give `messages`, `text`, `prompt`, or `openai_route` with `openai_input`.",
                       param="input")
    if job_input.get("openai_input") is not None and job_input.get("openai_route") is None:
        raise JobError("`openai_input` needs `openai_route`, for example \"/v1/chat/completions\".",
                       param="openai_route")
    for route_field, body_field in (("openai_route", "openai_input"), ("route", "body")):
        if job_input.get(route_field) is not None:
            method = job_input.get("method") if route_field == "route" else None
            request = _routed(job_input[route_field], job_input.get(body_field), method, route_field, body_field,
                              context, job_id)
            return dataclasses.replace(request, openai=route_field == "openai_route",
                                       headers=carried.headers(job_input.get("headers")))
    kinds = [k for k in ("messages", "prompt", *_NATIVE_PROMPTS) if job_input.get(k) is not None]
    if len(kinds) > 1:
        raise JobError(f"`input` has both `{kinds[0]}` and `{kinds[1]}`: give only one of them.", param=kinds[1])
    if kinds in (["messages"], ["prompt"]):
        return _openai_job(job_input, kinds[0], context, job_id)
    return _native_job(job_input, context, job_id)


def _routed(route: Any, body: Any, method: Any, route_field: str, body_field: str, context: Context,
            job_id: str) -> Request:
    path, entry = match(route, context.extra_routes, route_field)
    if entry.method is None:
        named = method.upper() if isinstance(method, str) else None
        entry = dataclasses.replace(entry, method=named if named in ("GET", "POST") else "POST" if body else "GET")
    if method is not None and (not isinstance(method, str) or method.upper() != entry.method):
        raise JobError(f"`method` {_short(method)} is not open for {path}: use {entry.method!r} or leave it out.",
                       type="method_not_allowed", param="method", code=405)
    if entry.method == "GET":
        # The gateway says nothing of the method: a GET arrives as a route with no body, null or {}.
        if body:
            raise JobError(f"{path} can only be read: leave `{body_field}` out.", type="method_not_allowed",
                           param=body_field, code=405)
        return _ollama(path, {}, context, job_id) if entry.shape == "ollama" else _read(path, context)
    if body is None and entry.bare:
        body = {}
    if not isinstance(body, dict) or not (body or entry.bare):
        raise JobError(f"{path} needs a JSON object as `{body_field}`.", param=body_field)
    if entry.shape == "ollama":
        return _ollama(path, _opened(body), context, job_id)
    if path == transcription.PATH:
        return transcription.planned(_opened(body), context)
    if entry.shape == "vertex":
        body, change = reshape.predictions(_opened(body))
        return dataclasses.replace(_native_job(body, context, job_id), reshape=change)
    if path == "/generate":
        return _native_job(body, context, job_id)
    return _finish(path, entry, body, context, job_id)


def _ollama(path: str, body: dict[str, Any], context: Context, job_id: str) -> Request:
    asked = ollama.asked(path, body, context)
    if asked.body is None:
        return Request("GET", asked.path, reshape=asked.reshape)
    request = _finish(asked.path, ROUTES[asked.path], asked.body, context, job_id)
    return dataclasses.replace(request, reshape=asked.reshape, lines=asked.lines)


def _read(path: str, context: Context) -> Request:
    asked = unquote(path.removeprefix(_MODELS)) if path.startswith(_MODELS) else None
    adapter = names.listed(asked, context) if asked else None
    return Request("GET", _MODELS[:-1], reshape=reshape.model_card(adapter, asked or adapter)) if adapter else (
        Request("GET", path))


def _short(value: Any) -> str:
    return repr(value[:40]) if isinstance(value, str) else f"of type {type(value).__name__}"


def _openai_job(job_input: dict[str, Any], kind: str, context: Context, job_id: str) -> Request:
    _sampling_params(job_input)
    body = {k: v for k, v in job_input.items() if k not in _WORKER_FIELDS}
    if kind == "prompt" and _flag(job_input, "apply_chat_template", False):
        if not isinstance(body["prompt"], str):
            raise JobError("`apply_chat_template` takes a `prompt` that is one string.", param="prompt")
        body["messages"] = [{"role": "user", "content": body.pop("prompt")}]
        kind = "messages"
    path = "/v1/chat/completions" if kind == "messages" else "/v1/completions"
    return _finish(path, ROUTES[path], body, context, job_id)


def _native_job(job_input: dict[str, Any], context: Context, job_id: str) -> Request:
    entry = ROUTES["/generate"]
    body = _opened({k: v for k, v in job_input.items() if k not in _WORKER_FIELDS})
    texts = _texts_to_template(job_input, context)
    names.apply(body, "/generate", entry, context)
    given = body.get("sampling_params")
    if isinstance(given, dict):
        body["sampling_params"] = given = dict(given)
    body = sampling.with_native_logprobs(body, given if isinstance(given, dict) else None)
    moved = {k: body.pop(k) for k in _BESIDE_TEXT if k in body}
    params = body.get("sampling_params")
    if isinstance(params, list):
        if beside := _native_params(moved):
            raise JobError("With a list of `sampling_params`, put every sampling field inside it.",
                           param=next((n for n in moved if n in beside or n not in foreign.NATIVE), next(iter(moved))))
        body["sampling_params"] = [_native_params(_opened(p)) if isinstance(p, dict) else p for p in params]
    else:
        params = _native_params(moved, _opened(_sampling_params(body)))
        if params or "sampling_params" in body:
            body["sampling_params"] = params
    return dataclasses.replace(_named("/generate", entry, body, job_id), template_texts=texts,
                               one_text=isinstance(job_input.get("text"), str))


def _native_params(beside: dict[str, Any], inside: dict[str, Any] | None = None) -> dict[str, Any]:
    params = sampling.merged(sampling.renamed(beside, "native"), sampling.renamed(inside or {}, "native"), "native")
    return foreign.settled(constraints.translated(params, "native"), "native")


def _opened(body: dict[str, Any]) -> dict[str, Any]:
    """A body of its own without nulls, and with what a client left in a literal `extra_body`, as OpenAI's SDK would
    have sent it, or in NVIDIA's `nvext`; what stands beside it wins."""
    opened: dict[str, Any] = {}
    for name in ("nvext", "extra_body"):
        extra = body.get(name)
        if extra is not None and not isinstance(extra, dict):
            raise JobError(f"`{name}` must be an object; its fields can as well stand beside it.", param=name)
        opened |= _opened(extra) if extra else {}
    opened |= sampling.without_nulls(body)
    return {name: value for name, value in opened.items() if name not in ("nvext", "extra_body")}


def _texts_to_template(job_input: dict[str, Any], context: Context) -> tuple[str, ...]:
    text = job_input.get("text")
    media = next((m for m in _MEDIA if job_input.get(m) is not None), None)
    # A prompt beside an image has to place the image's token itself, so it comes ready made.
    wanted = _flag(job_input, "apply_chat_template", context.apply_chat_template and text is not None and not media)
    if not wanted:
        return ()
    if media:
        raise JobError(f"`apply_chat_template` cannot place `{media}`: use `messages`, where the content names it.",
                       param="apply_chat_template")
    texts = (text,) if isinstance(text, str) else tuple(text) if isinstance(text, list) else ()
    if not texts or not all(isinstance(t, str) for t in texts):
        raise JobError("`apply_chat_template` needs `text`: a string or a list of strings.", param="text")
    return texts


def _sampling_params(job_input: dict[str, Any]) -> dict[str, Any]:
    params = job_input.get("sampling_params")
    if params is None:
        return {}
    if not isinstance(params, dict):
        raise JobError("`sampling_params` must be an object such as {\"temperature\": 0.7}.", param="sampling_params")
    return params


def _flag(job_input: dict[str, Any], name: str, default: bool) -> bool:
    value = job_input.get(name)
    if value is None:
        return default
    if not isinstance(value, bool):
        raise JobError(f"`{name}` must be true or false.", param=name)
    return value


def _finish(path: str, entry: Route, body: dict[str, Any], context: Context, job_id: str) -> Request:
    """The request for a body under a route's own path."""
    if not entry.kind:  # opened by the operator, or a body that nobody reads
        return _named(path, entry, dict(body), job_id)
    notes: tuple[str, ...] = ()
    body = _opened(body)
    names.apply(body, path, entry, context)
    if entry.kind in _GENERATING:
        inside = sampling.renamed(_opened(_sampling_params(body)), entry.kind)
        body = sampling.merged(sampling.renamed(body, entry.kind), inside, entry.kind)
        body.pop("sampling_params", None)
    elif entry.kind == "scores":
        body = sampling.renamed(body, entry.kind)
    if entry.kind == "chat" or entry.kind == "tokens" and "messages" in body:
        body = dialogue.readable(body, context.developer)
    elif entry.kind == "responses":
        body = tools.of_responses(body)
    body = foreign.settled(constraints.translated(body, entry.kind), entry.kind, context.suffix)
    check_older(body, entry.kind, context)
    if entry.kind in ("messages", "count"):
        body, notes = _without_thinking(tools.of_messages(dialogue.with_inputs(body)), context)
    change = None
    if entry.shape == "rerank":
        body, change = reshape.rerank(body, body.get("model") or context.served_model_name, job_id,
                                      default_documents=path == "/rerank")
    return dataclasses.replace(_named(path, entry, body, job_id), reshape=change, notes=notes)


def _without_thinking(body: dict[str, Any], context: Context) -> tuple[dict[str, Any], tuple[str, ...]]:
    """SGLang refuses the wish without a reasoning parser (anthropic/serving.py), and Claude Code always has it."""
    thinking = body.get("thinking")
    if context.reasoning or not isinstance(thinking, dict) or thinking.get("type") not in ("enabled", "adaptive"):
        return body, ()
    return {k: v for k, v in body.items() if k != "thinking"}, (
        "`thinking` was left out: the server has no reasoning parser (REASONING_PARSER)",)


def _named(path: str, entry: Route, body: dict[str, Any], job_id: str) -> Request:
    _flag(body, "stream", False)
    body = amended(entry.engine or path, body)
    known = rids.given(entry.engine or path, entry.rid, body, job_id) if entry.rid else ()
    return Request(entry.method or "POST", entry.engine or path, body, known)
