"""What differs between families of models and stands in no common key of config.json. Pure.

The names of architectures are those of SGLang 0.5.23; each function names the file that it follows.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from fit.model import Model


class Layer(NamedTuple):
    """attention: "full", "sliding" (its own cache, of the window only), "state" (a fixed state for each request),
    "both" (a state beside full attention) or "none". mlp: "dense", "experts" or "none"."""

    attention: str
    mlp: str


# is_hybrid_swa_model in srt/configs/model_config.py: only these get a smaller cache for their sliding layers. Gemma 2
# and 3, Olmo 3, Exaone and Cohere have sliding layers too, and a full cache for each of them.
_SPLIT_CACHE = frozenset((
    "BeamForCausalLM", "Llama4ForConditionalGeneration", "GptOssForCausalLM", "GraniteSWAForCausalLM",
    "GraniteMoeSWAForCausalLM", "IQuestQ1ForCausalLM", "MiMoV2ForCausalLM", "MiMoV2FlashForCausalLM",
    "Step3p5ForCausalLM", "Step3p7ForConditionalGeneration", "Gemma4ForCausalLM", "Gemma4ForConditionalGeneration",
    "EmbeddingGemma2Model", "Gemma4UnifiedForConditionalGeneration", "DiffusionGemmaForBlockDiffusion",
    "LagunaForCausalLM", "MellumForCausalLM", "MuseGlimmerForCausalLM", "MuseGlimmerForConditionalGeneration",
    "InklingForConditionalGeneration", "UnlimitedOCRForCausalLM"))
# _MAMBA_EXTRA_BUFFER_ARCHS in srt/arg_groups/overrides.py: two more slots of state for each request.
_EXTRA_STATES = frozenset((
    "KimiLinearForCausalLM", "Qwen3_5ForConditionalGeneration", "Qwen3_5MoeForConditionalGeneration",
    "Qwen3_5MoeForCausalLM", "Qwen3_5ForCausalLM", "Qwen3NextForCausalLM", "Qwen4ExpForConditionalGeneration",
    "InternS2PreviewForConditionalGeneration", "BailingMoeV2_5ForCausalLM", "FalconH1ForCausalLM",
    "GraniteMoeHybridForCausalLM", "NemotronHForCausalLM", "NemotronHPuzzleForCausalLM"))
_TIED = ("gemma", "cohere", "command", "gpt2", "bloom", "opt", "falcon", "starcoder2", "lfm2", "mpt")
# One projection up and one down, where others have a gate beside them.
_PLAIN_MLP = frozenset((
    "phi", "gpt2", "gpt_neox", "gptj", "opt", "bloom", "falcon", "starcoder2", "gpt_bigcode", "nemotron", "nemotron_h",
    "arcee", "bert", "roberta", "xlm-roberta", "mpt", "whisper"))
# Biases on query, key and value that config.json does not tell of.
_QKV_BIAS = frozenset(("qwen", "qwen2", "qwen2_moe", "qwen2_vl", "qwen2_vl_text", "qwen2_5_vl", "qwen2_5_vl_text",
                       "chatglm", "gpt2", "bert", "roberta", "xlm-roberta", "opt", "phi", "starcoder2"))
# Four times the hidden size, where config.json names no other: srt/models/gpt2.py, gpt_j.py, gpt_bigcode.py.
_FOURFOLD_MLP = frozenset(("gpt2", "gptj", "gpt_bigcode"))
_COMPRESSED = "DeepseekV4"
# multimodal_breakable_cuda_graph_supported_model_archs: the others that see images have no graphs of prefill.
_IMAGE_GRAPHS = frozenset((
    "MiniMaxM3SparseForConditionalGeneration", "Cohere2VisionForConditionalGeneration",
    "Glm5NextForConditionalGeneration", "InternS2MobiusForConditionalGeneration",
    "PaddleOCRVLForConditionalGeneration", "Qwen3_5ForConditionalGeneration", "Qwen3_5MoeForConditionalGeneration",
    "Qwen4ExpForConditionalGeneration", "MuseGlimmerForConditionalGeneration", "MuseSparkForConditionalGeneration",
    "KimiK3ForConditionalGeneration", "KimiK25ForConditionalGeneration"))

# mm_disabled_models in srt/configs/model_config.py: these read images only with --enable-multimodal.
_IMAGES_OFF = frozenset(("Gemma3ForConditionalGeneration", "Llama4ForConditionalGeneration",
                         "Step3VLForConditionalGeneration", "InklingForConditionalGeneration"))


def compressed(model: Model) -> bool:
    """DeepSeek V4 compresses its cache in ways of its own."""
    return model.architecture.startswith(_COMPRESSED)


def multimodal(model: Model, enabled: bool) -> bool:
    """Whether the server reads more than text; `enabled`: --enable-multimodal."""
    return model.has_tower and (enabled or model.architecture not in _IMAGES_OFF)


def prefill_graphs(model: Model, enabled: bool) -> bool:
    """Whether SGLang captures graphs of prefill (disable_breakable_cudagraph_if_incompatible in
    srt/arg_groups/cuda_graph_hook.py)."""
    delta = isinstance(model.text.get("linear_attn_config"), Mapping)
    return not delta and (not multimodal(model, enabled) or model.architecture in _IMAGE_GRAPHS)


def tied_by_default(model_type: str) -> bool:
    """The default of transformers' configuration class for tie_word_embeddings."""
    return model_type.startswith(_TIED)


