"""Stands in for SGLang's compiled CPU kernels, which no package index carries.

Without AMX every layer of SGLang falls back to torch, but several modules still import kernels by name.
Any name is therefore found, and calling one fails: no arithmetic happens here.

SGLang's LoRA layers also ask for pinned memory whatever the device (srt/lora/layers.py, srt/lora/backend/*.py), which
torch refuses on a machine without an accelerator: there it is ordinary memory instead.
"""

import functools

try:
    import torch
except ModuleNotFoundError:  # looked at without an engine
    torch = None


def __getattr__(name: str):
    if name.startswith("__"):
        raise AttributeError(name)  # the import system probes these

    def missing(*args, **kwargs):
        raise NotImplementedError(f"sgl_kernel.{name} is not available on this CPU build")

    return missing


def _unpinned(make):
    @functools.wraps(make)
    def made(*args, **kwargs):
        kwargs.pop("pin_memory", None)
        return make(*args, **kwargs)

    return made


if torch and not torch.cuda.is_available():
    for _name in ("tensor", "empty", "zeros", "ones", "arange"):
        setattr(torch, _name, _unpinned(getattr(torch, _name)))
    torch.Tensor.pin_memory = lambda self, *args, **kwargs: self
