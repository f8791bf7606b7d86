"""Parameters and bytes of weights, against what is published of real models."""

import pytest

from fit import FitError, Model, Serving, judge
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


def test_groups_of_attention_hold_attention_and_embedding_each_and_share_the_rest():
    model = Model(configs.DEEPSEEK_V3)
    groups = Serving(tp_size=8, dp_size=8, enable_dp_attention=True)
    embedding = next(part.parameters for part in parts(model) if part.name == "embedding") * 2
    attention = sum(part.parameters for part in parts(model) if part.kind == "attention" and part.shards != 1)
    more = weights(model, groups) - weights(model, Serving(tp_size=8))
    assert more == pytest.approx((embedding + attention) * 7 / 8, rel=0.02)  # attention in 8 bits
    assert weights(model, Serving(tp_size=8, ep_size=8)) == weights(model, Serving(tp_size=8))


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


@pytest.mark.parametrize(("config", "published"), [
    ({"architectures": ["GPT2LMHeadModel"], "model_type": "gpt2", "n_embd": 768, "n_layer": 12, "n_head": 12,
      "n_positions": 1024, "vocab_size": 50257, "n_inner": None}, 124_439_808),
    ({"architectures": ["DbrxForCausalLM"], "model_type": "dbrx", "d_model": 6144, "n_layers": 40, "n_heads": 48,
      "vocab_size": 100352, "attn_config": {"kv_n_heads": 8}, "tie_word_embeddings": False,
      "ffn_config": {"ffn_hidden_size": 10752, "moe_num_experts": 16}}, 131_596_523_520),
    ({"architectures": ["ChatGLMModel"], "model_type": "chatglm", "hidden_size": 4096, "num_layers": 28,
      "num_attention_heads": 32, "ffn_hidden_size": 13696, "kv_channels": 128, "multi_query_attention": True,
      "multi_query_group_num": 2, "padded_vocab_size": 65024, "seq_length": 8192}, 6_243_584_000),
    ({"architectures": ["QWenLMHeadModel"], "model_type": "qwen", "hidden_size": 4096, "num_hidden_layers": 32,
      "num_attention_heads": 32, "intermediate_size": 22016, "kv_channels": 128, "vocab_size": 151936,
      "tie_word_embeddings": False}, 7_721_324_544)])
def test_sizes_that_stand_elsewhere_or_nowhere(config, published):
    """Defaults of configuration classes, and the keys of models that bring their own code."""
    assert parameters(Model(config)) == pytest.approx(published, rel=0.002)


@pytest.mark.parametrize(("changed", "named"), [
    ({"intermediate_size": None}, "an MLP"), ({"intermediate_size": "14336"}, "an MLP"),
    ({"intermediate_size": -1}, "an MLP"), ({"num_experts_per_tok": 8, "n_mlps": 64}, "the number of experts"),
    ({"vocab_size": None}, "the vocabulary"),
    ({"num_experts": 8, "intermediate_size": None}, "an expert")])
def test_a_model_whose_sizes_are_not_told_does_not_fit_by_what_is_missing(changed, named):
    config = {**configs.LLAMA_70B, **changed}
    with pytest.raises(FitError, match=f"does not name the [a-z ]*{named.removeprefix('the ')}"):
        judge(config, "ADA_24")
    # Its files tell the bytes, if not the parameters.
    found = judge(config, "ADA_24", weight_bytes=140 << 30)
    assert not found.starts and any(named in note for note in found.notes)
    with pytest.raises(FitError, match=named):  # whose files are not what the server would hold
        judge(config, "ADA_24", weight_bytes=140 << 30, quantization="fp8")


@pytest.mark.parametrize("changed", [
    {"num_attention_heads": None, "num_key_value_heads": None}, {"num_attention_heads": -64},
    {"num_key_value_heads": -8}, {"head_dim": -128}])
def test_a_model_whose_heads_are_not_told_has_no_cache_that_costs_nothing(changed):
    with pytest.raises(FitError, match="does not name the heads"):
        judge({**configs.LLAMA_8B, "head_dim": None, **changed}, "ADA_24", weight_bytes=15 << 30)
