"""How many parameters a model has, part by part, by the shapes of its tensors. Pure.

A part says how the server holds it: quantised by the model's method or in 16 bits; split over the ranks of tensor
parallelism, or held whole by each, or something between, as with KV heads.
"""

from __future__ import annotations

from typing import NamedTuple

from fit import families, vision
from fit.model import Model

EVERY_RANK = 1  # `shards` of what each rank holds whole


class Part(NamedTuple):
    """name; parameters; kind: "linear", "attention", "experts", "shared" (which a method may quantise or spare) or
    "plain" (16 bits in any case); shards: into how many pieces it can be cut at most, 0 for any number; layers: whether
    it belongs to the layers, which pipeline parallelism shares out; made: the server makes it, so no file has it."""

    name: str
    parameters: int
    kind: str = "plain"
    shards: int = 0
    layers: bool = True
    made: bool = False


def parts(model: Model) -> list[Part]:
    """All parts of the model and of its vision tower; those of layers for multi-token prediction are left out."""
    hidden, vocabulary = model.hidden, model.vocabulary
    found = [Part("embedding", vocabulary * hidden, layers=False)]
    if model.has_head and not model.tied:
        found.append(Part("head", vocabulary * hidden, layers=False))
    full, state = model.count("full", "sliding", "both"), model.count("state", "both")
    if model.latent:
        found += [part._replace(parameters=part.parameters * full) for part in _latent_attention(model)]
    else:
        found += _grouped_attention(model)
    if state:
        found += [part._replace(parameters=part.parameters * state) for part in _state_layer(model)]
    dense = sum(layer.mlp == "dense" for layer in model.layers)
    found.append(Part("mlp", dense * _matrices(model) * hidden * families.mlp_size(model), "linear"))
    if sparse := sum(layer.mlp == "experts" for layer in model.layers):
        found += [part._replace(parameters=part.parameters * sparse) for part in _experts(model)]
    norms = 4 if model.type.startswith(("gemma2", "gemma3", "gemma4", "glm4")) else 2
    found.append(Part("norms", (norms * len(model.layers) + 1) * hidden, shards=EVERY_RANK))
    if wide := model.whole("hidden_size_per_layer_input"):  # Gemma 3n and 4
        rows = model.whole("vocab_size_per_layer_input", default=vocabulary)
        found.append(Part("per-layer embedding", rows * wide * len(model.layers)))
        found.append(Part("per-layer projections", 3 * hidden * wide * len(model.layers), shards=EVERY_RANK))
    if positions := model.whole("n_positions") if model.type in ("gpt2", "opt", "bert") else 0:
        found.append(Part("positions", positions * hidden, layers=False))
    found += [Part(f"vision {name}", count, layers=False) for name, count in vision.parameters(model).items()]
    return [part for part in found if part.parameters]


def parameters(model: Model) -> int:
    """All parameters, as the hub counts those of the files, without layers for multi-token prediction."""
    return sum(part.parameters for part in parts(model) if not part.made)


def unknown(model: Model) -> tuple[str, ...]:
    """What config.json does not tell, or in other words than the usual, without which parameters are missing above."""
    mlps = {layer.mlp for layer in model.layers}
    sizes = {"the size of the vocabulary": model.vocabulary,
             "the size of an MLP": families.mlp_size(model) if "dense" in mlps else 1,
             "the number of experts": 0 if model.untold_experts else 1,
             "the size of an expert": families.expert_size(model) if "experts" in mlps else 1}
    return tuple(what for what, size in sizes.items() if size <= 0)


def _matrices(model: Model) -> int:
    return 3 if families.gated(model) else 2


def _grouped_attention(model: Model) -> list[Part]:
    hidden, text = model.hidden, model.text
    queries = families.query_gate(model) + 1
    inner = [0, 0, 0]  # queries and output; keys and values; small things, of all layers
    for layer in model.layers:
        if layer.attention not in ("full", "sliding", "both"):
            continue
        heads, kv, keys, values = head_shape(model, layer.attention)
        inner[0] += hidden * heads * (keys * queries + values)
        inner[1] += hidden * kv * (keys + values)
        if families.qkv_bias(model):
            inner[2] += heads * keys * queries + kv * (keys + values)
        if text.get("use_qk_norm") or model.type.startswith(("qwen3", "gemma3", "gemma4", "olmo")):
            inner[2] += 2 * keys
    shared = head_shape(model, "full")[1]
    return [Part("attention", inner[0], "attention"), Part("keys and values", inner[1], "attention", shared),
            Part("attention biases and norms", inner[2])]


