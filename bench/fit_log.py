"""What an engine says of its memory in its own log: SGLang 0.5.16 and 0.5.23. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

POOLS = re.compile(r"Memory pool end")
DONE = re.compile(r"\bmax_total_num_tokens=(\d+)")

# sglang: model_executor/model_runner.py (weights), mem_cache/memory_pool.py (caches), model_executor/
# pool_configurator.py (sliding layers), managers/scheduler.py (the last line), entrypoints/engine.py (server_args).
_ONE = {
    "free_gib": re.compile(r"Load weight begin\. avail mem=([\d.]+) GB"),
    "weights_gib": re.compile(r"Load weight end\..*?mem usage=(-?[\d.]+) GB"),
    "after_weights_gib": re.compile(r"Load weight end\..*?avail mem=([\d.]+) GB"),
    "after_pool_gib": re.compile(r"Memory pool end\. avail mem=([\d.]+) GB"),
    "tokens": DONE,
    "requests": re.compile(r"max_total_num_tokens=.*?max_running_requests=(\d+)"),
    "context": re.compile(r"max_total_num_tokens=.*?context_len=(\d+)"),
    "chunk": re.compile(r"max_total_num_tokens=.*?chunked_prefill_size=(\d+)"),
    "left_gib": re.compile(r"available_gpu_mem=([\d.]+) GB"),
    "full_tokens": re.compile(r"full_layer_tokens=(\d+)"),
    "sliding_tokens": re.compile(r"swa_layer_tokens=(\d+)"),
    "states": re.compile(r"max_mamba_cache_size: (\d+)"),
    "fraction": re.compile(r"mem_fraction_static(?:=|': )([\d.]+)"),
}
_LAST = ("full_tokens", "sliding_tokens")  # said of all that is free first, and then of what is asked for
_CACHE = re.compile(r"KV Cache is allocated\..*?#tokens: (\d+), (?:K size: ([\d.]+) GB, V size: ([\d.]+) GB|"
                    r"KV size: ([\d.]+) GB)")
_STATE = re.compile(r"Mamba Cache is allocated\..*?conv_state size: ([\d.]+)GB, ssm_state size: ([\d.]+)GB")


def read(lines: Iterable[str]) -> dict[str, Any]:
    """The numbers above, `caches` as [(tokens, GiB), …], `cache_gib`, `state_gib`: of the first rank that says them,
    before any draft model."""
    found: dict[str, Any] = {"caches": []}
    for line in lines:
        for name, pattern in _ONE.items():
            if (name not in found or name in _LAST) and (match := pattern.search(line)):
                found[name] = float(match[1]) if name.endswith(("gib", "fraction")) else int(match[1])
        if match := _CACHE.search(line):
            size = float(match[4]) if match[4] else float(match[2]) + float(match[3])
            if (int(match[1]), size) not in found["caches"] or "TP" not in line:
                found["caches"].append((int(match[1]), size))
        if "state_gib" not in found and (match := _STATE.search(line)):
            found["state_gib"] = float(match[1]) + float(match[2])
    found["cache_gib"] = round(sum(size for _, size in found["caches"]), 2)
    return found
