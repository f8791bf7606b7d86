"""What a compile cache depends on, and where the server keeps it: variables, facts and the key made of them.

Nothing of CUDA, torch or SGLang is imported.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import subprocess
from collections.abc import Mapping, Sequence
from typing import Any

from settings import flags
from start.kernels.cache_archive import SUFFIX

# (variable, folder below the root, other variables by which a user may have chosen the place already). Read in:
# sglang/srt/environ.py (0.5.23: SGLANG_CACHE_DIR also holds torch_compile_cache, cute_aot, rust_extensions and
# FlashInfer's autotuning results; its third_party_cache_defaults moves five of these, older versions none),
# sglang/kernels/jit/utils/compile/cache.py, sglang/srt/layers/deep_gemm_wrapper/compile_utils.py (sets
# DG_JIT_CACHE_DIR itself), triton/knobs.py, torch/_inductor/runtime/cache_dir_utils.py,
# torch/utils/cpp_extension.py, aten/src/ATen/native/cuda/jit_utils.cpp, tvm_ffi/cpp/extension.py,
# flashinfer/jit/env.py (adds ".cache/flashinfer"), TensorRT-LLM's deep_gemm/compiler.cuh, which FlashInfer has a copy
# of. Told by their authors: CUTLASS 4.3.2's release notes, the documentation of QuACK and of FlashAttention 4 (which
# writes none unless FLASH_ATTENTION_CUTE_DSL_CACHE_ENABLED=1). CUDA's and TileLang's as SGLang has them.
_SGLANG = "SGLANG_CACHE_DIR"
FOLDERS = (
    ("SGLANG_CACHE_DIR", "sglang", ()),
    ("SGLANG_JIT_CACHE_DIR", "sglang-jit", ()),
    ("SGLANG_DG_CACHE_DIR", "deep-gemm", (_SGLANG,)),
    ("TRITON_CACHE_DIR", "triton", (_SGLANG, "TRITON_HOME")),
    ("TORCHINDUCTOR_CACHE_DIR", "inductor", (_SGLANG,)),
    ("TORCH_EXTENSIONS_DIR", "torch-extensions", ()),
    ("PYTORCH_KERNEL_CACHE_PATH", "torch-kernels", ()),
    ("TVM_FFI_CACHE_DIR", "tvm-ffi", ()),
    ("FLASHINFER_WORKSPACE_BASE", "flashinfer", (_SGLANG,)),
    ("CUDA_CACHE_PATH", "cuda", (_SGLANG,)),
    ("TILELANG_CACHE_DIR", "tilelang", (_SGLANG,)),
    ("CUTE_DSL_CACHE_DIR", "cute-dsl", ()),
    ("QUACK_CACHE_DIR", "quack", ()),
    ("FLASH_ATTENTION_CUTE_DSL_CACHE_DIR", "flash-attention", ()),
    ("TRTLLM_DG_CACHE_DIR", "trtllm-deep-gemm", ()),
)

# Flags that decide which kernels are compiled. Each library keys its own entries too: a flag that is missing here
# makes a cache incomplete, never wrong. So those of the CUDA graphs are left out: graphs are captured anew at every
# start, from kernels that are the same with and without them, and both start profiles share one archive.
KEYED_FLAGS = (
    "--dtype", "--quantization", "--kv-cache-dtype", "--load-format", "--device",
    "--attention-backend", "--prefill-attention-backend", "--decode-attention-backend", "--mm-attention-backend",
    "--linear-attn-backend", "--mamba-backend", "--sampling-backend", "--lora-backend", "--enable-lora",
    "--max-lora-rank", "--moe-runner-backend", "--moe-a2a-backend", "--deepep-mode",
    "--bf16-gemm-backend", "--fp8-gemm-backend", "--fp4-gemm-backend",
    "--flashinfer-allreduce-fusion-backend", "--enable-flashinfer-allreduce-fusion",
    "--tp-size", "--pp-size", "--dp-size", "--ep-size", "--attn-cp-size", "--dcp-size", "--moe-dp-size",
    "--enable-dp-attention", "--attn-dp-size", "--nnodes",
    "--enable-torch-compile", "--torch-compile-max-bs", "--torchao-config",
    "--chunked-prefill-size", "--max-prefill-tokens", "--page-size",
    "--triton-attention-num-kv-splits", "--triton-attention-reduce-in-fp32", "--enable-deterministic-inference",
    "--speculative-algorithm", "--speculative-num-steps",
    "--speculative-eagle-topk", "--speculative-num-draft-tokens", "--speculative-draft-attention-backend",
)
_PACKAGES = ("sglang", "torch", "triton", "sglang-kernel", "sgl-kernel", "flashinfer-python", "apache-tvm-ffi",
             "nvidia-cutlass-dsl", "tilelang")
_VERSIONS = ("import importlib.metadata as m, json, platform as p\nfound = {'python': p.python_version()}\n"
             f"for name in {_PACKAGES!r}:\n try: found[name] = m.version(name)\n except Exception: pass\n"
             "print(json.dumps(found))")


def default_root() -> str:
    """One path in every container of an image: FlashInfer, ninja and triton write absolute paths into their caches."""
    return os.path.expanduser("~/.cache/worker-sglang/compile")


def variables(root: str, environ: Mapping[str, str]) -> dict[str, str]:
    """What to add to the server's environment `environ`; a place that the user chose stays."""
    added = {variable: os.path.join(root, folder) for variable, folder, others in FOLDERS
             if not any(environ.get(name) for name in (variable, *others))}
    # Kernels that an image brings as downloads lie beside those that are compiled, and must still be found.
    brought = os.path.expanduser("~/.cache/flashinfer/cubins")
    if "FLASHINFER_WORKSPACE_BASE" in added and not environ.get("FLASHINFER_CUBIN_DIR") and os.path.isdir(brought):
        added["FLASHINFER_CUBIN_DIR"] = brought
    return added


