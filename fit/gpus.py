"""RunPod's pools of GPUs, and how much of a GPU's memory the server gets. Pure.

A pool is what an endpoint names; a worker gets any GPU of it, so the smallest counts. The pools are those of RunPod's
documentation and SDK (GpuGroup); memory is what nvidia-smi calls memory.total, which is less than what the name says.
"""

from __future__ import annotations

from typing import NamedTuple

MIB, GIB = 1 << 20, 1 << 30


class Gpu(NamedTuple):
    """A GPU, or the smallest of a pool. mib: memory.total of nvidia-smi; capability: CUDA's, of the oldest;
    linked: whether several in a worker may be linked by NVLink; models: what the pool has."""

    name: str
    mib: int
    capability: tuple[int, int] = (8, 0)
    linked: bool = False
    models: str = ""

    @property
    def bytes(self) -> int:
        return self.mib * MIB

    def free(self, ranks: int) -> int:
        """Bytes that are free before the weights are loaded, where `ranks` GPUs work on one copy of the model.

        Measured on an H100: CUDA itself tells 0.6 % less than nvidia-smi, and a context with its libraries takes 0.65
        GiB. From logs that others published: what several GPUs need to talk to each other is some 0.2 GiB, and 1.7
        where they are linked.
        """
        context = 0.65 + (0 if ranks < 2 else 1.7 if self.linked else 0.2)
        return int(self.bytes * 0.994 - context * GIB)


POOLS: dict[str, Gpu] = {gpu.name: gpu for gpu in (
    Gpu("AMPERE_16", 16376, (8, 6), False, "RTX A4000, RTX A4500, RTX 4000 Ada, RTX 2000 Ada"),
    Gpu("AMPERE_24", 23034, (8, 6), False, "L4, RTX A5000, RTX 3090"),
    Gpu("ADA_24", 24564, (8, 9), False, "RTX 4090"),
    Gpu("ADA_32_PRO", 32607, (12, 0), False, "RTX 5090"),
    Gpu("AMPERE_48", 46068, (8, 6), False, "RTX A6000, A40"),
    Gpu("ADA_48_PRO", 46068, (8, 9), False, "L40, L40S, RTX 6000 Ada"),
    Gpu("AMPERE_80", 81920, (8, 0), True, "A100"),
    Gpu("ADA_80_PRO", 81559, (9, 0), True, "H100"),
    Gpu("BLACKWELL_96", 97887, (12, 0), False, "RTX PRO 6000 Blackwell"),
    Gpu("HOPPER_141", 143771, (9, 0), True, "H200"),
    Gpu("BLACKWELL_180", 183359, (10, 0), True, "B200"),
)}
# GPUs of one worker; more than eight there are none.
COUNTS = (1, 2, 4, 8)
