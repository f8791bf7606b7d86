"""A job's input to one HTTP request for the engine.

Pure: no I/O. `plan` turns whatever RunPod hands over under `input` into a `Request`, or raises
utils.JobError naming the field and the remedy. A path that reaches the engine always comes from route_table.py,
never from the job.
"""

from __future__ import annotations

import dataclasses
from typing import Any

from answer.request import Request
from job import shape
from job.amend import amended
from job.route_table import ROUTES, Route, match
from utils import JobError

_SAFE_RID = 16  # characters; a caller's shorter id may well be the beginning of another job's
# Generating routes make a batch's ids of the one that is given; these want a list (sglang: EmbeddingReqInput).
_NO_PREFIX = ("/v1/embeddings", "/v1/classify", "/encode", "/classify")
# Fields that choose how the job is read, or that worker-vllm takes, and that no engine route knows.
_WORKER_FIELDS = ("apply_chat_template", "max_batch_size", "min_batch_size", "batch_size_growth_factor",
                  "use_openai_format")
_NATIVE_PROMPTS = ("text", "input_ids", "input_embeds")
_MEDIA = ("image_data", "video_data", "audio_data")
# The same setting under OpenAI's name (left) and in SGLang's native sampling_params (right).
_OPENAI_TO_NATIVE = {"max_tokens": "max_new_tokens", "max_completion_tokens": "max_new_tokens",
                     "min_tokens": "min_new_tokens", "seed": "sampling_seed"}
_NATIVE_TO_OPENAI = {"max_new_tokens": "max_tokens", "min_new_tokens": "min_tokens", "sampling_seed": "seed"}
# OpenAI's sampling fields that may stand beside `text`; natively they live inside sampling_params.
_SHARED_SAMPLING = ("temperature", "top_p", "top_k", "min_p", "n", "stop", "stop_token_ids", "frequency_penalty",
                    "presence_penalty", "repetition_penalty", "ignore_eos", "regex", "ebnf", "json_schema",
                    "skip_special_tokens", "logit_bias", *_OPENAI_TO_NATIVE)


@dataclasses.dataclass(frozen=True)
class Context:
    """What `plan` has to know of this worker.

    served_model_name: the name the engine answers to; model: the name the user configured; apply_chat_template:
    whether native `text` is wrapped in the chat template unless a job says otherwise; lora: adapters are in use;
    extra_routes: engine paths that the operator opened by name; incremental: the events of a native stream carry only
    what is new (--incremental-streaming-output).
    """

    served_model_name: str
    model: str
    apply_chat_template: bool = False
    lora: bool = False
    extra_routes: tuple[str, ...] = ()
    incremental: bool = False


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
            return dataclasses.replace(request, openai=route_field == "openai_route")
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
        return Request("GET", path)
    if body is None and entry.bare:
        body = {}
    if not isinstance(body, dict) or not (body or entry.bare):
        raise JobError(f"{path} needs a JSON object as `{body_field}`.", param=body_field)
    if path == "/generate":
        return _native_job(body, context, job_id)
    return _finish(path, entry, dict(body), context, job_id)


def _short(value: Any) -> str:
    return repr(value[:40]) if isinstance(value, str) else f"of type {type(value).__name__}"


def _openai_job(job_input: dict, kind: str, context: Context, job_id: str) -> Request:
    body = {k: v for k, v in job_input.items() if k not in (*_WORKER_FIELDS, "sampling_params")}
    body.update(_renamed(_sampling_params(job_input), _NATIVE_TO_OPENAI))
    if kind == "prompt" and _flag(job_input, "apply_chat_template", False):
        if not isinstance(body["prompt"], str):
            raise JobError("`apply_chat_template` takes a `prompt` that is one string.", param="prompt")
        body["messages"] = [{"role": "user", "content": body.pop("prompt")}]
        kind = "messages"
    path = "/v1/chat/completions" if kind == "messages" else "/v1/completions"
    return _finish(path, ROUTES[path], body, context, job_id)


