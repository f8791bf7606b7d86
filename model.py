"""What the worker knows of the model that is served, from its files. Nothing of transformers is imported."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

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
    if name.count("/") != 1:
        return
    home = environ.get("HF_HOME") or os.path.join(
        environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "huggingface")
    caches = (environ.get("HF_HUB_CACHE"), environ.get("HUGGINGFACE_HUB_CACHE"), os.path.join(home, "hub"),
              "/runpod-volume/huggingface-cache/hub")
    for cache in filter(None, caches):
        model = Path(cache) / f"models--{name.replace('/', '--')}"
        try:
            commit = (model / "refs" / (revision or "main")).read_text().strip()
        except OSError:
            commit = revision or ""
        if commit:
            yield model / "snapshots" / commit / "config.json"
        yield from sorted(model.glob("snapshots/*/config.json"))
