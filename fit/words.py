"""A judgement in words, for a log. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fit.gpus import GIB
from fit.judgement import Judgement
from fit.remedies import Remedy, remedies, requests

# Fewer requests of the whole context at once than this are worth a word.
FEW = 4


def trouble(config: Mapping[str, Any], found: Judgement, weight_bytes: int | None = None) -> list[str]:
    """One line for each trouble that is coming, with what to change; none where all is well."""
    if not found.starts:
        return [_too_large(found) + _remedies(remedies(config, found, 0, weight_bytes))]
    lines = []
    if found.cache_known and found.requests == 0:
        several = found.context_for(FEW)
        lines.append(f"the KV cache will hold about {found.tokens:,} tokens, less than the context of "
                     f"{found.context:,}: longer requests will be refused"
                     + (f", and CONTEXT_LENGTH={several} is the longest of which {FEW} fit at once" if several else "")
                     + _remedies(remedies(config, found, 1, weight_bytes)))
    elif found.cache_known and found.requests < FEW:
        lines.append(f"the KV cache will hold about {found.tokens:,} tokens: {requests(found.requests)} of the whole "
                     f"context of {found.context:,} tokens at once, and others wait"
                     + _remedies(remedies(config, found, FEW, weight_bytes)))
    if found.tight:
        lines.append(f"MEM_FRACTION_STATIC={found.mem_fraction:g} leaves {found.reserved_bytes / GIB:.1f} GiB of a GPU "
                     f"for activations and CUDA graphs, and SGLang itself would leave "
                     f"{(1 - found.wanted_fraction) * found.gpu.bytes / GIB:.1f}: it may run out of memory under load; "
                     f"MEM_FRACTION_STATIC={found.wanted_fraction:.2f} would be its own choice")
    return lines


def _too_large(found: Judgement) -> str:
    gpus = f"each of {found.count} GPUs" if found.count > 1 else "the GPU"
    budget = max(0.0, found.free_bytes * found.mem_fraction) / GIB
    return (f"the model will not fit: its weights take about {found.weight_bytes / GIB:.1f} GiB of {gpus}, and of "
            f"{found.free_bytes / GIB:.1f} GiB SGLang gives {budget:.1f} to weights and KV cache "
            f"(mem_fraction_static {found.mem_fraction:.3g})")


def _remedies(every: list[Remedy]) -> str:
    if not every:
        return "; a larger GPU or a smaller model would"
    return "; this would do: " + ", or ".join(str(remedy) for remedy in every[:3])
