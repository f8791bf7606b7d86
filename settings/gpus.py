"""How many GPUs there are, without CUDA or torch."""

from __future__ import annotations

import os


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
