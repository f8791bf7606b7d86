"""docs/scaling/modes.md has every setting by which SGLang shares its work out, and says what the worker does with it.

A flag of another SGLang that looks like one of these and has no row fails here.
"""

import re

import pytest

from settings import config, flags
from tests.documents import ROOT
from tests.flag_samples import SNAPSHOTS, sample

PAGE = ROOT / "docs" / "scaling" / "modes.md"
SNAPSHOT = SNAPSHOTS["0.5.23"]
FLAGS = flags.variables(SNAPSHOT)
WAYS = {"queue": {}, "http": {"WORKER_MODE": "http", "WORKER_API_KEY": "none"}}
# What looks like a mode: by its name, or by what SGLang says of it.
NAME = re.compile(
    r"parallel|-(tp|pp|dp|ep|cp|dcp|dwdp|sp|pd|tbo)(-|$)|node|rank|nccl|dist-|expert|eplb|a2a|deepep|fuseep|waterfill|"
    r"megamoe|elastic|disagg|bootstrap|encoder|language-(only|model)|decoupled|hicache|hierarchical|hisparse|lmcache|"
    r"flexkv|linker|shard|remote|weight-cache|modelexpress|checkpoint-engine|mooncake|tokenizer-worker|reuseport|http2|"
    r"grpc|sidecar|^--kt-|dllm|pdmux|batch-overlap|offload|load-balance|load-publish|delayer|-ray$|gated|numa|gpu-id|"
    r"symm-mem|mscclpp|all-?reduce|nvls|p2p|trace|global-cache|broadcast|optimistic|sm-group|kv-events|scatter|"
    r"forward-pass")
HELP = re.compile(r"multi-?node|disaggregat|data.parallel|expert.parallel|RDMA|InfiniBand|NVLink|\b(EP|DP|PD|TP)\b|"
                  r"other (nodes|machines)|Mooncake", re.IGNORECASE)
# … and is none.
NO_MODE = {
    "--trust-remote-code": "code", "--max-lora-rank": "of a matrix", "--lora-use-virtual-experts": "adapters",
    "--experts-shared-outer-loras": "adapters", "--enable-encoder-swa-bounded-replay": "a part of one model",
    "--spec-trace-dir": "files to read", "--enable-metrics-for-all-schedulers": "metrics",
}
# What a setting wants beside it, and a value that comes out on eight GPUs.
BESIDE = {"--enable-eplb": {"EP_SIZE": "8"}, "--enable-two-batch-overlap": {"ATTN_DP_SIZE": "8"},
          "--enable-hierarchical-cache": {}, "--hicache-storage-backend": {"ENABLE_HIERARCHICAL_CACHE": "true"},
          "--load-balance-method": {"DP_SIZE": "2"}, "--enable-dp-attention": {"DP_SIZE": "8"}}
VALUES = {"--ep-size": "8", "--attn-dp-size": "8", "--attn-cp-size": "2", "--moe-dp-size": "2", "--dwdp-size": "8",
          "--tp-size": "4", "--dp-size": "2", "--pp-size": "2", "--nnodes": "2", "--node-rank": "0",
          "--dist-init-addr": "10.0.0.1:1", "--moe-a2a-backend": "none", "--elastic-ep-backend": "mooncake",
          "--otlp-traces-endpoint": "collector:4317", "--load-balance-method": "auto",
          "--decoupled-spec-connect-endpoints": '["tcp://10.0.0.2:1"]', "--kv-events-config": '{"publisher": "zmq"}'}
# Their outcome is no matter of flags alone: settings of the nodes.
NODES = {"--nnodes", "--node-rank", "--dist-init-addr"}
DOES = ("passed, with a line", "only with `ALLOWED_LISTENERS`", "passed", "refused")


def rows():
    for line in PAGE.read_text(encoding="utf-8").splitlines():
        cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        if len(cells) == 6 and cells[0].startswith("`"):
            for setting in re.findall(r"`([^`]+)`", cells[0]):
                name, _, value = setting.partition("=")
                yield name, value, cells


ROWS = list(rows())


def outcome(name: str, text: str, way: str, allowed: bool) -> tuple[list[str], list[str]]:
    """(problems, warnings) that name the setting."""
    environ = {name: text, **BESIDE.get(FLAGS.get(name, ""), {}), **WAYS[way]}
    if allowed:
        environ["ALLOWED_LISTENERS"] = name
    try:
        settings = config.load(environ, SNAPSHOT, 8, "python3")
    except config.ConfigError as error:
        return [line for line in error.problems if not line.startswith("ALLOWED_LISTENERS=")], []
    own = re.compile(rf"{name}\b(?!.*: Deprecated)")
    return [], [line for level, line in settings.notices if level == "warn" and own.match(line)]


@pytest.mark.parametrize(("name", "value", "cells"), ROWS, ids=[f"{name}={value}" for name, value, _ in ROWS])
def test_the_worker_does_with_a_setting_what_the_page_says(name, value, cells):
    flag = FLAGS.get(name)
    assert flag, f"{name} is no setting of this SGLang"
    says = next((does for does in DOES if cells[5].startswith(does)), None)
    assert says, f"{name}: the last column says {cells[5]!r}"
    if flag in NODES:
        return
    text = value or VALUES.get(flag) or sample(flag, SNAPSHOT["flags"][flag])
    for way, cell in (("queue", cells[1]), ("http", cells[2])):
        problems, warnings = outcome(name, text, way, allowed=False)
        assert bool(problems) == (says in ("refused", "only with `ALLOWED_LISTENERS`")), (way, problems)
        assert bool(warnings) == (says == "passed, with a line"), (way, warnings)
        problems, _ = outcome(name, text, way, allowed=True)
        assert bool(problems) == (says == "refused" or cell == "no"), (way, problems)
    assert (says == "refused") == (cells[1] == cells[2] == "no")


@pytest.mark.parametrize("version", sorted(SNAPSHOTS))
def test_every_flag_that_looks_like_a_mode_has_a_row_or_a_reason(version):
    told = {FLAGS[name] for name, *_ in ROWS}
    looks = {flag for flag, entry in SNAPSHOTS[version]["flags"].items()
             if NAME.search(flag) or HELP.search(entry["help"])}
    assert len(looks) > 150
    here = set(SNAPSHOT["flags"])
    assert sorted((looks & here) - told - set(NO_MODE)) == []
    if version == "0.5.23":
        assert set(NO_MODE) <= looks - told


def test_a_new_flag_would_be_found():
    for flag, says in (("--enable-expert-teleport", ""), ("--cosmic-mode", "Only for disaggregated serving."),
                       ("--ring-cp-size", ""), ("--hicache-tape", "")):
        assert NAME.search(flag) or HELP.search(says)


def test_each_setting_has_one_row_or_one_for_each_value():
    settings = [(FLAGS[name], value) for name, value, _ in ROWS]
    assert len(settings) == len(set(settings))
