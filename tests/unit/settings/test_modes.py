"""Modes that a worker cannot have are refused before anything is started; others are said aloud, or pass in silence."""

import pytest

from settings import config
from settings.flags import modes, variable
from tests.flag_samples import SNAPSHOTS, sample

NEW = SNAPSHOTS["0.5.23"]
OVER_HTTP = {"WORKER_MODE": "http", "WORKER_API_KEY": "none"}


def load(gpus=None, snapshot=NEW, **environ):
    return config.load(environ, snapshot, gpus, "python3")


def refused(gpus=None, **environ) -> list[str]:
    with pytest.raises(config.ConfigError) as caught:
        load(gpus, **environ)
    return caught.value.problems


def said(gpus=None, **environ) -> list[str]:
    return [line for level, line in load(gpus, **environ).notices if level == "warn"]


@pytest.mark.parametrize("flag", sorted(modes.CANNOT))
@pytest.mark.parametrize("way", [{}, OVER_HTTP], ids=["queue", "http"])
def test_what_cannot_work_is_refused_wherever_it_stands_and_cannot_be_allowed(flag, way):
    rule, entry, name = modes.CANNOT[flag], NEW["flags"][flag], variable(flag)
    text = rule.only[0] if rule.only else sample(flag, entry)
    beside = {"ENABLE_HIERARCHICAL_CACHE": "true", "ALLOWED_LISTENERS": "HICACHE_STORAGE_BACKEND", **way}
    switch = entry["kind"] == "switch"
    line = f"{name}: {rule.why}" if switch else f"{name}={text}: {rule.why}"
    assert refused(**{name: text}, **beside) == [line]
    assert refused(SGLANG_EXTRA_ARGS=flag if switch else f"{flag} {text}", **beside) == [line]


@pytest.mark.parametrize("environ", [
    {"DISAGGREGATION_MODE": "null"}, {"DECOUPLED_SPEC_ROLE": "null"}, {"LOAD_BALANCE_METHOD": "total_tokens"},
    {"LOAD_BALANCE_METHOD": "follow_bootstrap_room"},
    {"CHECKPOINT_ENGINE_WAIT_WEIGHTS_BEFORE_READY": "false"}, {"ENABLE_KV_CACHE_SHARDING": "no"},
    {"HICACHE_STORAGE_BACKEND": "file", "ENABLE_HIERARCHICAL_CACHE": "true"}, {"PP_SIZE": "2"}, {"DP_SIZE": "2"},
    {"SGLANG_EXTRA_ARGS": "--disaggregation-mode prefill --disaggregation-mode null"},
])
def test_values_that_ask_for_nothing_pass(environ):
    assert said(**environ) == []


@pytest.mark.parametrize(("environ", "gpus", "start"), [
    ({"LANGUAGE_ONLY": "true", "ALLOWED_LISTENERS": "LANGUAGE_ONLY"}, None, "LANGUAGE_ONLY: has encoders on other"),
    ({"LOAD_BALANCE_METHOD": "follow_bootstrap_room", "DP_SIZE": "2"}, 2,
     "LOAD_BALANCE_METHOD=follow_bootstrap_room: goes by the room"),
    ({"LOAD_BALANCE_METHOD": "follow_bootstrap_room", "ATTN_DP_SIZE": "2"}, 2, "LOAD_BALANCE_METHOD=follow_bootstrap"),
    ({"ENABLE_HIERARCHICAL_CACHE": "true", "DISABLE_RADIX_CACHE": "true"}, None, "ENABLE_HIERARCHICAL_CACHE: keeps"),
    ({"PP_SIZE": "2", "SPECULATIVE_ALGORITHM": "NGRAM"}, 2, "PP_SIZE=2: does not go with SPECULATIVE_ALGORITHM"),
    ({"ATTN_DP_SIZE": "2", "DP_SIZE": "2"}, 8, "ATTN_DP_SIZE=2: divides one replica"),
    ({"ATTN_DP_SIZE": "4", "TP_SIZE": "6"}, 8, "ATTN_DP_SIZE=4: must divide the tensor parallel size, 6 here"),
    ({"ENABLE_DP_ATTENTION": "true", "DP_SIZE": "4", "TP_SIZE": "6"}, 8, "DP_SIZE=4: must divide the tensor"),
    ({"EP_SIZE": "3"}, 8, "EP_SIZE=3: must divide the tensor parallel size, 8 here"),
    ({"ATTN_CP_SIZE": "3"}, 4, "ATTN_CP_SIZE=3: must divide"), ({"MOE_DP_SIZE": "3"}, 4, "MOE_DP_SIZE=3: must divide"),
    ({"DWDP_SIZE": "2"}, 4, "DWDP_SIZE=2: must be the tensor parallel size, 4 here"),
])
def test_what_does_not_go_together_is_refused(environ, gpus, start):
    (line,) = refused(gpus, **environ)
    assert line.startswith(start)


