"""What the worker knows of the model that is served, from the engine and from the model's files. Nothing of
transformers is imported."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

from engine import NO_TOKEN, Served
from settings import hub_cache
from utils import log

_T = TypeVar("_T", int, str)
# Where models that read more than text keep the part that matters here, in the order in which SGLang looks.
_INNER = ("thinker_config", "llm_config", "language_config", "text_config")


@dataclasses.dataclass(frozen=True)
class ModelFacts:
    """vocabulary: how many token ids the model has; context: the longest request in tokens; width: of its embeddings;
    dtype: the type of number that it computes with, in PyTorch's words. Each None when unknown. generates: False for a
    model that only embeds; takes_embeds: False when `input_embeds` would end the server; images: it takes them."""

    vocabulary: int | None = None
    generates: bool = True
    context: int | None = None
    width: int | None = None
    dtype: str | None = None
    takes_embeds: bool = True
    images: bool = False


def learned(engine: Served, name: str, environ: Mapping[str, str], revision: str | None = None) -> ModelFacts:
    """All that can be found out of the model `name`, which `engine` serves."""
    told, config = from_engine(engine), from_config(name, environ, revision)
    dtype = config.dtype if told.dtype == "auto" else told.dtype
    # Without a radix cache the server takes input_embeds, and makes bfloat16 of them whatever the model computes with
    # (sglang: model_executor/model_runner.py); with one it refuses them.
    return dataclasses.replace(told, vocabulary=told.vocabulary or config.vocabulary, width=config.width, dtype=dtype,
                               takes_embeds=told.takes_embeds or dtype == "bfloat16")


def from_engine(engine: Served) -> ModelFacts:
    """What the server says of its model; whatever it does not say is unknown.

    No route reports the vocabulary, but a bias on an id that no model has is refused, on embedding servers too,
    with the range of ids that this model has (sglang: sampling/sampling_params.py, verify).
    """
    probe = {"text": "a", "sampling_params": {"logit_bias": {str(NO_TOKEN): 0}}}
    log("asking the server how many tokens its model has, by one that no model has: its 400 for that is the answer")
    found = re.search(rb"keys in \[0, (\d+)\]", engine.get("/generate", body=json.dumps(probe).encode())[1])
    generates, images, context = True, False, None
    with contextlib.suppress(ValueError, KeyError, TypeError, AttributeError):
        info = json.loads(engine.get("/model_info")[1])
        images = info.get("has_image_understanding") is True
        generates = info["is_generation"] is not False
    with contextlib.suppress(ValueError, KeyError, TypeError, IndexError):
        context = json.loads(engine.get("/v1/models")[1])["data"][0]["max_model_len"]
    radix_cache, dtype = True, None
    with contextlib.suppress(ValueError, KeyError, TypeError):
        server = json.loads(engine.get("/server_info")[1])
        radix_cache, dtype = server["disable_radix_cache"] is not True, server["dtype"]
    return ModelFacts(int(found[1]) + 1 if found else None, generates,
                      context if isinstance(context, int) and context > 0 else None,
                      dtype=dtype if isinstance(dtype, str) else None, takes_embeds=radix_cache, images=images)


def from_config(name: str, environ: Mapping[str, str], revision: str | None = None) -> ModelFacts:
    """Vocabulary, width and dtype in the config.json of a model folder, or of a hub model that was downloaded."""
    for path in configs(name, environ, revision):
        try:
            with open(path, encoding="utf-8") as f:
                config = json.load(f)
        except (OSError, ValueError):
            continue
        dtype = _found(config, "dtype", str) or _found(config, "torch_dtype", str)
        return ModelFacts(_found(config, "vocab_size", int), width=_found(config, "hidden_size", int), dtype=dtype)
    return ModelFacts()


def _found(config: Any, key: str, kind: type[_T]) -> _T | None:
    """What stands under `key`, in the part that matters here or at the top."""
    if not isinstance(config, dict):
        return None
    inner = next((value for name in _INNER if (value := _found(config.get(name), key, kind))), None)
    return inner or (config[key] if isinstance(config.get(key), kind) else None)


def configs(name: str, environ: Mapping[str, str], revision: str | None) -> Iterator[Path]:
    """Where the config.json of a model may lie, with its other files beside it."""
    yield Path(name) / "config.json"
    for found in hub_cache.snapshots(name, revision, hub_cache.caches(environ)):
        if found.folder:
            yield found.folder / "config.json"
