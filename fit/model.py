"""A model's config.json, read once: layers by their kinds, sizes by one name each. Pure.

The keys are those of the model families that SGLang serves; sglang: srt/configs/model_config.py.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from fit import families
from fit.families import Layer


class FitError(ValueError):
    """Something that nothing can be judged with; the message names it and the remedy."""


_TEXT = ("text_config", "llm_config", "language_config", "thinker_config", "talker_config")
_CONTEXT = ("max_sequence_length", "seq_length", "max_seq_len", "model_max_length", "max_position_embeddings")
_KV_HEADS = ("n_head_kv", "num_kv_heads", "num_key_value_heads", "multi_query_group_num", "num_attention_groups")
_EXPERTS = ("num_experts", "n_routed_experts", "num_local_experts", "moe_num_experts")
_CHOSEN = ("num_experts_per_tok", "num_experts_per_token", "moe_topk", "moe_top_k", "top_k_experts")
_FEWER_BYTES = {"float16": 2, "bfloat16": 2, "half": 2, "float32": 4, "float": 4}


@dataclass(frozen=True)
class Model:
    """A model by its config.json. Raises FitError for one that is none of a language model's."""

    config: Mapping[str, Any]

    def __post_init__(self) -> None:
        if not isinstance(self.config, Mapping) or not (self.layers and self.hidden > 0):
            raise FitError("this is no config.json of a language model: it names no number of layers or no hidden size")

    @cached_property
    def text(self) -> dict[str, Any]:
        """The part about the language model; what it does not say stands beside it or one part higher."""
        found: dict[str, Any] = {}
        level: Any = self.config
        while isinstance(level, Mapping):
            found |= {key: value for key, value in level.items() if value is not None}
            level = next((level[key] for key in _TEXT if isinstance(level.get(key), Mapping)), None)
        mlps = found.get("ffn_config")  # DBRX has the sizes of its experts here
        return {**mlps, **found} if isinstance(mlps, Mapping) else found

    def whole(self, *names: str, default: int = 0) -> int:
        """The first of these keys that is a number; `default` where none is."""
        for name in names:
            value = self.text.get(name)
            if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
                return int(value)
        return default

    @property
    def architecture(self) -> str:
        names = self.config.get("architectures")
        return str(names[0]) if isinstance(names, Sequence) and not isinstance(names, str) and names else ""

    @cached_property
    def type(self) -> str:
        """model_type of the language model."""
        return str(self.text.get("model_type", ""))

    @property
    def dtype_bytes(self) -> int:
        """Of a weight as the server holds it with --dtype auto: float32 becomes 16 bits there."""
        return 2

    def bytes_of(self, dtype: str) -> int:
        """Bytes of an element of --dtype `dtype`. Raises FitError for an unknown one."""
        if dtype == "auto":
            return self.dtype_bytes
        if dtype not in _FEWER_BYTES:
            raise FitError(f"dtype {dtype!r} is unknown: choose auto or one of {', '.join(_FEWER_BYTES)}")
        return _FEWER_BYTES[dtype]

    @property
    def hidden(self) -> int:
        return self.whole("hidden_size", "n_embd", "d_model")

    @property
    def vocabulary(self) -> int:
        return self.whole("vocab_size", "padded_vocab_size")

    @cached_property
    def layers(self) -> tuple[Layer, ...]:
        return families.layers(self)

    @property
    def heads(self) -> int:
        return self.whole("num_attention_heads", "n_head", "n_heads")

    @property
    def head_dim(self) -> int:
        return self.whole("head_dim", "attention_head_dim", "kv_channels") or (
            self.hidden // self.heads if self.heads else 0)

    @property
    def value_dim(self) -> int:
        return self.whole("v_head_dim") or self.head_dim

    @property
    def kv_heads(self) -> int:
        if self.text.get("multi_query") and not self.text.get("new_decoder_architecture"):
            return 1
        nested = self.text.get("attn_config")
        if isinstance(nested, Mapping) and isinstance(nested.get("kv_n_heads"), int):
            return int(nested["kv_n_heads"])
        return self.whole(*_KV_HEADS) or self.heads

    @property
    def latent(self) -> int:
        """kv_lora_rank of multi-head latent attention; 0 for other attention."""
        return 0 if self.text.get("use_mla") is False or families.compressed(self) else self.whole("kv_lora_rank")

    @property
    def rope_dim(self) -> int:
        return self.whole("qk_rope_head_dim")

    @property
    def window(self) -> int:
        return self.whole("sliding_window", "sliding_window_size", "attention_chunk_size")

    @property
    def experts(self) -> int:
        """Routed experts of a layer that has any."""
        return self.whole(*_EXPERTS)

    @property
    def untold_experts(self) -> bool:
        """Whether a router chooses some of its experts and no key says how many there are."""
        return self.whole(*_CHOSEN) > 0 and self.whole(*_EXPERTS, default=-1) < 0

    @property
    def tied(self) -> bool:
        """Whether the output head is the embedding."""
        for level in (self.text, self.config):
            if isinstance(level.get("tie_word_embeddings"), bool):
                return bool(level["tie_word_embeddings"])
        return families.tied_by_default(self.type)

    @property
    def has_head(self) -> bool:
        return families.has_head(self.architecture)

    @property
    def has_tower(self) -> bool:
        """Whether a part of it reads images or sound."""
        return any(isinstance(self.config.get(key), Mapping) for key in ("vision_config", "audio_config"))

    @property
    def context(self) -> int:
        """The longest context that the server takes by itself, in tokens (get_context_length in
        srt/utils/hf_transformers/common.py)."""
        scaling = self.text.get("rope_scaling")
        factor = 1.0
        if isinstance(scaling, Mapping) and "original_max_position_embeddings" not in scaling \
                and scaling.get("rope_type") != "llama3" and isinstance(scaling.get("factor"), int | float):
            factor = float(scaling["factor"])
        longest = self.whole(*_CONTEXT)
        return int(longest * factor) if longest else 2048

    @property
    def draft_layers(self) -> int:
        """Layers for multi-token prediction that come in the model's own weights."""
        return self.whole("num_nextn_predict_layers", "mtp_num_hidden_layers")

    def count(self, *kinds: str) -> int:
        """Layers whose attention is one of `kinds`."""
        return sum(layer.attention in kinds for layer in self.layers)