@pytest.mark.parametrize("environ", [{"EP_SIZE": "2"}, {"ATTN_DP_SIZE": "2"}, {"EP_SIZE": "2", "ENABLE_EPLB": "true"}])
def test_the_sizes_are_those_of_all_nodes(environ):
    nodes = {"NUM_NODES": "2", "NODE_RANK": "0", "NODE_ADDR": "10.65.0.2", "PRIMARY_ADDR": "10.65.0.2", **OVER_HTTP}
    assert load(1, **environ, **nodes).server_args
    (line,) = refused(1, **environ)
    assert line.endswith("set TENSOR_PARALLEL_SIZE to a multiple") or "the visible GPUs" in line


def test_nobody_is_told_to_allow_what_is_then_refused():
    (line,) = refused(LANGUAGE_ONLY="true")
    assert "leave it out" in line and "ALLOWED_LISTENERS" not in line
    (line,) = refused(LANGUAGE_ONLY="true", **OVER_HTTP)
    assert "open it with ALLOWED_LISTENERS=LANGUAGE_ONLY" in line


@pytest.mark.parametrize(("environ", "gpus"), [
    ({"LANGUAGE_ONLY": "true", "ALLOWED_LISTENERS": "LANGUAGE_ONLY", **OVER_HTTP}, None),
    ({"PP_SIZE": "2", "SPECULATIVE_ALGORITHM": "EAGLE", "SGLANG_ENABLE_PP_SPEC": "1"}, 2),
    ({"ATTN_DP_SIZE": "4"}, 8), ({"ENABLE_DP_ATTENTION": "true", "DP_SIZE": "2", "TP_SIZE": "4"}, 4),
    ({"EP_SIZE": "4"}, 8), ({"ENABLE_TWO_BATCH_OVERLAP": "true", "ATTN_DP_SIZE": "2"}, 8),
    ({"ENABLE_EPLB": "true", "EP_SIZE": "8"}, 8), ({"ENABLE_EPLB": "true", "ENABLE_WATERFILL": "true"}, 8),
    ({"ENABLE_EPLB": "true", "ENABLE_PREFILL_CP": "true", "EP_SIZE": "3"}, 8),
    ({"ENABLE_TWO_BATCH_OVERLAP": "true", "ENABLE_WATERFILL": "true"}, 8),
    ({"ENABLE_TWO_BATCH_OVERLAP": "true", "ENABLE_DP_ATTENTION": "true", "DP_SIZE": "2"}, 8),
])
def test_what_goes_together_passes(environ, gpus):
    assert [line for line in said(gpus, **environ) if "EP_SIZE" in line or "ATTN" in line] == []


def test_an_exchange_of_tokens_sets_the_expert_size_itself():
    (line,) = said(8, MOE_A2A_BACKEND="deepep", EP_SIZE="3", ENABLE_TWO_BATCH_OVERLAP="true", ENABLE_EPLB="true")
    assert line.startswith("MOE_A2A_BACKEND=deepep moves tokens between GPUs by kernels that are made for NVLink")