def head_shape(model: Model, attention: str) -> tuple[int, int, int, int]:
    """(query heads, KV heads, dimension of a key, of a value) of a layer with this kind of attention."""
    whole, heads = model.whole, model.heads
    if attention == "sliding":
        kv, keys = whole("swa_num_key_value_heads") or model.kv_heads, whole("swa_head_dim") or model.head_dim
        return whole("swa_num_attention_heads") or heads, kv, keys, whole("swa_v_head_dim") or (
            keys if whole("swa_head_dim") else model.value_dim)
    if wide := whole("global_head_dim"):  # Gemma 4
        return heads, whole("num_global_key_value_heads") or model.kv_heads, wide, wide
    return heads, model.kv_heads, model.head_dim, model.value_dim


def _latent_attention(model: Model) -> list[Part]:
    """Of one layer: srt/models/deepseek_v2.py. Its two absorbed matrices are made of kv_b, which stays (16 bits:
    srt/models/deepseek_common/deepseek_weight_loader.py)."""
    whole, hidden, heads = model.whole, model.hidden, model.heads
    nope, rope, value, rank = whole("qk_nope_head_dim"), model.rope_dim, model.value_dim, model.latent
    queries, absorbed = whole("q_lora_rank"), rank * heads * (nope + value)
    asked = queries * heads * (nope + rope) if queries else hidden * heads * (nope + rope)
    found = [Part("attention", asked + absorbed + heads * value * hidden, "attention"),
             Part("attention projections", hidden * (queries + rank + rope), "attention", EVERY_RANK),
             Part("absorbed keys and values", absorbed, made=True)]
    if wide := whole("index_head_dim"):  # DeepSeek sparse attention
        indexers = whole("index_n_heads")
        found.append(Part("indexer", queries * indexers * wide + hidden * (wide + indexers), "attention", EVERY_RANK))
    return found


def _experts(model: Model) -> list[Part]:
    text, hidden, matrices = model.text, model.hidden, _matrices(model)
    inner = families.expert_size(model)
    shared = families.hidden_inner(text, "shared_expert_intermediate_size", "moe_shared_expert_intermediate_size",
                                   "shared_intermediate_size")
    if not shared:
        count = model.whole("n_shared_experts", "num_shared_experts", "num_shared_expert", "moe_num_shared_experts")
        shared = inner * (count or model.type.startswith("llama4"))
    latent = model.whole("moe_latent_size") or hidden  # Nemotron 3
    biases = model.experts * (2 * inner + hidden) if model.type.startswith("gpt_oss") else 0
    return [Part("experts", model.experts * matrices * latent * inner, "experts"), Part("expert biases", biases),
            Part("shared experts", matrices * hidden * shared, "shared"),
            Part("router", hidden * model.experts, shards=EVERY_RANK)]


def _state_layer(model: Model) -> list[Part]:
    """One layer without a cache of tokens."""
    whole, hidden = model.whole, model.hidden
    if keys := whole("linear_num_key_heads"):  # gated delta net: srt/models/qwen3_next.py
        queries = keys * whole("linear_key_head_dim")
        values = whole("linear_num_value_heads")
        wide = values * whole("linear_value_head_dim")
        return [Part("linear attention", hidden * (2 * queries + 2 * wide) + wide * hidden, "linear"),
                Part("linear attention's small parts", hidden * 2 * values
                     + (2 * queries + wide) * whole("linear_conv_kernel_dim"))]
    linear = model.text.get("linear_attn_config")
    if isinstance(linear, dict):  # Kimi's delta attention
        wide = int(linear["num_heads"]) * int(linear["head_dim"])
        small = 2 * (hidden * int(linear["head_dim"]) + int(linear["head_dim"]) * wide)
        return [Part("linear attention", 4 * hidden * wide, "linear"),
                Part("linear attention's small parts", small + 3 * wide * int(linear["short_conv_kernel_size"]))]
    if kernel := whole("conv_L_cache"):  # LFM2
        return [Part("convolutions", 4 * hidden * hidden + kernel * hidden, "linear")]
    heads, state, groups = mamba_shape(model)[1:]
    wide = mamba_shape(model)[0]
    return [Part("state layers", hidden * (2 * wide + 2 * groups * state + heads) + wide * hidden, "linear"),
            Part("state layers' small parts", (wide + 2 * groups * state) * whole("conv_kernel", "mamba_d_conv"))]


def mamba_shape(model: Model) -> tuple[int, int, int, int]:
    """(width, heads, state, groups) of a Mamba 2 layer."""
    whole = model.whole
    heads = whole("mamba_num_heads", "mamba_n_heads", "num_heads")
    wide = whole("mamba_d_ssm") or heads * whole("mamba_head_dim", "mamba_d_head")
    wide = wide or whole("mamba_expand", "expand", default=2) * model.hidden
    return wide, heads, whole("ssm_state_size", "mamba_d_state", "state_size"), whole("n_groups", "mamba_n_groups",
                                                                                      default=1)
