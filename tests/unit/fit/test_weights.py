"""Parameters and bytes of weights, against what is published of real models."""

import pytest

from fit import Model, Serving
from fit.load import weights
from fit.weights import parameters, parts
from tests.unit.fit import configs
from tests.unit.fit.configs import MODELS

WHOLE = Serving(tp_size=1)


@pytest.mark.parametrize("name", MODELS)
def test_parameters_are_those_that_the_hub_counts(name):
    config, published = MODELS[name]
    assert parameters(Model(config)) == pytest.approx(published, rel=0.002)


def test_a_16_bit_model_takes_two_bytes_a_parameter_and_its_rotary_table():
    model = Model(configs.LLAMA_8B)
    assert weights(model, WHOLE) == 2 * 8_030_261_248 + 131072 * 128 * 4


@pytest.mark.parametrize(("config", "gigabytes"), [
    (configs.GPT_OSS_20B, 13.8), (configs.GPT_OSS_120B, 65.3), (configs.DEEPSEEK_V3, 688.6)])
def test_weights_that_are_quantised_in_the_files(config, gigabytes):
    """The sizes of the files on the hub; of DeepSeek V3 without its layer for multi-token prediction."""
    model = Model(config)
    made = sum(part.parameters for part in parts(model) if part.made) * 2
    rotary = model.context * (model.rope_dim or model.head_dim) * 4
    stored = weights(model, WHOLE) - made - rotary
    expected = gigabytes * 1e9 - (14.8e9 if config is configs.DEEPSEEK_V3 else 0)
    assert stored == pytest.approx(expected, rel=0.02)


@pytest.mark.parametrize(("method", "share"), [
    ("fp8", 0.5), ("w8a8_int8", 0.5), ("awq", 0.26), ("gptq", 0.26), ("modelopt_fp4", 0.28), ("bitsandbytes", 0.258)])
def test_a_method_makes_the_large_matrices_smaller_and_spares_the_embeddings(method, share):
    model = Model(configs.LLAMA_70B)
    embeddings = 2 * 2 * model.vocabulary * model.hidden
    plain, quantised = weights(model, WHOLE) - embeddings, weights(
        model, Serving(tp_size=1, quantization=method)) - embeddings
    assert quantised / plain == pytest.approx(share, rel=0.02)


def test_two_gpus_hold_half_each():
    model = Model(configs.LLAMA_70B)
    assert weights(model, Serving(tp_size=2)) == pytest.approx(weights(model, WHOLE) / 2, rel=0.002)


def test_stages_share_the_layers_out_and_not_the_embeddings():
    model = Model(configs.QWEN3_8B)
    embeddings = 2 * 2 * model.vocabulary * model.hidden
    assert weights(model, Serving(tp_size=1, pp_size=2)) == pytest.approx(
        embeddings + (weights(model, WHOLE) - embeddings) / 2, rel=0.01)


def test_keys_and_values_are_held_by_each_gpu_where_there_are_more_than_heads():
    model = Model(configs.GEMMA3_1B)
    held = weights(model, Serving(tp_size=4))
    alone = 26 * 2 * 1152 * 256 * 2  # bytes of the matrices of the one KV head
    assert held - weights(model, WHOLE) / 4 > alone * 0.7


def test_the_bytes_of_the_files_count_where_the_server_holds_what_lies_in_them():
    model = Model(configs.QWEN3_8B)
    rotary = model.context * 128 * 4
    assert weights(model, WHOLE, file_bytes=10 ** 10) == pytest.approx(10 ** 10 + rotary)
    assert weights(model, Serving(tp_size=2), file_bytes=10 ** 10) == pytest.approx(5 * 10 ** 9 + rotary, rel=0.001)
    online = Serving(tp_size=1, quantization="fp8")
    assert weights(model, online, file_bytes=10 ** 10) == weights(model, online)


def test_weights_in_32_bits_are_held_in_16():
    model = Model({**configs.QWEN3_8B, "torch_dtype": "float32"})
    assert weights(model, WHOLE, file_bytes=33 * 10 ** 9) == weights(Model(configs.QWEN3_8B), WHOLE)


def test_latent_attention_keeps_absorbed_copies_of_its_projection():
    model = Model(configs.DEEPSEEK_V2_LITE)
    copies = 27 * 512 * 16 * (128 + 128) * 2
    assert weights(model, WHOLE) == 2 * parameters(model) + copies + 163840 * 64 * 4


def test_adapters_take_their_places():
    model = Model(configs.LLAMA_8B)
    # Rank 16 beside all seven matrices is 41.9 million parameters.
    places = weights(model, Serving(tp_size=1, max_lora_rank=16)) - weights(model, WHOLE)
    assert places == pytest.approx(8 * 41_943_040 * 2, rel=0.01)


def test_layers_for_multi_token_prediction_are_loaded_only_when_they_are_used():
    model = Model(configs.GLM45_AIR)
    used = weights(model, Serving(tp_size=1, speculative_algorithm="EAGLE"))
    assert used - weights(model, WHOLE) == pytest.approx(2 * 106.85e9 / 46, rel=0.05)


def test_a_draft_model_is_held_beside():
    draft = Serving(tp_size=1, speculative_algorithm="STANDALONE", draft=configs.QWEN3_0_6B)
    model = Model(configs.QWEN3_8B)
    assert weights(model, draft) == weights(model, WHOLE) + weights(Model(configs.QWEN3_0_6B), WHOLE)
