"""A config.json as it is read."""

import pytest

from fit import FitError, Model
from tests.unit.fit import configs

NEMOTRON = {"architectures": ["NemotronHForCausalLM"], "model_type": "nemotron_h", "hidden_size": 64,
            "num_hidden_layers": 6, "hybrid_override_pattern": "M-M*EM", "num_attention_heads": 4,
            "n_routed_experts": 4}


def kinds(config):
    return [tuple(layer) for layer in Model(config).layers]


@pytest.mark.parametrize("config", [{}, {"num_hidden_layers": 4}, {"hidden_size": 64}, [], None])
def test_what_is_no_language_model_is_told(config):
    with pytest.raises(FitError, match="no config.json of a language model"):
        Model(config)


@pytest.mark.parametrize("number", [float("inf"), float("nan")])
def test_what_is_no_number_is_none(number):
    with pytest.raises(FitError, match="no config.json of a language model"):
        Model({"num_hidden_layers": number, "hidden_size": 64})


def test_a_part_about_text_comes_before_what_stands_beside_it():
    model = Model({"hidden_size": 1, "model_type": "outer", "num_hidden_layers": 1,
                   "thinker_config": {"text_config": {"hidden_size": 64, "num_hidden_layers": 2, "vocab_size": 9}}})
    assert (model.hidden, len(model.layers), model.vocabulary, model.type) == (64, 2, 9, "outer")


def test_layers_by_their_kinds():
    assert kinds(configs.LLAMA_8B) == [("full", "dense")] * 32
    assert kinds(configs.QWEN3_30B_A3B) == [("full", "experts")] * 48
    assert kinds(configs.DEEPSEEK_V3) == [("full", "dense")] * 3 + [("full", "experts")] * 58
    assert kinds(configs.GPT_OSS_20B) == [("sliding", "experts"), ("full", "experts")] * 12
    assert kinds(configs.GEMMA3_27B) == [("full", "dense")] * 62
    assert kinds(configs.QWEN3_NEXT_80B) == ([("state", "experts")] * 3 + [("full", "experts")]) * 12
    assert kinds(configs.LLAMA4_SCOUT) == ([("sliding", "experts")] * 3 + [("full", "experts")]) * 12
    assert kinds(NEMOTRON) == [("state", "none"), ("none", "dense"), ("state", "none"), ("full", "none"),
                               ("none", "experts"), ("state", "none")]


def test_experts_in_some_of_the_layers():
    base = {**configs.QWEN3_30B_A3B, "num_hidden_layers": 4}
    assert [mlp for _, mlp in kinds({**base, "decoder_sparse_step": 2})] == ["dense", "experts"] * 2
    assert [mlp for _, mlp in kinds({**base, "mlp_only_layers": [0, 3]})] == ["dense", "experts", "experts", "dense"]
    assert [mlp for _, mlp in kinds({**base, "moe_layer_freq": [0, 1, 1, 0]})] == ["dense", "experts", "experts",
                                                                                   "dense"]


def test_delta_attention_names_its_layers_from_one():
    linear = {"kda_layers": [1, 2, 3], "full_attn_layers": [4], "num_heads": 4, "head_dim": 8,
              "short_conv_kernel_size": 4}
    assert [attention for attention, _ in kinds({**configs.DEEPSEEK_V2_LITE, "num_hidden_layers": 4,
                                                 "linear_attn_config": linear})] == ["state"] * 3 + ["full"]


@pytest.mark.parametrize(("scaling", "context"), [
    (None, 4096), ({"rope_type": "linear", "factor": 4.0}, 16384),
    ({"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 1024}, 4096),
    ({"rope_type": "llama3", "factor": 8.0}, 4096)])
def test_the_longest_context(scaling, context):
    assert Model({**configs.MISTRAL_7B, "max_position_embeddings": 4096, "rope_scaling": scaling}).context == context


def test_a_model_that_names_no_context_has_the_servers_own():
    assert Model({"hidden_size": 64, "num_hidden_layers": 2}).context == 2048


def test_the_head_may_be_the_embedding_without_a_word():
    assert Model(configs.GEMMA3_1B).tied and not Model({**configs.MISTRAL_7B, "tie_word_embeddings": None}).tied


def test_a_classifier_has_no_head():
    assert not Model({**configs.QWEN3_0_6B, "architectures": ["Qwen3ForSequenceClassification"]}).has_head


def test_an_unknown_dtype_is_told():
    with pytest.raises(FitError, match="dtype 'int4' is unknown"):
        Model(configs.LLAMA_8B).bytes_of("int4")
