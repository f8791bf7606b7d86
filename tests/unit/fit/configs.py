"""config.json of published models, as far as their size depends on it, and the parameters that the hub counts of each.

The counts are those of the safetensors files on the hub. Where these hold layers for multi-token prediction too, which
the server loads only for speculative decoding, the number is that of the model's own card.
"""

from typing import Any

Config = dict[str, Any]


def _llama(hidden: int, inner: int, layers: int, heads: int, kv: int, vocabulary: int = 128256, **more: Any) -> Config:
    return {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": hidden,
            "intermediate_size": inner, "num_hidden_layers": layers, "num_attention_heads": heads,
            "num_key_value_heads": kv, "vocab_size": vocabulary, "max_position_embeddings": 131072,
            "tie_word_embeddings": False, "torch_dtype": "bfloat16",
            "rope_scaling": {"factor": 8.0, "original_max_position_embeddings": 8192, "rope_type": "llama3",
                             "low_freq_factor": 1.0, "high_freq_factor": 4.0}, **more}


def _qwen3(hidden: int, inner: int, layers: int, heads: int, kv: int, **more: Any) -> Config:
    return {"architectures": ["Qwen3ForCausalLM"], "model_type": "qwen3", "hidden_size": hidden,
            "intermediate_size": inner, "num_hidden_layers": layers, "num_attention_heads": heads,
            "num_key_value_heads": kv, "head_dim": 128, "vocab_size": 151936, "max_position_embeddings": 40960,
            "tie_word_embeddings": False, "torch_dtype": "bfloat16", "attention_bias": False, "sliding_window": None,
            **more}


LLAMA_1B = _llama(2048, 8192, 16, 32, 8, head_dim=64, tie_word_embeddings=True)
LLAMA_8B = _llama(4096, 14336, 32, 32, 8)
LLAMA_70B = _llama(8192, 28672, 80, 64, 8)
QWEN3_0_6B = _qwen3(1024, 3072, 28, 16, 8, tie_word_embeddings=True)
QWEN3_4B = _qwen3(2560, 9728, 36, 32, 8, tie_word_embeddings=True, max_position_embeddings=262144)
QWEN3_8B = _qwen3(4096, 12288, 36, 32, 8)
QWEN3_32B = _qwen3(5120, 25600, 64, 64, 8)
QWEN3_30B_A3B = _qwen3(2048, 6144, 48, 32, 4, architectures=["Qwen3MoeForCausalLM"], model_type="qwen3_moe",
                       num_experts=128, num_experts_per_tok=8, moe_intermediate_size=768, decoder_sparse_step=1,
                       mlp_only_layers=[], max_position_embeddings=262144)
QWEN3_235B = _qwen3(4096, 12288, 94, 64, 4, architectures=["Qwen3MoeForCausalLM"], model_type="qwen3_moe",
                    num_experts=128, num_experts_per_tok=8, moe_intermediate_size=1536, decoder_sparse_step=1,
                    mlp_only_layers=[])
QWEN25_7B: Config = {
    "architectures": ["Qwen2ForCausalLM"], "model_type": "qwen2", "hidden_size": 3584, "intermediate_size": 18944,
    "num_hidden_layers": 28, "num_attention_heads": 28, "num_key_value_heads": 4, "vocab_size": 152064,
    "max_position_embeddings": 32768, "tie_word_embeddings": False, "torch_dtype": "bfloat16",
    "use_sliding_window": False, "sliding_window": 131072}
QWEN25_72B: Config = {**QWEN25_7B, "hidden_size": 8192, "intermediate_size": 29568, "num_hidden_layers": 80,
                      "num_attention_heads": 64, "num_key_value_heads": 8}
QWEN25_VL_7B: Config = {
    **QWEN25_7B, "architectures": ["Qwen2_5_VLForConditionalGeneration"], "model_type": "qwen2_5_vl",
    "max_position_embeddings": 128000,
    "vision_config": {"depth": 32, "hidden_act": "silu", "hidden_size": 1280, "intermediate_size": 3420,
                      "num_heads": 16, "in_chans": 3, "out_hidden_size": 3584, "patch_size": 14,
                      "spatial_merge_size": 2, "temporal_patch_size": 2, "model_type": "qwen2_5_vl"}}
