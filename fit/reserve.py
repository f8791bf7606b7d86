"""What SGLang keeps free of a GPU's memory for activations and CUDA graphs, and the share that is left. Pure.

A transcript of handle_gpu_memory_settings in sglang: srt/arg_groups/memory_hook.py, for NVIDIA's GPUs.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from fit import families
from fit.gpus import Gpu
from fit.model import Model
from fit.serving import Serving

# GPU memory in MiB below which a row counts; prefill chunk in tokens; the largest batch of a CUDA graph, with fewer
# than four ranks of tensor parallelism and with more.
_DEFAULTS = ((20 * 1024, 2048, 8, 8), (35 * 1024, 4096, 48, 160), (60 * 1024, 4096, 32, 160),
             (90 * 1024, 8192, 256, 512), (160 * 1024, 8192, 256, 512), (1 << 62, 16384, 512, 512))
# The cache of image embeddings, which comes out of the cache's share (mm_runtime_reservation_gb).
IMAGES = 100 << 20


class Reserve(NamedTuple):
    """fraction: mem_fraction_static; wanted: what the server would keep free itself, in bytes; chunk: of prefill."""

    fraction: float
    wanted: int
    chunk: int
    graph_batch: int


def reserve(model: Model, serving: Serving, gpu: Gpu) -> Reserve:
    """What the server settles on this GPU."""
    chunk, batch = next((chunk, few if serving.tp < 4 else many)
                        for limit, chunk, few, many in _DEFAULTS if gpu.mib < limit)
    if serving.chunked_prefill_size is not None:
        chunk = serving.chunked_prefill_size
    if serving.cuda_graph_max_bs is not None:
        batch = serving.cuda_graph_max_bs
    elif serving.max_running_requests is not None:
        batch = min(batch, serving.max_running_requests)
    mib = 512 + max(chunk if chunk > 0 else serving.max_prefill_tokens, 2048) * 1.5
    mib += serving.tp * serving.pp_size / 8 * 1024
    mib += _graphs(model, serving, chunk, batch)
    if gpu.mib > 60 * 1024:
        mib = max(mib, 10 * 1024)
    fraction = round((gpu.mib - mib) / gpu.mib, 3)
    if families.multimodal(model, serving.enable_multimodal):
        fraction *= _towers_share(model.config)
    wanted = int((1 - fraction) * gpu.bytes)
    return Reserve(serving.mem_fraction_static or fraction, wanted, chunk, batch)


def _graphs(model: Model, serving: Serving, chunk: int, batch: int) -> float:
    mib = 0.0
    if serving.disable_cuda_graph:
        return mib
    mib += batch * 2
    if serving.enable_dp_attention and serving.dp_size > 1:
        mib += batch * serving.dp_size * (4.5 if batch > 300 else 3)
    captured = families.prefill_graphs(model, serving.enable_multimodal) and serving.pp_size == 1
    if serving.disable_prefill_cuda_graph or not captured:
        return mib
    if model.latent:
        return mib + 1.5 * 1024
    longest = min(chunk, serving.max_total_tokens or chunk, 1 << 20)
    return mib + len(_captured(longest)) * 8


def _captured(longest: int) -> list[int]:
    """Sizes of prefill for which a graph is captured (generate_prefill_cuda_graph_batch_sizes)."""
    sizes = [*range(4, 33, 4), *range(48, 257, 16), *range(288, 513, 32), *range(576, 1025, 64),
             *range(1280, 4097, 256), *range(4608, longest + 1, 512)]
    return [size for size in sizes if size <= longest]


def _towers_share(config: Mapping[str, Any]) -> float:
    """The larger the vision tower, the smaller the share (adjust_mem_fraction_for_vlm)."""
    vision = config.get("vision_config")
    if not isinstance(vision, Mapping):
        return 1.0
    layers, wide = vision.get("num_hidden_layers", 24), vision.get("hidden_size", 1024)
    if not isinstance(layers, int) or not isinstance(wide, int):
        return 0.95
    grown = layers * wide * wide / (24 * 1024 * 1024) - 1
    return 0.95 * max(0.8, min(1.05, 1 - 0.1 * grown))
