"""Whether it fits, how many requests at once, and what would help."""

import pytest

from fit import POOLS, FitError, Gpu, Serving, judge, over_pools, serving, words
from fit.remedies import remedies
from tests.unit.fit import configs

H100 = "ADA_80_PRO"


def test_memory_is_shared_out_between_reserve_weights_and_cache():
    found = judge(configs.LLAMA_8B, H100, context_length=8192)
    assert found.fits and found.starts and not found.tight and found.notes == ()
    assert found.mem_fraction == 0.83  # what SGLang settles on an H100
    assert found.reserved_bytes + found.weight_bytes + found.cache_bytes == pytest.approx(found.free_bytes, abs=2)
    assert found.tokens == int(found.cache_bytes // 131072)
    assert found.requests == found.tokens // 8192 and found.at_once == 4096


def test_every_pool_is_judged_with_the_fewest_gpus_that_do():
    found = {one.gpu.name: one for one in over_pools(configs.QWEN3_32B, context_length=8192)}
    assert list(found) == list(POOLS)
    assert found["HOPPER_141"].count == 1 and found["AMPERE_48"].count == 2 and found["AMPERE_24"].count == 8
    large = {one.gpu.name: one for one in over_pools(configs.LLAMA_70B, context_length=8192)}
    assert not large["AMPERE_16"].fits and large["AMPERE_16"].count == 8 and large["BLACKWELL_180"].fits
    more = {one.gpu.name: one.count for one in over_pools(configs.QWEN3_32B, context_length=8192, least=40)}
    assert more["AMPERE_48"] == 4


def test_a_model_that_is_too_large_does_not_start():
    found = judge(configs.LLAMA_70B, H100)
    assert not found.starts and not found.fits and found.tokens == 0 and found.cache_bytes < 0
    assert judge(configs.LLAMA_70B, H100, 4).fits


def test_a_context_longer_than_the_cache_is_cut():
    found = judge(configs.GPT_OSS_120B, H100)
    assert found.starts and not found.fits
    assert (found.context, found.served) == (131072, found.tokens)
    assert found.context_for(1) == found.tokens // 1024 * 1024
    assert judge(configs.GPT_OSS_120B, H100, context_length=found.context_for(1)).requests == 1


def test_layers_with_a_window_limit_requests_by_their_own_cache():
    found = judge(configs.GPT_OSS_20B, H100, context_length=4096, swa_full_tokens_ratio=0.01)
    assert found.requests == int(found.tokens * 0.01) // 129 < found.tokens // 4096


def test_states_limit_the_requests_of_any_length():
    found = judge(configs.QWEN3_NEXT_80B, "HOPPER_141", 2, context_length=1024)
    assert found.state_bytes and found.requests == found.at_once < found.tokens // 1024
    assert judge(configs.QWEN3_NEXT_80B, "HOPPER_141", 2, max_mamba_cache_size=50).at_once == 10


def test_limits_of_the_user_count():
    assert judge(configs.LLAMA_8B, H100, max_total_tokens=10000, context_length=4096).requests == 2
    assert judge(configs.LLAMA_8B, H100, max_running_requests=3, context_length=4096).requests == 3
    assert judge(configs.LLAMA_8B, H100, max_total_tokens=10000, page_size=64).tokens == 9984


def test_copies_multiply_what_is_served():
    one, two = judge(configs.LLAMA_8B, H100, context_length=4096), judge(configs.LLAMA_8B, H100, 2, dp_size=2,
                                                                         context_length=4096)
    assert two.requests == 2 * one.requests and two.weight_bytes == one.weight_bytes


def test_more_than_the_server_would_take_itself_is_tight():
    assert judge(configs.LLAMA_8B, "ADA_24", mem_fraction_static=0.95).tight
    assert not judge(configs.LLAMA_8B, "ADA_24", mem_fraction_static=0.7).tight


def test_images_take_some_of_the_cache():
    seen = judge(configs.QWEN25_VL_7B, "ADA_48_PRO", mem_fraction_static=0.8)
    assert seen.cache_bytes == int(seen.free_bytes * 0.8) - seen.weight_bytes - (100 << 20)
    unseen = judge(configs.GEMMA3_4B, "ADA_48_PRO", mem_fraction_static=0.8)
    assert unseen.cache_bytes == int(unseen.free_bytes * 0.8) - unseen.weight_bytes


@pytest.mark.parametrize(("asked", "message"), [
    ({"gpu": "ADA_25"}, "ADA_25 is no pool of RunPod's: choose one of AMPERE_16"),
    ({"count": 1, "tp_size": 2}, "tp_size 2 x 1 other ranks want 2 GPUs, and there are 1"),
    ({"count": 0}, "at least one GPU"), ({"context_length": -5}, "context_length -5 is no context"),
    ({"size": 3}, "the keywords are the fields of Serving")])
def test_what_cannot_be_judged_is_told(asked, message):
    with pytest.raises(FitError, match=message):
        judge(configs.LLAMA_8B, **{"gpu": H100, **asked})


@pytest.mark.parametrize("share", [0.0, 1.0, 2.0, -0.5])
def test_a_share_of_memory_is_one(share):
    with pytest.raises(FitError, match="no share between 0 and 1"):
        judge(configs.LLAMA_70B, "ADA_24", mem_fraction_static=share)


@pytest.mark.parametrize("size", ["dp_size", "pp_size", "ep_size"])
def test_no_gpus_are_none(size):
    with pytest.raises(FitError, match="must be at least 1"):
        judge(configs.LLAMA_8B, "ADA_24", **{size: 0})


def test_flags_of_the_server_become_fields():
    assert serving.from_flags({"--context-length": "16Ki", "--mem-fraction-static": "0.8", "--disable-cuda-graph": True,
                               "--model-path": "/m", "--cuda-graph-max-bs-decode": "64", "--dp-size": "2"}) == Serving(
        context_length=16384, mem_fraction_static=0.8, disable_cuda_graph=True, cuda_graph_max_bs=64, dp_size=2)
    with pytest.raises(FitError, match="--tp-size 'two' is no number"):
        serving.from_flags({"--tp-size": "two"})


def test_groups_of_attention_are_the_older_pair_of_flags():
    pair = serving.from_flags({"--enable-dp-attention": True, "--dp-size": "4", "--tp-size": "8"})
    assert pair == serving.from_flags({"--attn-dp-size": "4", "--tp-size": "8"})
    assert pair == serving.from_words(["--attention-data-parallel-size=4", "--tp-size", "8"])
    assert pair.attention_tp == 2 and pair.on(8) == pair
    assert serving.from_flags({"--attn-dp-size": "1", "--dp-size": "2"}) == Serving(dp_size=2)
    with pytest.raises(FitError, match="do not go together"):
        serving.from_flags({"--attn-dp-size": "2", "--dp-size": "2"})


@pytest.mark.parametrize(("flag", "asks", "means_nothing"), [
    ("--attn-cp-size", "2", "1"), ("--dcp-size", 2, 1), ("--moe-a2a-backend", "deepep", "none"),
    ("--ep-num-redundant-experts", "16", "0"), ("--weight-cache-mode", "client", "off"),
    ("--enable-paged-experts", True, False), ("--offload-group-size", "4", "-1"), ("--nnodes", "2", "1")])
def test_a_mode_whose_memory_is_not_known_is_not_judged(flag, asks, means_nothing):
    with pytest.raises(FitError, match=f"what a GPU holds with {flag} is not known"):
        serving.from_flags({flag: asks})
    assert serving.from_flags({flag: means_nothing}) == Serving()


def test_what_is_not_counted_is_said():
    notes = judge({**configs.LLAMA_8B, "vision_config": {"layers_of_its_own": 3}}, H100,
                  speculative_algorithm="EAGLE3").notes
    assert any("tower" in note for note in notes) and any("draft model" in note for note in notes)


def test_nothing_is_said_of_a_cache_that_is_not_known():
    config = {**configs.DEEPSEEK_V2_LITE, "architectures": ["DeepseekV4ForCausalLM"], "num_key_value_heads": 64}
    found = judge(config, "ADA_80_PRO")
    assert not found.cache_known and found.requests == 0 and any("DeepSeek V4" in note for note in found.notes)
    assert words.trouble(config, found) == []


def said(config, gpu, count=1, **asked):
    return words.trouble(config, judge(config, gpu, count, **asked))


def test_nothing_is_said_where_all_is_well():
    assert said(configs.QWEN3_8B, "ADA_48_PRO", context_length=16384) == []


def test_a_model_that_does_not_fit_is_told_with_what_would():
    [line] = said(configs.LLAMA_8B, "AMPERE_16", context_length=8192)
    assert "will not fit" in line and "15.0 GiB of the GPU" in line and "QUANTIZATION=fp8" in line
    [line] = said(configs.QWEN3_32B, "ADA_24")
    shorter = int(line.split("4 GPUs a worker (with CONTEXT_LENGTH=")[1].split(" ")[0])
    assert judge(configs.QWEN3_32B, "ADA_24", 4, context_length=shorter).fits
    [line] = said(configs.DEEPSEEK_V3, H100, 8)
    assert "each of 8 GPUs" in line and line.endswith("a larger GPU or a smaller model would")


def test_a_context_that_is_cut_is_told_with_one_that_fits():
    [line] = said(configs.GPT_OSS_120B, H100)
    assert "less than the context of 131,072" in line
    four, one = (int(part.split(" ")[0]) for part in line.split("CONTEXT_LENGTH=")[1:3])
    assert judge(configs.GPT_OSS_120B, H100, context_length=four).requests >= 4
    assert judge(configs.GPT_OSS_120B, H100, context_length=one).fits


def test_fewer_than_four_requests_are_told_with_a_context_for_four():
    [line] = said(configs.QWEN3_8B, "ADA_48_PRO", context_length=40960)
    assert "3 requests of the whole context" in line
    shorter = int(line.split("CONTEXT_LENGTH=")[1].split(" ")[0])
    assert judge(configs.QWEN3_8B, "ADA_48_PRO", context_length=shorter).requests >= 4


def test_a_share_that_leaves_too_little_for_the_work_is_told():
    lines = said(configs.LLAMA_8B, "ADA_24", mem_fraction_static=0.95, context_length=8192)
    assert "MEM_FRACTION_STATIC=0.95 leaves" in lines[-1] and "MEM_FRACTION_STATIC=0.70" in lines[-1]


def test_who_leaves_too_little_already_is_helped_too():
    now = judge(configs.QWEN3_32B, "ADA_24", 2, mem_fraction_static=0.95)
    assert not now.starts and now.tight
    assert "QUANTIZATION" in {remedy.variable for remedy in remedies(configs.QWEN3_32B, now, 0)}


def test_every_remedy_does_what_it_says():
    found = remedies(configs.LLAMA_8B, judge(configs.LLAMA_8B, "ADA_32_PRO", context_length=30000), 4)
    assert [(remedy.variable, remedy.value) for remedy in found] == [
        ("CONTEXT_LENGTH", "18432"), ("KV_CACHE_DTYPE", "fp8_e4m3"), ("QUANTIZATION", "fp8"), ("", "2")]
    for remedy in found:
        assert remedy.found.fits and remedy.found.requests >= 4


def test_a_gpu_without_8_bit_floats_is_not_told_to_use_them():
    names = {remedy.variable for remedy in remedies(configs.GPT_OSS_120B, judge(configs.GPT_OSS_120B, "AMPERE_80"))}
    assert "KV_CACHE_DTYPE" not in names and "CONTEXT_LENGTH" in names


def test_a_measured_gpu_is_judged_as_one_of_a_pool():
    pool = POOLS[H100]
    assert judge(configs.LLAMA_8B, Gpu("here", pool.mib, pool.capability, True)).tokens == judge(
        configs.LLAMA_8B, H100).tokens


@pytest.mark.parametrize("broken", ["text", -1, 1.5, [], {}, [{}], True, None, 10 ** 30])
@pytest.mark.parametrize("config", [configs.QWEN3_NEXT_80B, configs.DEEPSEEK_V3, configs.QWEN25_VL_7B,
                                    configs.GPT_OSS_20B], ids=["state", "latent", "tower", "sliding"])
def test_a_value_of_another_kind_is_told_or_taken_for_none(config, broken):
    for key in config:
        try:
            judge({**config, key: broken}, H100)
        except FitError:
            continue
