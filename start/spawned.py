"""Which processes SGLang's server spawns, in their order. Pure."""

from __future__ import annotations

import re

from settings.flags import Given


def children(given: Given, version: str) -> list[int]:
    """For each process that the server spawns, in that order, how many that one spawns in turn.

    From entrypoints/engine.py, managers/data_parallel_controller.py and entrypoints/http_server.py of SGLang 0.5.19 and
    0.5.23. Schedulers come first, those of this machine. With data parallelism a controller spawns them; with that of
    the attention alone the server does since 0.5.23, and the controller comes after them. Then the detokenizers, with
    a router where there are several, and when all of those are ready the tokenizer workers, where there are several.
    Machines but the first have none of the last two.
    """
    tensor, pipeline, nodes = given.count("--tp-size"), given.count("--pp-size"), given.count("--nnodes")
    here = max(pipeline // nodes, 1) * max(tensor // max(nodes // pipeline, 1), 1)
    replicas, attention = given.count("--dp-size"), given.count("--attn-dp-size")
    if given.on("--enable-dp-attention"):
        replicas, attention = 1, max(replicas, attention)
    if attention > 1:
        found = [0] * here + [0] if _numbers(version) >= (0, 5, 23) else [here]
    else:
        found = [replicas * here] if replicas > 1 else [0] * here
    if given.value("--node-rank") in (None, "0"):
        detokenizers, tokenizers = given.count("--detokenizer-worker-num"), given.count("--tokenizer-worker-num")
        found += [0] * (detokenizers + 1 if detokenizers > 1 else 1) + [0] * (tokenizers if tokenizers > 1 else 0)
    return found


def within(wanted: list[int], most: int) -> list[int]:
    """The first of `children`, and of the children of each, of which there are at most `most` in all."""
    found: list[int] = []
    for number in wanted:
        if most < 1:
            break
        found.append(min(number, most - 1))
        most -= 1 + found[-1]
    return found


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(map(int, re.findall(r"\d+", version)[:3]))
