"""How many GPUs there are and of what kind, without CUDA or torch."""

from __future__ import annotations

import os
from typing import NamedTuple


class Device(NamedTuple):
    """One GPU. mib: memory.total, as nvidia-smi tells it; capability: CUDA's."""

    name: str
    mib: int
    capability: tuple[int, int]


def visible() -> int | None:
    """Number of GPUs that the server will see; None when there is no telling.

    CUDA_VISIBLE_DEVICES, as CUDA reads it; else NVML; else RUNPOD_GPU_COUNT, which RunPod promises for Pods only.
    """
    listed = os.environ.get("CUDA_VISIBLE_DEVICES")
    if listed is not None:
        devices = [d.strip() for d in listed.split(",")]
        return next((i for i, d in enumerate(devices) if d in ("", "-1")), len(devices))
    try:
        import pynvml

        pynvml.nvmlInit()
        try:
            return int(pynvml.nvmlDeviceGetCount())
        finally:
            pynvml.nvmlShutdown()
    except Exception:  # no library, or no driver: both are ordinary on a machine without a GPU
        count = os.environ.get("RUNPOD_GPU_COUNT", "")
        return int(count) if count.isdigit() else None


def devices() -> list[Device]:
    """Every GPU of this machine that CUDA_VISIBLE_DEVICES does not hide by its number; none where NVML has no word."""
    listed = [one.strip() for one in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")]
    try:
        import pynvml

        pynvml.nvmlInit()
        try:
            every = range(pynvml.nvmlDeviceGetCount())
            seen = [int(one) for one in listed if one.isdigit() and int(one) in every] or every
            handles = [pynvml.nvmlDeviceGetHandleByIndex(index) for index in seen]
            return [Device(_text(pynvml.nvmlDeviceGetName(handle)),
                           pynvml.nvmlDeviceGetMemoryInfo(handle).total >> 20,
                           tuple(pynvml.nvmlDeviceGetCudaComputeCapability(handle))) for handle in handles]
        finally:
            pynvml.nvmlShutdown()
    except Exception:  # no library, or no driver: both are ordinary on a machine without a GPU
        return []


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value
