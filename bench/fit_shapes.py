"""Shapes of models for engines with random weights: real layers, and few enough of them to load in seconds. Pure."""

from __future__ import annotations

from typing import Any

Config = dict[str, Any]

_COMMON: Config = {"torch_dtype": "bfloat16", "tie_word_embeddings": False, "rms_norm_eps": 1e-6, "hidden_act": "silu",
                   "bos_token_id": 1, "eos_token_id": 2, "attention_bias": False, "rope_theta": 1e6,
                   "max_position_embeddings": 32768, "attention_dropout": 0.0, "initializer_range": 0.02}
_LLAMA: Config = {**_COMMON, "architectures": ["LlamaForCausalLM"], "model_type": "llama", "mlp_bias": False}
_MOE: Config = {
    **_COMMON, "architectures": ["Qwen3MoeForCausalLM"], "model_type": "qwen3_moe", "hidden_size": 2048,
    "intermediate_size": 6144, "moe_intermediate_size": 768, "num_hidden_layers": 24, "num_attention_heads": 32,
    "num_key_value_heads": 4, "head_dim": 128, "vocab_size": 151936, "num_experts": 128, "num_experts_per_tok": 8,
    "decoder_sparse_step": 1, "mlp_only_layers": [], "norm_topk_prob": True, "router_aux_loss_coef": 0.001,
    "use_sliding_window": False, "sliding_window": None}
_MLA: Config = {
    **_COMMON, "architectures": ["DeepseekV2ForCausalLM"], "model_type": "deepseek_v2", "hidden_size": 2048,
    "intermediate_size": 10944, "moe_intermediate_size": 1408, "num_hidden_layers": 27, "num_attention_heads": 16,
    "num_key_value_heads": 16, "n_routed_experts": 64, "n_shared_experts": 2, "num_experts_per_tok": 6,
    "first_k_dense_replace": 1, "moe_layer_freq": 1, "kv_lora_rank": 512, "q_lora_rank": None, "qk_nope_head_dim": 128,
    "qk_rope_head_dim": 64, "v_head_dim": 128, "vocab_size": 102400, "routed_scaling_factor": 1.0,
    "scoring_func": "softmax", "topk_method": "greedy", "n_group": 1, "topk_group": 1, "norm_topk_prob": False,
    "rope_scaling": {"type": "yarn", "rope_type": "yarn", "factor": 8, "beta_fast": 32, "beta_slow": 1,
                     "mscale": 0.707, "mscale_all_dim": 0.707, "original_max_position_embeddings": 4096}}
_SLIDING: Config = {
    **_COMMON, "architectures": ["GptOssForCausalLM"], "model_type": "gpt_oss", "hidden_size": 2880,
    "intermediate_size": 2880, "num_hidden_layers": 12, "num_attention_heads": 64, "num_key_value_heads": 8,
    "head_dim": 64, "vocab_size": 201088, "num_local_experts": 32, "num_experts_per_tok": 4, "attention_bias": True,
    "sliding_window": 128, "swiglu_limit": 7.0, "layer_types": ["sliding_attention", "full_attention"] * 6,
    "rope_scaling": {"rope_type": "yarn", "factor": 8.0, "beta_fast": 32.0, "beta_slow": 1.0, "truncate": False,
                     "original_max_position_embeddings": 4096}}
_STATE: Config = {
    **_COMMON, "architectures": ["Qwen3NextForCausalLM"], "model_type": "qwen3_next", "hidden_size": 2048,
    "intermediate_size": 5120, "num_hidden_layers": 12, "num_attention_heads": 16, "num_key_value_heads": 2,
    "head_dim": 256, "vocab_size": 151936, "full_attention_interval": 4, "linear_conv_kernel_dim": 4,
    "linear_key_head_dim": 128, "linear_num_key_heads": 16, "linear_num_value_heads": 32, "linear_value_head_dim": 128,
    "num_experts": 128, "num_experts_per_tok": 10, "moe_intermediate_size": 512,
    "shared_expert_intermediate_size": 512, "decoder_sparse_step": 1, "mlp_only_layers": [], "norm_topk_prob": True,
    "partial_rotary_factor": 0.25, "router_aux_loss_coef": 0.001}

# For a GPU of 80 GB.
SHAPES: dict[str, Config] = {
    "1b": {**_LLAMA, "hidden_size": 2048, "intermediate_size": 8192, "num_hidden_layers": 16,
           "num_attention_heads": 32, "num_key_value_heads": 8, "head_dim": 64, "vocab_size": 128256,
           "tie_word_embeddings": True},
    "8b": {**_LLAMA, "hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32,
           "num_attention_heads": 32, "num_key_value_heads": 8, "head_dim": 128, "vocab_size": 128256},
    "moe": _MOE, "mla": _MLA, "sliding": _SLIDING, "state": _STATE,
}


def _tiny(config: Config, **smaller: Any) -> Config:
    return {**config, "hidden_size": 256, "intermediate_size": 512, "vocab_size": 512, "max_position_embeddings": 4096,
            **smaller}


# For the engine on a CPU, with tokens enough that their bytes show in a log of two decimals.
TINY: dict[str, Config] = {
    "8b": _tiny(SHAPES["8b"], num_hidden_layers=6, num_attention_heads=8, num_key_value_heads=4, head_dim=64),
    "moe": _tiny(_MOE, num_hidden_layers=5, num_attention_heads=8, num_key_value_heads=2, moe_intermediate_size=128,
                 num_experts=8, num_experts_per_tok=2),
    "mla": _tiny(_MLA, num_hidden_layers=4, num_attention_heads=4, num_key_value_heads=4, moe_intermediate_size=128,
                 n_routed_experts=8, n_shared_experts=1, num_experts_per_tok=2,
                 rope_scaling={**_MLA["rope_scaling"], "factor": 1.0}),
    "window": _tiny(_COMMON, architectures=["Gemma3ForCausalLM"], model_type="gemma3_text", num_hidden_layers=6,
                    num_attention_heads=4, num_key_value_heads=2, head_dim=64, sliding_window=512,
                    sliding_window_pattern=6, rope_local_base_freq=10000.0, query_pre_attn_scalar=64,
                    hidden_activation="gelu_pytorch_tanh", tie_word_embeddings=True, final_logit_softcapping=None,
                    attn_logit_softcapping=None, layer_types=["sliding_attention"] * 5 + ["full_attention"]),
    # GPT-OSS wants kernels that a CPU has not; any architecture may ask for a cache of its sliding layers.
    "sliding": _tiny(SHAPES["8b"], num_hidden_layers=6, num_attention_heads=8, num_key_value_heads=4, head_dim=64,
                     is_hybrid_swa=True, hybrid_layer_pattern=[1, 1, 0] * 2, sliding_window=128),
    "state": _tiny(_STATE, num_hidden_layers=4, num_attention_heads=4, num_key_value_heads=2, head_dim=64,
                   linear_key_head_dim=32, linear_num_key_heads=4, linear_num_value_heads=8, linear_value_head_dim=32,
                   num_experts=8, num_experts_per_tok=2, moe_intermediate_size=128,
                   shared_expert_intermediate_size=128),
}
