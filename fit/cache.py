"""What a request's context costs: bytes a token, tokens of a window, fixed states. Of one GPU, as SGLang counts. Pure.

sglang: srt/model_executor/pool_configurator.py, srt/mem_cache/kv_cache_configurator.py, srt/configs/mamba_utils.py.
"""

from __future__ import annotations

from typing import NamedTuple

from fit import families, weights
from fit.model import FitError, Model
from fit.serving import Serving

_DTYPES = {"auto": 2.0, "bf16": 2.0, "bfloat16": 2.0, "fp8_e4m3": 1.0, "fp8_e5m2": 1.0, "mxfp8": 1.0,
           "nvfp4": 0.5, "fp4_mx_block16": 0.5, "fp4_e2m1": 0.5}
# Scales of one byte: one for each so many values.
_SCALED = {"mxfp8": 32, "nvfp4": 16, "fp4_mx_block16": 16, "fp4_e2m1": 16}
_SWA_RATIO = 0.8


class Cache(NamedTuple):
    """full: bytes of a token in all layers that keep every token; sliding: in those that keep a window; ratio: tokens
    of the second pool for each of the first; window: in tokens; state: bytes of one state of a request; states: of them
    for a running request."""

    full: float
    sliding: float
    ratio: float
    window: int
    state: int
    states: int

    @property
    def token(self) -> float:
        """Bytes that the server counts for one token of max_total_num_tokens."""
        return self.full + self.sliding * self.ratio if self.full else self.sliding


def cache(model: Model, serving: Serving) -> Cache:
    """Of one GPU of `serving`. Raises FitError for an unknown kv_cache_dtype."""
    kind = _kind(model, serving)
    stage = serving.pp_size
    full = _all(model, serving, ("full", "both"), "full", kind)
    sliding = _all(model, serving, ("sliding",), "sliding", kind)
    if serving.disable_hybrid_swa_memory:
        full, sliding = full + _all(model, serving, ("sliding",), "full", kind), 0.0
    full += _indexer(model, stage)
    full, sliding = _with_draft(model, serving, full, sliding, kind)
    ratio = serving.swa_full_tokens_ratio or _SWA_RATIO
    return Cache(full, sliding, ratio, model.window, _state(model, serving),
                 families.states_per_request(model, not serving.disable_radix_cache))


def element(dtype: str, plain: int = 2) -> float:
    """Bytes of a value in a cache of --kv-cache-dtype `dtype`, scales and all."""
    if dtype not in _DTYPES:
        raise FitError(f"kv_cache_dtype {dtype!r} is unknown: choose one of {', '.join(_DTYPES)}")
    if dtype == "auto":
        return float(plain)
    return _DTYPES[dtype] + (1 / _SCALED[dtype] if dtype in _SCALED else 0)


def _kind(model: Model, serving: Serving) -> str:
    """The cache's type, which a model may choose: weights with scales for an fp8 cache do (configure_kv_cache_dtype in
    srt/mem_cache/kv_cache_dtype.py)."""
    config = model.config.get("quantization_config")
    scheme = config.get("kv_cache_quant_algo") or config.get("kv_cache_scheme") if isinstance(config, dict) else None
    if serving.kv_cache_dtype == "auto" and isinstance(scheme, str) and scheme.upper() == "FP8":
        return "fp8_e4m3"
    return serving.kv_cache_dtype


def _layers(total: int, stages: int) -> int:
    """Of the stage that has the most."""
    return -(-total // stages)


def _all(model: Model, serving: Serving, kinds: tuple[str, ...], attention: str, kind: str) -> float:
    """Of the layers of these kinds in the fullest stage, if their cache is like that of `attention`."""
    layers = _layers(model.count(*kinds), serving.pp_size)
    return layers * _layer(model, serving, attention, kind) if layers else 0.0


def _layer(model: Model, serving: Serving, attention: str, kind: str) -> float:
    size = element(kind, model.bytes_of(serving.dtype))
    if model.latent:
        values = model.latent + model.rope_dim
        if sparse(model) and kind == "fp8_e4m3":
            # The latent in 8 bits with a scale of 4 bytes for each 128, the rotary part in 16 bits
            # (calculate_mla_kv_cache_dim).
            return model.latent + model.latent // 128 * 4 + model.rope_dim * 2
        return values * size
    _, kv_heads, keys, values = weights.head_shape(model, attention)
    if min(kv_heads, keys, values) <= 0:
        raise FitError("this config.json does not name the heads of the attention in a way that is known here")
    return max(1, kv_heads // serving.attention_tp) * (keys + values) * size


def sparse(model: Model) -> bool:
    """Whether it is DeepSeek's sparse attention, with an index beside the cache."""
    return bool(model.latent and model.whole("index_topk"))


def _indexer(model: Model, stages: int) -> float:
    wide = model.whole("index_head_dim")
    return _layers(model.count("full"), stages) * (wide + wide // 128 * 4.0) if sparse(model) else 0.0


def _with_draft(model: Model, serving: Serving, full: float, sliding: float, kind: str) -> tuple[float, float]:
    """The draft model's cache is as long as the model's own; the server takes its layers for as large as the model's
    (DefaultPoolConfigurator)."""
    algorithm = (serving.speculative_algorithm or "").upper()
    if algorithm not in ("EAGLE", "EAGLE3", "NEXTN", "STANDALONE", "DFLASH", "FROZEN_KV_MTP"):
        return full, sliding
    layers = 1
    if serving.draft:
        layers = len(Model(serving.draft).layers)
    elif model.draft_layers:
        layers = model.draft_layers
    if sliding:
        return full + layers * _layer(model, serving, "full", kind), sliding
    own = model.count("full", "both")
    return (full * (1 + layers / own) if own else full), sliding


def _state(model: Model, serving: Serving) -> int:
    """Bytes of one state in all layers that keep one (mamba_cache_per_req)."""
    layers = _layers(model.count("state", "both"), serving.pp_size)
    if not layers:
        return 0
    whole, tp = model.whole, serving.attention_tp
    values = {"float32": 4, "bfloat16": 2, "float16": 2}.get(
        serving.mamba_ssm_dtype or str(model.text.get("mamba_ssm_dtype") or "float32"), 4)
    linear = model.text.get("linear_attn_config")
    if isinstance(linear, dict):
        heads, wide = int(linear["num_heads"]), int(linear["head_dim"])
        window = (int(linear["short_conv_kernel_size"]) - 1) * 3 * heads * wide // tp
        return layers * (2 * window + values * heads // tp * wide * wide)
    if kernel := whole("conv_L_cache"):
        return layers * 2 * (kernel - 1) * model.hidden // tp
    if keys := whole("linear_num_key_heads"):
        heads, wide, state = whole("linear_num_value_heads"), whole("linear_value_head_dim"), whole(
            "linear_key_head_dim")
        inner, groups, kernel = heads * wide, keys, whole("linear_conv_kernel_dim", default=4)
    else:
        inner, heads, state, groups = weights.mamba_shape(model)
        kernel = whole("conv_kernel", "mamba_d_conv", default=4)
        wide = inner // heads if heads else 0
    if groups % tp:
        groups += tp - groups
    window = (inner + 2 * groups * state) // tp * (kernel - 1)
    return layers * (2 * window + values * (heads // tp) * wide * state)
