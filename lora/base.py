"""The sizes of the model that adapters are made for, from its files: SGLang compares them only when an adapter is first
used, and ends when they differ (sglang: lora/mem_pool.py, load_lora_weight_to_buffer)."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from settings import safetensors
from settings.whole import read_json

# Where models that read more than text keep the part that adapters change.
_INNER = ("thinker_config", "llm_config", "language_config", "text_config")
_PLACE = re.compile(r"(?:^|\.)(layers\.\d+\..+)$")
_NUMBERS = ("F64", "F32", "F16", "BF16", "F8_E4M3", "F8_E5M2")  # what is not packed: a shape means what it says


@dataclasses.dataclass(frozen=True)
class Base:
    """names: by which the model is known; layers, width, vocabulary: of its text part; shapes: {layers.N.MODULE: every
    shape (out, in) that a weight of this name has}; modules: all that have a weight of any kind. What could not be read
    is None or empty, and is not compared."""

    names: tuple[str, ...] = ()
    layers: int | None = None
    width: int | None = None
    vocabulary: int | None = None
    shapes: Mapping[str, frozenset[tuple[int, ...]]] = dataclasses.field(default_factory=dict)
    modules: frozenset[str] = frozenset()


def of(folder: Path | None, names: tuple[str, ...]) -> Base:
    """What the files of the model in `folder` say. Reads the heads of its weights alone."""
    if folder is None or not folder.is_dir():
        return Base(names)
    config = read_json(folder / "config.json") or {}
    shapes: dict[str, set[tuple[int, ...]]] = {}
    modules = set()
    try:
        for name, tensor in safetensors.of_folder(folder):
            module, _, kind = name.rpartition(".")
            if not (found := place(module)):
                continue
            modules.add(found)
            if kind == "weight" and tensor.dtype in _NUMBERS:
                shapes.setdefault(found, set()).add(tensor.shape)
    except (OSError, ValueError):
        shapes, modules = {}, set()
    return Base(names, _number(config, "num_hidden_layers"), _number(config, "hidden_size"),
                _number(config, "vocab_size"), {name: frozenset(each) for name, each in shapes.items()},
                frozenset(modules))


def place(name: str) -> str | None:
    """`layers.3.mlp.up_proj` of a weight's name, whatever the model calls what is around it."""
    match = _PLACE.search(name)
    return match[1] if match else None


def _number(config: dict[str, Any], key: str) -> int | None:
    inner = next((part for name in _INNER if isinstance(part := config.get(name), dict)), {})
    value = inner.get(key, config.get(key))
    return value if type(value) is int else None