def has_head(architecture: str) -> bool:
    """Whether there is an output head over the vocabulary."""
    if architecture.endswith(("ChatGLMModel", "ChatModel", "LMModel", "LMHeadModel")):
        return True  # these generate, whatever their names say: QWenLMHeadModel, InternVLChatModel
    return not architecture.endswith(("Model", "ForSequenceClassification", "RewardModel", "ForMaskedLM"))


def gated(model: Model) -> bool:
    """Whether an MLP has a gate: three matrices in place of two."""
    return model.type not in _PLAIN_MLP


def mlp_size(model: Model) -> int:
    """The inner size of a dense MLP; 0 where config.json does not tell it."""
    if size := hidden_inner(model.text, "intermediate_size_mlp", "ffn_hidden_size", "intermediate_size", "n_inner",
                            "ffn_dim", "block_ff_dim"):
        return size // 2 if model.type == "qwen" else size  # the first Qwen counts both of its matrices
    return 4 * model.hidden if model.type in _FOURFOLD_MLP else 0


def expert_size(model: Model) -> int:
    """The inner size of a routed expert; 0 where config.json does not tell it."""
    return hidden_inner(model.text, "moe_intermediate_size", "expert_hidden_dim", "moe_ffn_hidden_size",
                        "expert_ffn_hidden_size", "intermediate_size", "ffn_hidden_size")


def qkv_bias(model: Model) -> bool:
    given = model.text.get("attention_bias", model.text.get("qkv_bias"))
    return bool(given) if isinstance(given, bool) else model.type in _QKV_BIAS


def query_gate(model: Model) -> bool:
    """Qwen3-Next and Qwen3.5 project a gate of the queries' size beside them."""
    return bool(model.text.get("attn_output_gate", model.type.startswith(("qwen3_next", "qwen3_5"))))


def states_per_request(model: Model, radix_cache: bool) -> int:
    """Slots of state that one running request may hold (_calculate_mamba_ratio in
    srt/mem_cache/kv_cache_configurator.py)."""
    if not radix_cache:
        return 1
    return 5 if model.architecture in _EXTRA_STATES else 3


def splits_cache(model: Model) -> bool:
    """Whether sliding layers have a smaller cache of their own."""
    return model.architecture in _SPLIT_CACHE or model.text.get("is_hybrid_swa") is True


def layers(model: Model) -> tuple[Layer, ...]:
    """Every layer of the language model, in order."""
    attention = _attention(model)
    return tuple(Layer(kind, _mlp(model, at, kind)) for at, kind in enumerate(attention))


_MOST_LAYERS = 10_000  # what a broken file may say is not counted up
_STATE = ("linear_attention", "mamba", "conv", "recurrent", "kda")
_LETTERS = {"M": "state", "*": "full", "-": "none", "E": "none"}
_WORDS = {"mamba": "state", "attention": "full", "mlp": "none", "moe": "none"}


