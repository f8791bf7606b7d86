"""Which processes SGLang's server spawns, for every layout that a worker can have."""

import json
from pathlib import Path

import pytest

from settings import flags
from start import spawned

SNAPSHOT = json.loads((Path(__file__).parents[3] / "builder" / "flags.json").read_text(encoding="utf-8"))
NEW, OLD = "0.5.23", "0.5.19"


def children(arguments: str, version: str = NEW) -> list[int]:
    return spawned.children(flags.Given(arguments.split(), SNAPSHOT), version)


@pytest.mark.parametrize(("arguments", "expected"), [
    ("", [0, 0]), ("--tp-size 4", [0] * 4 + [0]), ("--tp-size 2 --pp-size 2", [0] * 4 + [0]),
    ("--dp-size 2", [2, 0]), ("--tp-size 4 --dp-size 2", [8, 0]), ("--dp-size 8 --tp-size 1", [8, 0]),
    ("--detokenizer-worker-num 2", [0, 0, 0, 0]), ("--tokenizer-worker-num 4", [0, 0] + [0] * 4),
    ("--dp-size 2 --tokenizer-worker-num 2 --detokenizer-worker-num 2", [2, 0, 0, 0, 0, 0]),
    ("--tp-size 4 --dp-size 4 --enable-dp-attention", [0] * 4 + [0, 0]),
    ("--tp-size 4 --attn-dp-size 2", [0] * 4 + [0, 0]), ("--tp-size 4 --dp-size 1 --enable-dp-attention", [0] * 5),
    ("--tp-size 16 --nnodes 2 --node-rank 0", [0] * 8 + [0]), ("--tp-size 16 --nnodes 2 --node-rank 1", [0] * 8),
    ("--tp-size 8 --pp-size 2 --nnodes 2 --node-rank 1", [0] * 8),
    ("--tp-size 8 --pp-size 2 --nnodes 4 --node-rank 0", [0] * 4 + [0]),
    ("--tp-size 16 --dp-size 16 --enable-dp-attention --nnodes 2 --node-rank 1", [0] * 8 + [0]),
    ("--tp-size many --dp-size 0", [0, 0])])
def test_the_processes_of_each_layout(arguments, expected):
    assert children(arguments) == expected


def test_before_0_5_23_the_controller_spawns_the_schedulers_of_attention_groups_too():
    assert children("--tp-size 4 --dp-size 4 --enable-dp-attention", OLD) == [4, 0]
    assert children("--tp-size 4 --dp-size 4 --enable-dp-attention", "0.5.23+cu130") == [0] * 4 + [0, 0]
    assert children("--tp-size 4 --dp-size 2", OLD) == [8, 0]


@pytest.mark.parametrize(("wanted", "most", "kept"), [
    ([0, 0], 9, [0, 0]), ([8, 0], 9, [8]), ([8, 0], 10, [8, 0]), ([8, 0], 3, [2]), ([2, 0, 0, 0], 4, [2, 0]),
    ([0, 0, 0], 1, [0]), ([4, 0], 1, [0])])
def test_no_more_import_at_once_than_may(wanted, most, kept):
    assert spawned.within(wanted, most) == kept
