"""A model is not judged to fit GPUs that it cannot be shared out over."""

import pytest

from fit import FitError, judge, over_pools
from tests.unit.fit import configs

BLOCKS = {"quantization_config": {"quant_method": "fp8", "weight_block_size": [128, 128]}}
MOE = {**configs.QWEN3_30B_A3B, **BLOCKS}             # experts of 768
HEADS = {**configs.LLAMA_8B, "num_attention_heads": 28, "num_key_value_heads": 4, "head_dim": 128}  # as Qwen 2.5 7B


@pytest.mark.parametrize(("config", "count", "flags", "said"), [
    (HEADS, 8, {}, "28 heads and 4 KV heads cannot be shared out over 8 GPUs"),
    (configs.LLAMA_8B, 3, {}, "32 heads"),
    ({**configs.LLAMA_8B, "num_key_value_heads": 6}, 4, {}, "6 KV heads"),
    ({**configs.DEEPSEEK_V2_LITE, "num_attention_heads": 20}, 8, {}, "20 heads cannot"),
    (MOE, 4, {}, "an MLP of 768 in blocks of 128"), (MOE, 8, {"ep_size": 2}, "EP_SIZE keeps experts whole")])
def test_what_does_not_come_out_is_named(config, count, flags, said):
    with pytest.raises(FitError, match=said):
        judge(config, "HOPPER_141", count, **flags)


@pytest.mark.parametrize(("config", "count", "flags"), [
    (HEADS, 4, {}), (HEADS, 8, {"tp_size": 4, "dp_size": 2}), (MOE, 2, {}), (MOE, 4, {"ep_size": 2}),
    (MOE, 8, {"ep_size": 8}), (configs.QWEN3_30B_A3B, 4, {}), (configs.LLAMA_8B, 1, {}),
    (HEADS, 8, {"enable_dp_attention": True, "dp_size": 2})])
def test_what_comes_out_is_judged(config, count, flags):
    assert judge(config, "HOPPER_141", count, context_length=4096, **flags).fits


def test_a_pool_is_judged_with_the_gpus_that_come_out():
    [found] = over_pools(MOE, ["AMPERE_16"], context_length=16384)
    assert found.count == 2 and not found.fits  # with 4 there would be room
