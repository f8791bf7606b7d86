"""Whether a model can be shared out over so many GPUs at all: SGLang ends where a number does not come out. Pure.

sglang: the assertions on heads in srt/models/ (llama.py, qwen2.py, qwen3_moe.py, deepseek_v2.py), those on blocks of
scales in srt/layers/quantization/fp8.py.
"""

from __future__ import annotations

from collections.abc import Mapping

from fit import families, weights
from fit.model import FitError, Model
from fit.serving import Serving


def check(model: Model, serving: Serving) -> None:
    """Raises FitError that names what does not come out."""
    ranks = serving.attention_tp
    for kind in ("full", "sliding", "both"):
        if not model.count(kind) or ranks < 2:
            continue
        heads, kv_heads, *_ = weights.head_shape(model, kind)
        if heads % ranks or not model.latent and kv_heads % ranks and ranks % kv_heads:
            kv = "" if model.latent else f" and {kv_heads} KV heads"
            raise FitError(f"{heads} heads{kv} cannot be shared out over {ranks} GPUs")
    block = _block(model)
    mlps = {layer.mlp for layer in model.layers}
    for mlp, size, parts in (("dense", families.mlp_size(model), serving.tp),
                             ("experts", families.expert_size(model), max(1, serving.tp // serving.ep_size))):
        if mlp in mlps and parts > 1 and block and (size % parts or size // parts % block):
            remedy = "; EP_SIZE keeps experts whole" if mlp == "experts" else ""
            raise FitError(f"an MLP of {size} in blocks of {block} (weight_block_size) cannot be shared out over "
                           f"{parts} GPUs{remedy}")


def _block(model: Model) -> int:
    """Rows that have a scale together, of weights in fp8; 0 where each has its own, or there is none."""
    config = model.config.get("quantization_config")
    sizes = config.get("weight_block_size") if isinstance(config, Mapping) else None
    return sizes[0] if isinstance(sizes, list) and sizes and isinstance(sizes[0], int) else 0
