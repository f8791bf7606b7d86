"""Which model a job names, and how each route's body says so to the engine.

Pure. SGLang itself answers under any name on most routes, which hides a client that is pointed at the wrong endpoint,
and applies a LoRA adapter on some routes only (entrypoints/openai/serving_base.py, _resolve_lora_path; no adapter is
read by serving_responses, serving_score, serving_decisions, serving_classify and serving_rerank).
"""

from __future__ import annotations

from typing import Any

from job import shape
from job.context import Context
from job.route_table import ROUTES, Route
from utils import JobError

_UNNAMED = ("", "default")  # whatever is served; the second is SGLang's own word for it (DEFAULT_MODEL_NAME)
_SHOWN = 60  # characters of a caller's name in a message


def short(name: str) -> str:
    """A caller's name as a message shows it."""
    return repr(name if len(name) <= _SHOWN else name[:_SHOWN] + "…")


def apply(body: dict[str, Any], path: str, entry: Route, context: Context) -> None:
    """Check the model and the adapter that `body` names and put them, in place, where the engine reads them at `path`.
    Raises JobError (400 or 404)."""
    adapter = adapter_of(body.get("model"), context)
    if body.get("adapter_id") is not None:  # as text-generation-inference calls it
        body.setdefault("lora_path", body["adapter_id"])
    body.pop("adapter_id", None)
    own = body.get("lora_path")
    if entry.adapter == "path" and body.get("lora_id") is not None:  # which it looks up and dies when there is none
        raise JobError("`lora_id` is not open to jobs: a number that the engine did not give ends it. Name the adapter "
                       "in `lora_path`.", param="lora_id")
    _check_paths(own, context)
    if context.sources and own is not None:
        own = body["lora_path"] = [_own_name(name, context) for name in own] if isinstance(own, list) else _own_name(
            own, context)
    if adapter and own is not None and own != adapter:
        raise JobError(f"`model` names the adapter {short(adapter)}, and `lora_path` another: give only one of them.",
                       param="lora_path")
    if entry.adapter == "none" and (adapter or any(own if isinstance(own, list) else [own])):
        shown = short(adapter) if adapter else "in `lora_path`"
        raise JobError(f"SGLang applies no LoRA adapter on {path}, so {shown} would have no effect there: use "
                       "/v1/chat/completions, /v1/completions, /v1/messages or /generate.",
                       param="model" if adapter else "lora_path")
    if isinstance(own, list) and own and entry.adapter in ("model", "path") and entry.kind != "messages":
        own = body["lora_path"] = _for_each(own, shape.of(path, body))
    if entry.adapter == "path":
        body.pop("model", None)
        if adapter:
            body["lora_path"] = adapter
        return
    if entry.kind == "messages":  # which reads the adapter in the name alone
        alone = own[0] if isinstance(own, list) and len(own) == 1 else own
        if not isinstance(alone, str | None):
            raise JobError(f"`lora_path` must be the name of one adapter on {path}.", param="lora_path")
        adapter = alone or adapter
        body.pop("lora_path", None)
    if entry.model:
        served = context.served_model_name
        body["model"] = f"{served}:{adapter}" if adapter and entry.adapter == "model" else served


def adapter_of(model: Any, context: Context) -> str | None:
    """The LoRA adapter that a model's name means, None for the model itself. Raises JobError 404 for any other name.

    An adapter is named alone, as /v1/models lists it, or in SGLang's own notation, "served:adapter".
    """
    served, listed = context.served_model_name, context.adapters or ()
    bases = (served, context.model, *context.also)
    if model is None or model in bases:
        return None
    if not isinstance(model, str):
        raise JobError("`model` must be a string.", param="model")
    if model in listed:
        return str(_own_name(model, context))
    if model in _UNNAMED:
        return None
    names = [model[len(base) + 1:] for base in bases if model.startswith(f"{base}:")]
    if name := next((name for name in names if name in listed), "") or (names[0] if names and _others(context) else ""):
        return str(_own_name(name, context))
    if context.sources and (meant := next(filter(None, map(context.sources.meant, [*names, model])), None)):
        return meant.name
    raise unknown(model, context)


def unknown(model: str, context: Context, param: str = "model") -> JobError:
    """What is said of a name that nobody serves."""
    return JobError(f"The {'model' if param == 'model' else 'adapter'} {short(model)} does not exist; this endpoint "
                    f"serves {context.served_model_name!r}{_adapters(context)}.",
                    type="not_found_error", param=param, code=404)


def used(path: str, body: dict[str, Any] | None, context: Context) -> tuple[str, ...]:
    """The adapters of LORA_SOURCES that the engine needs for the request that was made of a job, by its own names."""
    entry = ROUTES.get(path)
    if context.sources is None or body is None or entry is None or entry.adapter not in ("model", "path"):
        return ()
    model, prefix = body.get("model"), f"{context.served_model_name}:"
    if isinstance(model, str) and model.startswith(prefix):  # which counts more (sglang: openai/serving_base.py)
        return (model[len(prefix):],)
    own = body.get("lora_path")
    return tuple(dict.fromkeys(name for name in (own if isinstance(own, list) else [own])
                               if isinstance(name, str) and name))


def listed(name: str, context: Context) -> str | None:
    """The adapter that a name means among those that are known to be there, or may be; None for any other name."""
    alone = name.removeprefix(f"{context.served_model_name}:")
    if name == context.served_model_name:
        return None
    return alone if alone in (context.adapters or ()) or context.sources and context.sources.meant(alone) else None


def _own_name(name: Any, context: Context) -> Any:
    """The name by which the engine has an adapter that is loaded on first use."""
    meant = context.sources.meant(name) if context.sources and isinstance(name, str) else None
    return meant.name if meant else name


def _for_each(listed: list[Any], prompts: shape.Prompts) -> Any:
    """What the engine takes for a list of adapters: one for each prompt, and no list for a single prompt, of which it
    dies. Of a list that is too long it counts those in use that no request ever gives back (sglang:
    managers/io_struct.py, _normalize_lora_paths; lora/lora_registry.py). Raises JobError 400."""
    if prompts.field and len(listed) != prompts.count:
        raise JobError(f"`lora_path` is a list of {len(listed)}, and the number of prompts is {prompts.count}: give "
                       "one name, or one for each prompt.", param="lora_path")
    return listed if len(listed) > 1 else listed[0]  # of a list of one prompt some routes make a single one


def _others(context: Context) -> bool:
    """Whether there may be adapters that are not listed: the engine then says whether there is one."""
    if context.adapters is None:
        return context.lora
    return "/load_lora_adapter" in context.extra_routes


def _adapters(context: Context) -> str:
    offered = ", and what LORA_SOURCES names" if context.sources else ""
    if context.adapters:
        more = ", …" if len(context.adapters) > 20 else ""
        return " and the adapters " + ", ".join(map(repr, context.adapters[:20])) + more + offered
    if offered:
        return offered
    return f", and its adapters as {context.served_model_name + ':ADAPTER'!r}" if _others(context) else ""


def _check_paths(own: Any, context: Context) -> None:
    if context.adapters is None or _others(context):
        return  # the engine says which it does not have
    for name in own if isinstance(own, list) else [own]:
        if isinstance(name, str) and name and name not in context.adapters and not (
                context.sources and context.sources.meant(name)):
            raise unknown(name, context, "lora_path")
