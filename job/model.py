"""What the worker knows of the model that is served, from the engine and from the model's files. Nothing of
transformers is imported."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from engine import Engine
from settings import hub_cache

# Where models that read more than text keep the part that matters here, in the order in which SGLang looks.
_INNER = ("thinker_config", "llm_config", "language_config", "text_config")


@dataclasses.dataclass(frozen=True)
class ModelFacts:
    """vocabulary: how many token ids the model has; context: the longest request in tokens; width: of its embeddings.
    Each None when unknown. generates: False for a model that only embeds."""

    vocabulary: int | None = None
    generates: bool = True
    context: int | None = None
    width: int | None = None


def from_engine(engine: Engine) -> ModelFacts:
    """What the server says of its model; whatever it does not say is unknown.

    No route reports the vocabulary, but a bias on an id that no model has is refused, on embedding servers too,
    with the range of ids that this model has (sglang: sampling/sampling_params.py, verify).
    """
    probe = {"text": "a", "sampling_params": {"logit_bias": {str(2**62): 0}}}
    found = re.search(rb"keys in \[0, (\d+)\]", engine.get("/generate", body=json.dumps(probe).encode())[1])
    generates, context = True, None
    with contextlib.suppress(ValueError, KeyError, TypeError):
        generates = json.loads(engine.get("/model_info")[1])["is_generation"] is not False
    with contextlib.suppress(ValueError, KeyError, TypeError, IndexError):
        context = json.loads(engine.get("/v1/models")[1])["data"][0]["max_model_len"]
    return ModelFacts(int(found[1]) + 1 if found else None, generates,
                      context if isinstance(context, int) and context > 0 else None)


def from_config(name: str, environ: Mapping[str, str], revision: str | None = None) -> ModelFacts:
    """Vocabulary and width in the config.json of a model folder, or of a hub model that was downloaded."""
    for path in _configs(name, environ, revision):
        try:
            with open(path, encoding="utf-8") as f:
                config = json.load(f)
        except (OSError, ValueError):
            continue
        return ModelFacts(_integer(config, "vocab_size"), width=_integer(config, "hidden_size"))
    return ModelFacts()


def _integer(config, key: str) -> int | None:
    if not isinstance(config, dict):
        return None
    inner = next((size for name in _INNER if (size := _integer(config.get(name), key))), None)
    return inner or (config[key] if isinstance(config.get(key), int) else None)


def _configs(name: str, environ: Mapping[str, str], revision: str | None) -> Iterator[Path]:
    yield Path(name) / "config.json"
    for found in hub_cache.snapshots(name, revision, hub_cache.caches(environ)):
        if found.folder:
            yield found.folder / "config.json"
