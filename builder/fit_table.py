"""The table of docs/fitting.md: which of RunPod's pools hold the models of the presets, as they are published. Pure.

`python -m builder.generate` writes it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fit import POOLS, Judgement, Model, over_pools

CONTEXT = 16384
# In the order of their size; of each family one or two.
MODELS = ("Qwen/Qwen3-0.6B", "Qwen/Qwen3-4B-Instruct-2507", "meta-llama/Llama-3.1-8B-Instruct", "Qwen/Qwen3-8B-FP8",
          "google/gemma-3-12b-it", "openai/gpt-oss-20b", "RedHatAI/Mistral-Small-24B-Instruct-2501-FP8-dynamic",
          "Qwen/Qwen3-30B-A3B-Instruct-2507-FP8", "Qwen/Qwen3-32B-AWQ", "zai-org/GLM-4.7-Flash",
          "RedHatAI/Llama-3.3-70B-Instruct-FP8-dynamic", "zai-org/GLM-4.5-Air-FP8", "openai/gpt-oss-120b",
          "Qwen/Qwen3-235B-A22B-Instruct-2507-FP8")


def table(configs: Mapping[str, Mapping[str, Any]]) -> str:
    """`configs`: {model: {"config": its config.json}}."""
    lines = ["| model | weights GiB | KiB a token | " + " | ".join(f"`{pool}`" for pool in POOLS) + " |",
             "|" + "---|" * (3 + len(POOLS))]
    for name in MODELS:
        config = configs[name]["config"]
        every = over_pools(config, context_length=min(CONTEXT, Model(config).context))
        whole = next(found for found in over_pools(config, ["BLACKWELL_180"], [8], tp_size=1, context_length=1024))
        lines.append(f"| {name} | {whole.weight_bytes / 2**30:.1f} | {whole.token_bytes / 1024:.1f} | "
                     + " | ".join(map(_cell, every)) + " |")
    return "\n".join(lines)


def _cell(found: Judgement) -> str:
    return f"{found.count}: {found.requests}" if found.fits else "–"