def _native_job(job_input: dict, context: Context, job_id: str) -> Request:
    body = {k: v for k, v in job_input.items() if k not in (*_WORKER_FIELDS, "model")}
    _check_model(job_input, context)
    if adapter := _adapter(job_input.get("model"), context):
        body.setdefault("lora_path", adapter)
    moved = {k: body.pop(k) for k in _SHARED_SAMPLING if k in body}
    params = body.get("sampling_params")
    if isinstance(params, list):
        if moved:
            raise JobError("With a list of `sampling_params`, put every sampling field inside it.",
                           param=next(iter(moved)))
        body["sampling_params"] = [_renamed(p, _OPENAI_TO_NATIVE) for p in params]
    elif moved or params is not None:
        body["sampling_params"] = {**_renamed(moved, _OPENAI_TO_NATIVE),
                                   **_renamed(_sampling_params(job_input), _OPENAI_TO_NATIVE)}
    texts = _texts_to_template(job_input, context)
    return dataclasses.replace(_finish("/generate", ROUTES["/generate"], body, context, job_id),
                               template_texts=texts, one_text=isinstance(job_input.get("text"), str),
                               cumulative=not context.incremental)


def _renamed(params: Any, names: dict[str, str]) -> Any:
    """Sampling settings under the route's own names, without those that are null: null means unset, and must not
    hide the same setting under its other name."""
    if not isinstance(params, dict):
        return params
    kept = {name: value for name, value in params.items() if value is not None}
    return {**{names[n]: v for n, v in kept.items() if n in names}, **{n: v for n, v in kept.items() if n not in names}}


def _texts_to_template(job_input: dict, context: Context) -> tuple[str, ...]:
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


def _sampling_params(job_input: dict) -> dict:
    params = job_input.get("sampling_params")
    if params is None:
        return {}
    if not isinstance(params, dict):
        raise JobError("`sampling_params` must be an object such as {\"temperature\": 0.7}.", param="sampling_params")
    return params


def _flag(job_input: dict, name: str, default: bool) -> bool:
    value = job_input.get(name)
    if value is None:
        return default
    if not isinstance(value, bool):
        raise JobError(f"`{name}` must be true or false.", param=name)
    return value


def _check_model(body: dict, context: Context) -> None:
    model = body.get("model")
    if model is None:
        return
    if not isinstance(model, str):
        raise JobError("`model` must be a string.", param="model")
    # SGLang itself answers under any name, which hides a client that is pointed at the wrong endpoint.
    if model not in (context.served_model_name, context.model) and not _adapter(model, context):
        hint = f", and its adapters as {context.served_model_name + ':ADAPTER'!r}" if context.lora else ""
        raise JobError(f"The model {model[:200]!r} does not exist; this endpoint serves "
                       f"{context.served_model_name!r}{hint}.", type="not_found_error", param="model", code=404)


def _adapter(model: Any, context: Context) -> str | None:
    """The LoRA adapter in a model name such as "served:adapter", SGLang's own notation."""
    names = (context.served_model_name, context.model)
    if not context.lora or not isinstance(model, str) or model in names:
        return None
    return next((model[len(name) + 1:] for name in names if model.startswith(f"{name}:")), None)


def _finish(path: str, entry: Route, body: dict, context: Context, job_id: str) -> Request:
    _flag(body, "stream", False)
    body = amended(path, body)
    if entry.model:
        _check_model(body, context)
        if body.get("model") in (None, context.model):
            body["model"] = context.served_model_name
    return Request(entry.method, path, body, _name(path, entry.rid, body, job_id) if entry.rid else ())


def _name(path: str, field: str, body: dict, job_id: str) -> tuple[str, ...]:
    """Give the request the job's id, unless it brings its own. Returns the ids to abort it by, none if that is unsafe.
    """
    own = body.get(field) is None
    if own:
        # The id of a response is also what the client asks for it by; theirs begin so.
        body[field] = job_id if field == "rid" else f"resp_{job_id}"
    rid = body[field]
    if body.get("background") is True:  # it is to go on when the job is over
        return ()
    # The scheduler aborts every request whose id begins with the one it is given.
    if not isinstance(rid, str) or not own and rid != job_id and len(rid) < _SAFE_RID:
        return ()
    if field != "rid":
        return (rid,)  # one answer, whatever its `input` is a list of
    prompts = shape.of(path, body)
    if not prompts.listed:
        return (rid,)
    names = tuple(f"{rid}_{i}" for i in range(prompts.count))
    if own and path in _NO_PREFIX:
        body["rid"] = list(names)
    return names
