"""Bytes of a parameter, by the method that the weights are quantised with. Pure.

A method covers the large matrices. Embeddings, output head, norms, routers and vision towers stay in 16 bits, and so
does what the model's own configuration spares.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fit.model import Model

KINDS = ("linear", "attention", "experts", "shared")
_EIGHT = ("fp8", "w8a8_fp8", "w8a8_int8", "modelopt_fp8", "fbgemm_fp8", "mxfp8", "int8", "quark_fp8", "bnb_8bit",
          "blockwise_int8", "modelslim")
_FOUR = ("awq", "awq_marlin", "gptq", "gptq_marlin", "auto-round", "auto_round", "moe_wna16", "qoq", "w4afp8",
         "wna16", "int4")
_FOUR_FLOAT = ("modelopt_fp4", "nvfp4", "petit_nvfp4")
# How elements are called in a method's words of what it spares, and the kind that they are of.
_SPARED = {"self_attn": "attention", "attention": "attention", "shared_expert": "shared", "mlp.experts": "experts"}


class Method:
    """`name` "" for none. bits: of an element; overhead: of scales, in bytes for each parameter."""

    def __init__(self, name: str, bits: float, overhead: float, covers: tuple[str, ...] = KINDS):
        self.name, self.bits, self.overhead, self.covers = name, bits, overhead, covers

    def bytes(self, kind: str, plain: int) -> float:
        """Of one parameter of a part of this kind, where 16 bits (or 32) are `plain` bytes."""
        return self.bits / 8 + self.overhead if self.name and kind in self.covers else float(plain)


def method(model: Model, asked: str | None) -> Method:
    """Of --quantization `asked`, or the one that the weights are in by their own configuration."""
    own = _own(model)
    if own and (not asked or own.name.split("_")[0] == asked.split("_")[0] or not _by_name(asked)):
        return own
    return _by_name(asked) or Method("", 16, 0) if asked else Method("", 16, 0)


def known(asked: str) -> bool:
    """Whether `asked` is a method whose size is known without the model's own configuration."""
    return _by_name(asked) is not None


def _by_name(name: str | None) -> Method | None:
    if not name or name in ("unquant", "none"):
        return None
    if name in _EIGHT:
        return Method(name, 8, 0.0005)
    if name in _FOUR:
        return Method(name, 4, _scales(4, 128))
    if name in _FOUR_FLOAT:
        return Method(name, 4, 1 / 16)
    if name == "mxfp4":
        return Method(name, 4, 1 / 32, ("experts",))
    if name == "bitsandbytes":
        return Method(name, 4, 1 / 64 + 4 / 64 / 256)
    return None


def _scales(bits: int, group: int) -> float:
    """A scale of 16 bits and a zero point for each group."""
    return (2 + bits / 8) / group if group > 0 else 0.0005


def _own(model: Model) -> Method | None:
    config: Any = None
    for level in (model.config, model.text):
        config = config or level.get("quantization_config") or level.get("compression_config")
    if not isinstance(config, Mapping):
        return None
    name = str(config.get("quant_method") or config.get("quant_algo") or "").lower()
    covers = _covers(config)
    if name in ("compressed-tensors", "compressed_tensors"):
        return _compressed(config, covers)
    if name == "bitsandbytes" or config.get("load_in_4bit") or config.get("load_in_8bit"):
        if config.get("load_in_8bit"):
            return Method("bitsandbytes", 8, 0.0005, covers)
        return Method("bitsandbytes", 4, 1 / 64 + 4 / 64 / 256, covers)
    if name == "mxfp4":
        return Method(name, 4, 1 / 32, ("experts",))
    if name in ("modelopt", "nvfp4", "fp8") and "FP4" in str(config.get("quant_algo", "")).upper():
        return Method("modelopt_fp4", 4, 1 / 16, covers)
    bits, group = config.get("bits", config.get("w_bit")), config.get("group_size", config.get("q_group_size", 128))
    if isinstance(bits, int) and isinstance(group, int):
        return Method(name or "gptq", bits, _scales(bits, group), covers)
    found = _by_name(name) or (Method("fp8", 8, 0.0005) if "FP8" in str(config).upper() else None)
    return Method(found.name, found.bits, found.overhead, covers) if found else None


def _compressed(config: Mapping[str, Any], covers: tuple[str, ...]) -> Method:
    groups = config.get("config_groups")
    first: Any = next(iter(groups.values()), {}) if isinstance(groups, Mapping) else {}
    weights = first.get("weights") if isinstance(first, Mapping) else None
    if not isinstance(weights, Mapping) or not isinstance(weights.get("num_bits"), int):
        return Method("compressed-tensors", 8, 0.0005, covers)
    bits, group = int(weights["num_bits"]), weights.get("group_size")
    scales = 0.0005
    if isinstance(group, int) and group > 0:
        # Scales of 4-bit floats are 8 bits, of whole numbers 16.
        scales = 1 / group if weights.get("type") == "float" else _scales(bits, group)
    return Method("compressed-tensors", bits, scales, covers)


def _covers(config: Mapping[str, Any]) -> tuple[str, ...]:
    spared: set[str] = set()
    for key in ("modules_to_not_convert", "ignore", "ignored_layers", "exclude_modules", "llm_int8_skip_modules"):
        names = config.get(key)
        if not isinstance(names, list):
            continue
        # Of a part that is spared in most layers; a first layer that is spared counts for nothing.
        for word, kind in _SPARED.items():
            named = [str(name) for name in names if word in str(name) and "vision" not in str(name)]
            if any("*" in name or "re:" in name for name in named) or len(named) > 12:
                spared.add(kind)
    return tuple(kind for kind in KINDS if kind not in spared)