def flag_facts(server_args: Sequence[str], snapshot: dict[str, Any]) -> dict[str, list[str]]:
    """{flag: its values} of the KEYED_FLAGS among the server's arguments, the last of each.

    Of a configuration file, whose flags only the server reads, the SHA-256.
    """
    items = flags.read(list(server_args), snapshot)
    found = {item.flag: [*item.values, *([] if item.on else ["off"])] for item in items if item.flag in KEYED_FLAGS}
    for item in items:
        if item.flag == "--config" and item.values:
            with contextlib.suppress(OSError), open(item.values[0], "rb") as f:
                found["--config"] = [hashlib.sha256(f.read()).hexdigest()]
    return found


def gpu_facts() -> tuple[list[str], str]:
    """(["NVIDIA H200 9.0", …] each kind once, driver version), without CUDA; ([], "cpu") without a GPU."""
    try:
        import pynvml

        pynvml.nvmlInit()
        try:
            found = set()
            for index in range(pynvml.nvmlDeviceGetCount()):
                device = pynvml.nvmlDeviceGetHandleByIndex(index)
                found.add("{} {}.{}".format(_text(pynvml.nvmlDeviceGetName(device)),
                                            *pynvml.nvmlDeviceGetCudaComputeCapability(device)))
            return sorted(found), _text(pynvml.nvmlSystemGetDriverVersion())
        finally:
            pynvml.nvmlShutdown()
    except Exception:  # no library, or no driver: both are ordinary on a machine without a GPU
        return [], "cpu"


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value


def engine_facts(launch_command: Sequence[str], environ: Mapping[str, str]) -> dict[str, str]:
    """Versions that the server's own interpreter has, read without importing any; else its command's SHA-256."""
    if os.path.basename(launch_command[0]).startswith("python"):
        with contextlib.suppress(OSError, subprocess.SubprocessError, ValueError):
            told = subprocess.run([launch_command[0], "-c", _VERSIONS], env=dict(environ), capture_output=True,
                                  timeout=30, check=True, stdin=subprocess.DEVNULL)
            found: dict[str, str] = json.loads(told.stdout)
            return found
    return {"command": hashlib.sha256(" ".join(launch_command).encode()).hexdigest()}  # it may hold a secret


def base_key(facts: Mapping[str, Any]) -> str:
    """16 hexadecimal digits for everything in `facts` but the driver.

    No library's compiled code depends on the driver's version, except CUDA's own cache, which looks at it itself:
    an archive made under another driver is second best, not wrong.
    """
    kept = {name: value for name, value in facts.items() if name != "driver"}
    return hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()[:16]


def archive_name(facts: Mapping[str, Any]) -> str:
    """The archive's file name: base key and driver."""
    return f"{base_key(facts)}-{facts['driver']}{SUFFIX}"
