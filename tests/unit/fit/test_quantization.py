"""Bytes of a parameter by what a model's configuration says of its quantisation, in the words of each tool."""

import pytest

from fit import Model
from fit.quantization import KINDS, method
from tests.unit.fit import configs

FP8_DYNAMIC = {"quant_method": "compressed-tensors", "format": "float-quantized", "ignore": ["lm_head"],
               "config_groups": {"group_0": {"targets": ["Linear"], "weights": {
                   "num_bits": 8, "type": "float", "strategy": "channel", "group_size": None}}}}
W4A16 = {"quant_method": "compressed-tensors", "format": "pack-quantized", "ignore": ["lm_head"],
         "config_groups": {"group_0": {"targets": ["Linear"], "weights": {
             "num_bits": 4, "type": "int", "strategy": "group", "group_size": 128}}}}
NVFP4 = {"quant_method": "compressed-tensors", "format": "nvfp4-pack-quantized", "ignore": ["lm_head"],
         "config_groups": {"group_0": {"targets": ["Linear"], "weights": {
             "num_bits": 4, "type": "float", "strategy": "tensor_group", "group_size": 16}}}}


@pytest.mark.parametrize(("config", "size"), [
    ({"quant_method": "fp8", "weight_block_size": [128, 128]}, 1.0005), (FP8_DYNAMIC, 1.0005),
    (W4A16, 0.5 + 2.5 / 128), (NVFP4, 0.5 + 1 / 16),
    ({"quant_method": "awq", "bits": 4, "group_size": 128}, 0.5 + 2.5 / 128),
    ({"quant_method": "gptq", "bits": 8, "group_size": 32}, 1 + 3 / 32),
    ({"quant_method": "gptq", "bits": 4, "group_size": -1}, 0.5005),
    ({"quant_method": "modelopt", "quant_algo": "NVFP4"}, 0.5 + 1 / 16),
    ({"quant_method": "modelopt", "quant_algo": "FP8"}, 1.0005),
    ({"quant_method": "bitsandbytes", "load_in_4bit": True}, 0.5 + 1 / 64 + 1 / 4096),
    ({"quant_method": "bitsandbytes", "load_in_8bit": True}, 1.0005)])
def test_the_large_matrices_are_smaller_and_nothing_else_is(config, size):
    found = method(Model({**configs.LLAMA_8B, "quantization_config": config}), None)
    assert found.bytes("linear", 2) == pytest.approx(size) and found.bytes("attention", 2) == pytest.approx(size)
    assert found.bytes("plain", 2) == 2


def test_of_gpt_oss_only_the_experts_are_quantised():
    found = method(Model(configs.GPT_OSS_20B), None)
    assert found.bytes("experts", 2) == 0.5 + 1 / 32 and found.bytes("attention", 2) == 2


@pytest.mark.parametrize(("spared", "kinds"), [
    (["lm_head"], KINDS), (["re:.*self_attn.*", "lm_head"], ("linear", "experts", "shared")),
    ([f"model.layers.{at}.mlp.shared_expert.up_proj" for at in range(40)], ("linear", "attention", "experts")),
    (["model.layers.0.self_attn.q_proj"], KINDS), (["re:vision_tower.*self_attn.*"], KINDS)])
def test_what_the_configuration_spares_stays_in_16_bits(spared, kinds):
    config = {**configs.QWEN3_30B_A3B, "quantization_config": {**FP8_DYNAMIC, "ignore": spared}}
    assert method(Model(config), None).covers == kinds


def test_what_is_asked_for_quantises_weights_in_16_bits():
    model = Model(configs.LLAMA_8B)
    assert method(model, None).bits == 16 and method(model, "fp8").bits == 8 and method(model, "awq").bits == 4
    assert method(model, "gguf").bits == 16  # known by its file alone


def test_weights_that_are_quantised_are_loaded_as_they_are():
    awq = Model({**configs.LLAMA_8B, "quantization_config": {"quant_method": "awq", "bits": 4, "group_size": 64}})
    assert method(awq, "awq_marlin").bytes("linear", 2) == method(awq, None).bytes("linear", 2) == 0.5 + 2.5 / 64


def test_a_configuration_of_unknown_words_counts_as_16_bits():
    assert method(Model({**configs.LLAMA_8B, "quantization_config": {"quant_method": "novel"}}), None).bits == 16
    assert method(Model({**configs.LLAMA_8B, "quantization_config": "fp8"}), None).bits == 16