def test_beside_a_configuration_file_only_what_is_certain_is_refused(tmp_path):
    beside = {"SGLANG_CONFIG_FILE": str(tmp_path / "server.yaml")}
    assert said(8, HICACHE_STORAGE_BACKEND="file", EP_SIZE="3", HICACHE_SIZE="8", ENABLE_EPLB="true", **beside) == []
    assert refused(8, DISAGGREGATION_MODE="prefill", **beside)[0].startswith("DISAGGREGATION_MODE=prefill: is one half")


@pytest.mark.parametrize(("environ", "line"), [
    ({"HICACHE_SIZE": "8", "HICACHE_RATIO": "2"},
     "HICACHE_RATIO, HICACHE_SIZE have no effect without ENABLE_HIERARCHICAL_CACHE"),
    ({"HICACHE_STORAGE_BACKEND": "file"}, "HICACHE_STORAGE_BACKEND has no effect without ENABLE_HIERARCHICAL_CACHE"),
    ({"DISAGGREGATION_BOOTSTRAP_PORT": "1"},
     "DISAGGREGATION_BOOTSTRAP_PORT has no effect without DISAGGREGATION_MODE, which a worker cannot have"),
    ({"WEIGHT_CACHE_MODE": "off", "WEIGHT_CACHE_TIMEOUT": "9"},
     "WEIGHT_CACHE_TIMEOUT has no effect without WEIGHT_CACHE_MODE"),
    ({"KT_METHOD": "AMXINT8"}, "KT_METHOD has no effect without KT_WEIGHT_PATH"),
    ({"DWDP_SIZE": "2", "TP_SIZE": "2"}, "DWDP_SIZE=2 fetches the experts of other GPUs again"),
    ({"WEIGHT_CACHE_MODE": "daemon"}, "WEIGHT_CACHE_MODE=daemon holds the weights in a process that ends with the"),
    ({"WEIGHT_CACHE_MODE": "client"}, "WEIGHT_CACHE_MODE=client takes weights from a daemon"),
    ({"GRPC_PORT": "5000"}, "GRPC_PORT=5000 starts a second server on 127.0.0.1"),
    ({"KT_WEIGHT_PATH": "/W"}, "KT_WEIGHT_PATH=/W needs the package kt_kernel"),
    ({"ENABLE_TWO_BATCH_OVERLAP": "true"}, "ENABLE_TWO_BATCH_OVERLAP overlaps the exchange of tokens between GPUs, of "
     "which there is none: SGLang ends without ATTN_DP_SIZE or MOE_A2A_BACKEND, unless the model sets that"),
    ({"ENABLE_EPLB": "true"}, "ENABLE_EPLB moves experts between the ranks of EP_SIZE, of which there is one"),
])
def test_what_may_not_be_what_was_wanted_is_said_once(environ, line):
    (told,) = said(**environ)
    assert told.startswith(line)


@pytest.mark.parametrize("environ", [
    {"DWDP_SIZE": "1"}, {"WEIGHT_CACHE_MODE": "off"}, {"MOE_A2A_BACKEND": "none"},
    {"ENABLE_HIERARCHICAL_CACHE": "true", "HICACHE_SIZE": "8"},
    {"DLLM_ALGORITHM": "LowConfidence", "DLLM_FDFO": "yes"}])
def test_nothing_is_said_of_what_is_plain(environ):
    assert said(**environ) == []


@pytest.mark.parametrize("table", [modes.CANNOT, modes.NEEDS, {row[0]: row for row in modes.SAID}])
def test_the_tables_know_only_flags_that_there_are(table):
    assert set(table) <= set(NEW["flags"])
    assert set(modes.NEEDS.values()) <= set(NEW["flags"])


@pytest.mark.parametrize("version", sorted(SNAPSHOTS))
def test_the_values_are_choices_of_the_server(version):
    flags = SNAPSHOTS[version]["flags"]
    values = [(flag, (*rule.only, *rule.off)) for flag, rule in modes.CANNOT.items()] + [row[:2] for row in modes.SAID]
    for flag, some in values:
        if version == "0.5.23" and flags[flag].get("choices"):
            assert set(some) <= set(flags[flag]["choices"]), flag
    assert load(None, SNAPSHOTS[version]).server_args