def _pattern(model: Model) -> list[str] | None:
    """Nemotron-H: a layer is attention, a state, an MLP or experts, and nothing beside it."""
    words = model.text.get("layers_block_type")
    if model.type == "nemotron_h" and isinstance(words, list):
        return [{"mamba": "M", "attention": "*", "mlp": "-", "moe": "E"}.get(str(word), "*") for word in words]
    letters = model.text.get("hybrid_override_pattern")
    return list(letters) if isinstance(letters, str) and letters else None


def _attention(model: Model) -> list[str]:
    total = min(model.whole("num_hidden_layers", "n_layer", "n_layers", "num_layers"), _MOST_LAYERS)
    if pattern := _pattern(model):
        return [_LETTERS.get(letter, "full") for letter in pattern]
    linear = model.text.get("linear_attn_config")
    if isinstance(linear, Mapping) and isinstance(linear.get("kda_layers"), list):
        return ["state" if at + 1 in linear["kda_layers"] else "full" for at in range(total)]
    if model.type == "falcon_h1":
        return ["both"] * total
    if model.type in ("mamba", "mamba2", "falcon_mamba"):
        return ["state"] * total
    sliding = "sliding" if splits_cache(model) else "full"
    types = model.text.get("layer_types")
    if isinstance(types, list) and len(types) >= total:
        kinds = {"sliding_attention": sliding, "chunked_attention": sliding, **dict.fromkeys(_STATE, "state")}
        return [kinds.get(str(kind), "full") for kind in types[:total]]
    if interval := model.whole("full_attention_interval"):
        return ["full" if (at + 1) % interval == 0 else "state" for at in range(total)]
    if sliding == "sliding":
        return _sliding(model, total)
    if isinstance(full := model.text.get("full_attn_idxs"), list):  # LFM2
        return ["full" if at in full else "state" for at in range(total)]
    return ["full"] * total


def _sliding(model: Model, total: int) -> list[str]:
    pattern = model.text.get("hybrid_layer_pattern")
    if isinstance(pattern, list) and len(pattern) >= total:
        return ["sliding" if one == 1 else "full" for one in pattern[:total]]
    if model.type.startswith("gpt_oss"):
        return ["sliding" if at % 2 == 0 else "full" for at in range(total)]
    if model.type.startswith("llama4"):
        return ["full" if (at + 1) % 4 == 0 else "sliding" for at in range(total)]
    every = model.whole("sliding_window_pattern", default=6)
    return ["full" if (at + 1) % every == 0 else "sliding" for at in range(total)]


def _mlp(model: Model, at: int, attention: str) -> str:
    text = model.text
    if pattern := _pattern(model):
        return {"-": "dense", "E": "experts"}.get(pattern[at], "none")
    if model.type in ("mamba", "mamba2", "falcon_mamba"):
        return "none"
    if not model.experts:
        return "dense"
    if isinstance(moe := text.get("moe_layers"), list) and moe:
        return "experts" if at in moe else "dense"
    if isinstance(frequency := text.get("moe_layer_freq"), list):
        return "experts" if at < len(frequency) and frequency[at] else "dense"
    if isinstance(dense := text.get("mlp_only_layers"), list) and at in dense:
        return "dense"
    if at < model.whole("first_k_dense_replace", "num_dense_layers", "moe_layer_start_index"):
        return "dense"
    if (last := model.whole("moe_layer_end_index", default=-1)) >= 0 and at > last:
        return "dense"
    step = model.whole("interleave_moe_layer_step", "decoder_sparse_step", "moe_layer_interval", "moe_layer_freq")
    # Qwen and Llama 4 count from one, DeepSeek and ERNIE from zero.
    counted = at if "moe_layer_freq" in text else at + 1
    return "experts" if step <= 1 or counted % step == 0 else "dense"


def hidden_inner(text: Mapping[str, Any], *names: str) -> int:
    """The first of these sizes; of a list the largest."""
    for name in names:
        value = text.get(name)
        if isinstance(value, list) and value:
            return max(int(one) for one in value)
        if isinstance(value, int):
            return value
    return 0
