"""Parameters of the part of a model that reads images or sound, by its vision_config or audio_config. Pure.

Towers differ more than language models do: these are the shapes of the usual ones. A configuration with other keys
gives nothing, and `unknown` says so.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fit.model import Model


def parameters(model: Model) -> dict[str, int]:
    """{part: parameters}; empty without a tower."""
    found = {}
    for key in ("vision_config", "audio_config"):
        config = model.config.get(key)
        if isinstance(config, Mapping) and (size := _Sizes(config)).whole:
            found[key.removesuffix("_config").replace("vision", "tower")] = size.layers() + size.patches()
            if key == "vision_config":
                found["projector"] = _projector(model, config, size)
    return found


def unknown(model: Model) -> bool:
    """Whether there is a tower whose size its configuration does not tell in the usual words."""
    return any(isinstance(config := model.config.get(key), Mapping) and not _Sizes(config).whole
               for key in ("vision_config", "audio_config"))


class _Sizes:
    def __init__(self, config: Mapping[str, Any]):
        def number(*names: str, default: int = 0) -> int:
            for name in names:
                value = config.get(name)
                if isinstance(value, int) and not isinstance(value, bool):
                    return value
            return default

        self.number, self.type = number, str(config.get("model_type", ""))
        self.depth = number("num_hidden_layers", "depth", "layers", "encoder_layers")
        # Qwen2-VL calls the tower's width embed_dim and the language model's hidden_size.
        self.width = number("embed_dim") or number("hidden_size", "width", "d_model")
        inner = config.get("mlp_ratio")
        ratio = float(inner) if isinstance(inner, int | float) else 4.0
        self.inner = number("intermediate_size", "encoder_ffn_dim") or int(self.width * ratio)
        self.whole = bool(self.depth and self.width)

    def layers(self) -> int:
        gated = self.type.startswith(("qwen2_5_vl", "pixtral", "mistral")) or self.type == "glm4v"
        attention = 4 * self.width * self.width + 4 * self.width
        mlp = (3 if gated else 2) * self.width * self.inner + self.inner + self.width
        return self.depth * (attention + mlp + 4 * self.width)

    def patches(self) -> int:
        patch, channels = self.number("patch_size", default=14), self.number("num_channels", "in_channels", default=3)
        frames = self.number("temporal_patch_size", default=1)
        side = self.number("image_size") // patch if patch else 0
        positions = self.number("num_position_embeddings") or (0 if self.type == "pixtral" else side * side)
        return (channels * frames * patch * patch + positions) * self.width


def _projector(model: Model, config: Mapping[str, Any], size: _Sizes) -> int:
    merge = size.number("spatial_merge_size")
    if not merge and isinstance(model.config.get("spatial_merge_size"), int):
        merge = int(model.config["spatial_merge_size"])
    out = size.number("out_hidden_size") or model.hidden
    if size.type == "pixtral":  # Mistral 3: merged to the tower's width, then two matrices
        merged = size.width * size.width * merge * merge if merge > 1 else 0
        return merged + size.width * out + out * out
    if merge > 1:
        wide = size.width * merge * merge
        mergers = 1 + len(config.get("deepstack_visual_indexes") or ())
        return mergers * (wide * wide + wide * out)
    if size.type.startswith("siglip"):  # Gemma 3
        return size.width * out
    return size.width * out + out * out
