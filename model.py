"""What the worker knows of the model that is served, from its files. Nothing of transformers is imported."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Mapping
from pathlib import Path

import hub_cache

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