QWEN3_VL_8B: Config = {
    "architectures": ["Qwen3VLForConditionalGeneration"], "model_type": "qwen3_vl", "tie_word_embeddings": False,
    "text_config": _qwen3(4096, 12288, 36, 32, 8, model_type="qwen3_vl_text", max_position_embeddings=262144),
    "vision_config": {"deepstack_visual_indexes": [8, 16, 24], "depth": 27, "hidden_size": 1152, "in_channels": 3,
                      "intermediate_size": 4304, "model_type": "qwen3_vl", "num_heads": 16,
                      "num_position_embeddings": 2304, "out_hidden_size": 4096, "patch_size": 16,
                      "spatial_merge_size": 2, "temporal_patch_size": 2}}
QWEN3_NEXT_80B: Config = {
    "architectures": ["Qwen3NextForCausalLM"], "model_type": "qwen3_next", "hidden_size": 2048,
    "intermediate_size": 5120, "num_hidden_layers": 48, "num_attention_heads": 16, "num_key_value_heads": 2,
    "head_dim": 256, "vocab_size": 151936, "max_position_embeddings": 262144, "tie_word_embeddings": False,
    "full_attention_interval": 4, "linear_conv_kernel_dim": 4, "linear_key_head_dim": 128, "linear_num_key_heads": 16,
    "linear_num_value_heads": 32, "linear_value_head_dim": 128, "num_experts": 512, "num_experts_per_tok": 10,
    "moe_intermediate_size": 512, "shared_expert_intermediate_size": 512, "decoder_sparse_step": 1,
    "mlp_only_layers": [], "torch_dtype": "bfloat16"}
MISTRAL_7B: Config = {
    "architectures": ["MistralForCausalLM"], "model_type": "mistral", "hidden_size": 4096, "intermediate_size": 14336,
    "num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 8, "vocab_size": 32768,
    "max_position_embeddings": 32768, "sliding_window": None, "tie_word_embeddings": False, "torch_dtype": "bfloat16"}
MISTRAL_SMALL_24B: Config = {
    "architectures": ["MistralForCausalLM"], "model_type": "mistral", "hidden_size": 5120, "intermediate_size": 32768,
    "num_hidden_layers": 40, "num_attention_heads": 32, "num_key_value_heads": 8, "head_dim": 128,
    "vocab_size": 131072, "max_position_embeddings": 32768, "sliding_window": None, "tie_word_embeddings": False,
    "torch_dtype": "bfloat16"}
MISTRAL_SMALL_31: Config = {
    "architectures": ["Mistral3ForConditionalGeneration"], "model_type": "mistral3", "spatial_merge_size": 2,
    "text_config": {**MISTRAL_SMALL_24B, "max_position_embeddings": 131072, "architectures": None},
    "vision_config": {"hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 24, "image_size": 1540,
                      "num_attention_heads": 16, "num_channels": 3, "patch_size": 14, "head_dim": 64,
                      "model_type": "pixtral"}}
MIXTRAL_8X7B: Config = {
    "architectures": ["MixtralForCausalLM"], "model_type": "mixtral", "hidden_size": 4096, "intermediate_size": 14336,
    "num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 8, "vocab_size": 32000,
    "num_local_experts": 8, "num_experts_per_tok": 2, "max_position_embeddings": 32768, "sliding_window": None,
    "tie_word_embeddings": False, "torch_dtype": "bfloat16"}
_SIGLIP = {"hidden_size": 1152, "image_size": 896, "intermediate_size": 4304, "model_type": "siglip_vision_model",
           "num_attention_heads": 16, "num_hidden_layers": 27, "patch_size": 14, "vision_use_head": False}
GEMMA3_1B: Config = {
    "architectures": ["Gemma3ForCausalLM"], "model_type": "gemma3_text", "hidden_size": 1152,
    "intermediate_size": 6912, "num_hidden_layers": 26, "num_attention_heads": 4, "num_key_value_heads": 1,
    "head_dim": 256, "vocab_size": 262144, "max_position_embeddings": 32768, "sliding_window": 512,
    "sliding_window_pattern": 6, "torch_dtype": "bfloat16"}


def _gemma3(**text: Any) -> Config:
    return {"architectures": ["Gemma3ForConditionalGeneration"], "model_type": "gemma3", "torch_dtype": "bfloat16",
            "text_config": {"model_type": "gemma3_text", "sliding_window": 1024, "vocab_size": 262208,
                            "max_position_embeddings": 131072, "sliding_window_pattern": 6, **text},
            "vision_config": _SIGLIP}


