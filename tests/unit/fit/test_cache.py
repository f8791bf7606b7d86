"""Bytes of the KV cache: of one GPU, as SGLang counts them."""

import pytest

from fit import FitError, Model, Serving
from fit.cache import cache
from tests.unit.fit import configs


def token(config, **serving):
    return cache(Model(config), Serving(**{"tp_size": 1, **serving})).token


@pytest.mark.parametrize(("config", "size"), [
    (configs.LLAMA_8B, 131072),             # 2 x 32 layers x 8 heads x 128 x 2 bytes
    (configs.LLAMA_70B, 327680), (configs.QWEN3_8B, 147456), (configs.QWEN25_7B, 57344),
    (configs.QWEN3_30B_A3B, 98304), (configs.MIXTRAL_8X7B, 131072), (configs.GLM45_AIR, 188416),
    (configs.GEMMA3_27B, 507904),           # its sliding layers have a whole cache in SGLang
    (configs.DEEPSEEK_V3, 70272),           # 61 layers x (512 + 64) x 2 bytes
    (configs.DEEPSEEK_V2_LITE, 31104),
    (configs.QWEN3_NEXT_80B, 24576),        # twelve of 48 layers keep tokens
    (configs.QWEN25_VL_7B, 57344), (configs.MISTRAL_SMALL_31, 163840)])
def test_bytes_of_a_token(config, size):
    assert token(config) == size


def test_layers_with_a_window_have_a_smaller_cache_of_their_own():
    found = cache(Model(configs.GPT_OSS_20B), Serving(tp_size=1))
    assert (found.full, found.sliding, found.window) == (12 * 2048, 12 * 2048, 128)
    assert found.token == pytest.approx(12 * 2048 * 1.8)
    assert token(configs.GPT_OSS_20B, swa_full_tokens_ratio=0.1) == pytest.approx(12 * 2048 * 1.1)
    assert token(configs.GPT_OSS_20B, disable_hybrid_swa_memory=True) == 24 * 2048


def test_heads_are_shared_out_until_each_gpu_has_one():
    assert token(configs.LLAMA_8B, tp_size=8) == 131072 / 8
    assert token(configs.LLAMA_8B, tp_size=16) == 131072 / 8
    assert token(configs.QWEN25_7B, tp_size=8) == 57344 / 4


def test_a_latent_cache_is_held_by_every_gpu():
    assert token(configs.DEEPSEEK_V3, tp_size=8) == token(configs.DEEPSEEK_V3)


def test_attention_that_is_not_shared_out_keeps_all_heads():
    assert token(configs.LLAMA_8B, tp_size=4, dp_size=4, enable_dp_attention=True) == 131072
    assert token(configs.LLAMA_8B, tp_size=4, dp_size=2, enable_dp_attention=True) == 131072 / 2


def test_stages_share_the_layers_out():
    assert token(configs.QWEN3_235B, pp_size=4) == token(configs.QWEN3_235B) * 24 / 94


@pytest.mark.parametrize(("dtype", "share"), [
    ("fp8_e4m3", 1 / 2), ("fp8_e5m2", 1 / 2), ("bf16", 1), ("mxfp8", 33 / 64), ("nvfp4", 9 / 32)])
def test_a_smaller_type_makes_a_smaller_cache(dtype, share):
    assert token(configs.LLAMA_8B, kv_cache_dtype=dtype) == 131072 * share


def test_an_unknown_type_is_no_guess():
    with pytest.raises(FitError, match="kv_cache_dtype 'int2' is unknown"):
        token(configs.LLAMA_8B, kv_cache_dtype="int2")


def test_weights_with_scales_for_an_fp8_cache_choose_it():
    config = {**configs.LLAMA_8B, "quantization_config": {"quant_method": "modelopt", "kv_cache_quant_algo": "FP8"}}
    assert token(config) == 65536 and token(config, kv_cache_dtype="bf16") == 131072


def test_sparse_attention_keeps_an_index_and_scales_beside_its_latent():
    config = {**configs.DEEPSEEK_V3, "architectures": ["DeepseekV32ForCausalLM"], "index_topk": 2048,
              "index_head_dim": 128, "index_n_heads": 64}
    assert token(config) == 61 * (576 * 2 + 132)
    assert token(config, kv_cache_dtype="fp8_e4m3") == 61 * (512 + 16 + 128 + 132)


def test_a_state_is_of_a_request_and_not_of_a_token():
    found = cache(Model(configs.QWEN3_NEXT_80B), Serving(tp_size=1))
    # 36 layers of 32 heads x 128 x 128 in 32 bits, and of 3 x 8,192 in 16.
    assert found.state == 36 * (32 * 128 * 128 * 4 + 3 * 8192 * 2) and found.states == 5
    halved = cache(Model(configs.QWEN3_NEXT_80B), Serving(tp_size=2, mamba_ssm_dtype="bfloat16",
                                                          disable_radix_cache=True))
    assert halved.state == 36 * (16 * 128 * 128 * 2 + 3 * 4096 * 2) and halved.states == 1


def test_a_draft_model_has_a_cache_of_the_same_length():
    assert token(configs.LLAMA_8B, speculative_algorithm="EAGLE3", draft={**configs.LLAMA_8B,
                                                                            "num_hidden_layers": 1}) == 131072 * 33 / 32
    assert token(configs.DEEPSEEK_V3, speculative_algorithm="NEXTN") == pytest.approx(70272 * 62 / 61)
    assert token(configs.LLAMA_8B, speculative_algorithm="NGRAM") == 131072