GEMMA3_4B = _gemma3(hidden_size=2560, intermediate_size=10240, num_hidden_layers=34, num_attention_heads=8,
                    num_key_value_heads=4, head_dim=256)
GEMMA3_12B = _gemma3(hidden_size=3840, intermediate_size=15360, num_hidden_layers=48, num_attention_heads=16,
                     num_key_value_heads=8, head_dim=256)
GEMMA3_27B = _gemma3(hidden_size=5376, intermediate_size=21504, num_hidden_layers=62, num_attention_heads=32,
                     num_key_value_heads=16, head_dim=128)


def _gpt_oss(layers: int, experts: int) -> Config:
    return {"architectures": ["GptOssForCausalLM"], "model_type": "gpt_oss", "hidden_size": 2880,
            "intermediate_size": 2880, "num_hidden_layers": layers, "num_attention_heads": 64,
            "num_key_value_heads": 8, "head_dim": 64, "vocab_size": 201088, "num_local_experts": experts,
            "num_experts_per_tok": 4, "attention_bias": True, "sliding_window": 128, "tie_word_embeddings": False,
            "layer_types": ["sliding_attention", "full_attention"] * (layers // 2), "torch_dtype": "bfloat16",
            "max_position_embeddings": 131072,
            "rope_scaling": {"factor": 32.0, "original_max_position_embeddings": 4096, "rope_type": "yarn"},
            "quantization_config": {"quant_method": "mxfp4", "modules_to_not_convert": [
                "model.layers.*.self_attn", "model.layers.*.mlp.router", "model.embed_tokens", "lm_head"]}}


GPT_OSS_20B, GPT_OSS_120B = _gpt_oss(24, 32), _gpt_oss(36, 128)
DEEPSEEK_V2_LITE: Config = {
    "architectures": ["DeepseekV2ForCausalLM"], "model_type": "deepseek_v2", "hidden_size": 2048,
    "intermediate_size": 10944, "moe_intermediate_size": 1408, "num_hidden_layers": 27, "num_attention_heads": 16,
    "num_key_value_heads": 16, "n_routed_experts": 64, "n_shared_experts": 2, "num_experts_per_tok": 6,
    "first_k_dense_replace": 1, "moe_layer_freq": 1, "kv_lora_rank": 512, "q_lora_rank": None,
    "qk_nope_head_dim": 128, "qk_rope_head_dim": 64, "v_head_dim": 128, "vocab_size": 102400,
    "max_position_embeddings": 163840, "tie_word_embeddings": False, "torch_dtype": "bfloat16",
    "rope_scaling": {"factor": 40, "original_max_position_embeddings": 4096, "type": "yarn"}}
DEEPSEEK_V3: Config = {
    "architectures": ["DeepseekV3ForCausalLM"], "model_type": "deepseek_v3", "hidden_size": 7168,
    "intermediate_size": 18432, "moe_intermediate_size": 2048, "num_hidden_layers": 61, "num_attention_heads": 128,
    "num_key_value_heads": 128, "n_routed_experts": 256, "n_shared_experts": 1, "num_experts_per_tok": 8,
    "first_k_dense_replace": 3, "moe_layer_freq": 1, "kv_lora_rank": 512, "q_lora_rank": 1536,
    "qk_nope_head_dim": 128, "qk_rope_head_dim": 64, "v_head_dim": 128, "vocab_size": 129280,
    "num_nextn_predict_layers": 1, "max_position_embeddings": 163840, "tie_word_embeddings": False,
    "torch_dtype": "bfloat16",
    "quantization_config": {"activation_scheme": "dynamic", "fmt": "e4m3", "quant_method": "fp8",
                            "weight_block_size": [128, 128]}}
GLM45_AIR: Config = {
    "architectures": ["Glm4MoeForCausalLM"], "model_type": "glm4_moe", "hidden_size": 4096, "intermediate_size": 10944,
    "moe_intermediate_size": 1408, "num_hidden_layers": 46, "num_attention_heads": 96, "num_key_value_heads": 8,
    "head_dim": 128, "n_routed_experts": 128, "n_shared_experts": 1, "num_experts_per_tok": 8,
    "first_k_dense_replace": 1, "attention_bias": True, "use_qk_norm": False, "num_nextn_predict_layers": 1,
    "vocab_size": 151552, "max_position_embeddings": 131072, "tie_word_embeddings": False, "torch_dtype": "bfloat16"}
LLAMA4_SCOUT: Config = {
    "architectures": ["Llama4ForConditionalGeneration"], "model_type": "llama4", "torch_dtype": "bfloat16",
    "text_config": {"model_type": "llama4_text", "hidden_size": 5120, "intermediate_size": 8192,
                    "intermediate_size_mlp": 16384, "num_hidden_layers": 48, "num_attention_heads": 40,
                    "num_key_value_heads": 8, "head_dim": 128, "num_local_experts": 16, "num_experts_per_tok": 1,
                    "interleave_moe_layer_step": 1, "attention_chunk_size": 8192, "vocab_size": 202048,
                    "max_position_embeddings": 10485760, "tie_word_embeddings": False},
    "vision_config": {"hidden_size": 1408, "image_size": 336, "intermediate_size": 5632, "model_type":
                      "llama4_vision_model", "num_attention_heads": 16, "num_channels": 3, "num_hidden_layers": 34,
                      "patch_size": 14, "projector_input_dim": 4096, "projector_output_dim": 4096,
                      "vision_output_dim": 4096}}
PHI_4: Config = {
    "architectures": ["Phi3ForCausalLM"], "model_type": "phi3", "hidden_size": 5120, "intermediate_size": 17920,
    "num_hidden_layers": 40, "num_attention_heads": 40, "num_key_value_heads": 10, "vocab_size": 100352,
    "max_position_embeddings": 16384, "sliding_window": None, "tie_word_embeddings": False, "torch_dtype": "bfloat16"}

# name: (config, parameters as published)
MODELS: dict[str, tuple[Config, float]] = {
    "Llama 3.2 1B": (LLAMA_1B, 1_235_814_400),
    "Llama 3.1 8B": (LLAMA_8B, 8_030_261_248),
    "Llama 3.1 70B": (LLAMA_70B, 70_553_706_496),
    "Qwen3 0.6B": (QWEN3_0_6B, 596_049_920),
    "Qwen3 4B": (QWEN3_4B, 4_022_468_096),
    "Qwen3 8B": (QWEN3_8B, 8_190_735_360),
    "Qwen3 32B": (QWEN3_32B, 32_762_123_264),
    "Qwen3 30B-A3B": (QWEN3_30B_A3B, 30_532_122_624),
    "Qwen3 235B-A22B": (QWEN3_235B, 235_093_634_560),
    "Qwen3-VL 8B": (QWEN3_VL_8B, 8_767_123_696),
    "Qwen3-Next 80B-A3B": (QWEN3_NEXT_80B, 79_674_391_296),
    "Qwen2.5 7B": (QWEN25_7B, 7_615_616_512),
    "Qwen2.5 72B": (QWEN25_72B, 72_706_203_648),
    "Qwen2.5-VL 7B": (QWEN25_VL_7B, 8_292_166_656),
    "Mistral 7B v0.3": (MISTRAL_7B, 7_248_023_552),
    "Mistral Small 24B": (MISTRAL_SMALL_24B, 23_572_403_200),
    "Mistral Small 3.1": (MISTRAL_SMALL_31, 24_011_361_280),
    "Mixtral 8x7B": (MIXTRAL_8X7B, 46_702_792_704),
    "Gemma 3 1B": (GEMMA3_1B, 999_885_952),
    "Gemma 3 4B": (GEMMA3_4B, 4_300_079_472),
    "Gemma 3 12B": (GEMMA3_12B, 12_187_325_040),
    "Gemma 3 27B": (GEMMA3_27B, 27_432_406_640),
    "GPT-OSS 20B": (GPT_OSS_20B, 20_914_757_184),
    "GPT-OSS 120B": (GPT_OSS_120B, 116_829_156_672),
    "DeepSeek V2 Lite": (DEEPSEEK_V2_LITE, 15_706_484_224),
    "DeepSeek V3": (DEEPSEEK_V3, 671_026_419_200),
    "GLM 4.5 Air": (GLM45_AIR, 106_852_245_504),
    "Llama 4 Scout": (LLAMA4_SCOUT, 108_641_793_536),
    "Phi 4": (PHI_4, 14_659_507_200),
}
