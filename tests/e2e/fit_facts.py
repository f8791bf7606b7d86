"""What SGLang's own code makes of a configuration; a program for the engine's Python.

Reads {"models": {name: config.json, …}, "sizes": [of tensor parallelism, …], "dtypes": [of the KV cache, …],
"mib": [of a GPU, …]}. Writes for each model its context, bytes of a token by dtype and size, bytes of a state by size,
and what is settled of a GPU's memory by its MiB.
"""

import json
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace

import torch
from sglang.srt.arg_groups import cuda_graph_hook, memory_hook
from sglang.srt.arg_groups.overrides import resolving_view
from sglang.srt.configs import mamba_utils, qwen3_next
from sglang.srt.configs.hybrid_arch import mambaish_config
from sglang.srt.configs.model_config import AttentionArch, ModelConfig
from sglang.srt.layers.cp import utils as context_parallel
from sglang.srt.model_executor import cuda_graph_config, pool_configurator
from sglang.srt.server_args import ServerArgs

TYPES = {"bfloat16": torch.bfloat16, "fp8_e4m3": torch.float8_e4m3fn}


def token_bytes(model, size, dtype):
    """As create_memory_pool_configurator does it for a worker with `size` ranks."""
    parallel = SimpleNamespace(attn_tp_size=size, attn_dcp_size=1)
    schedule = SimpleNamespace(swa_full_tokens_ratio=0.8, max_total_tokens=None)
    pool_configurator.get_parallel = lambda: parallel
    pool_configurator.get_schedule = lambda: schedule
    pool_configurator.get_memory = lambda: SimpleNamespace(enable_unified_memory=False, enable_hisparse=False,
                                                           enable_unified_cache_external_linker=False)
    pool_configurator.compute_page_shard_scratch_bytes = lambda *args, **more: 0
    context_parallel.get_glm_dsa_layer_split_effective_num_layers = lambda asked, layers: layers
    context_parallel.get_glm_dsa_cp_layer_shard_info = lambda asked: (0, 1)
    none = SimpleNamespace(is_eagle=lambda: False, is_standalone=lambda: False, is_dflash_family=lambda: False)
    layers = SimpleNamespace(start_layer=0, end_layer=model.num_hidden_layers,
                             num_effective_layers=model.num_hidden_layers,
                             full_attention_layer_ids=model.full_attention_layer_ids,
                             swa_attention_layer_ids=model.swa_attention_layer_ids)
    asked = SimpleNamespace(
        model_config=model, kv_cache_dtype=TYPES[dtype], kv_cache_dtype_str=dtype, layer_info=layers,
        use_mla_backend=model.attention_arch == AttentionArch.MLA, is_draft_worker=False, spec_algorithm=none,
        is_hybrid_swa=model.is_hybrid_swa, sliding_window_size=1, page_size=1, pp_size=1, attn_dp_size=1,
        fused_entry_bytes=lambda name: None, server_args=SimpleNamespace(enable_hisparse=False),
        mambaish_config=mambaish_config(model))
    kind = pool_configurator.HybridSWAPoolConfigurator if model.is_hybrid_swa else (
        pool_configurator.DefaultPoolConfigurator)
    return kind(asked)._cell_size


def state_bytes(model, size):
    config = mambaish_config(model)
    if config is None:
        return 0
    for module in (qwen3_next, mamba_utils):
        module.get_parallel = lambda: SimpleNamespace(attn_tp_size=size, tp_size=size)
    qwen3_next.linear_attn_tp_size = lambda: size
    qwen3_next._is_cpu = False
    return config.mamba2_cache_params.mamba_cache_per_req


def settled(folder, mib):
    """[mem_fraction_static, chunk of prefill, largest batch of a CUDA graph] on an NVIDIA GPU of `mib`."""
    memory_hook.get_device_memory_capacity = lambda device=None: mib
    cuda_graph_config.default_prefill_backend = lambda: "breakable"
    asked = ServerArgs(model_path=folder, device="cuda", skip_tokenizer_init=True)
    cuda_graph_hook.parse_cuda_graph_config(asked)
    cuda_graph_hook.apply_cuda_graph_compatibility(asked)
    memory_hook.handle_gpu_memory_settings(asked)
    found = resolving_view(asked)
    return [found.mem_fraction_static, found.chunked_prefill_size, found.cuda_graph_config.decode.max_bs]


def facts(config, asked):
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "config.json").write_text(json.dumps(config), encoding="utf-8")
        disabled = config["model_type"].startswith("gemma3")  # as its override has it
        model = ModelConfig(folder, disable_hybrid_swa_memory=disabled)
        return {"context": model.context_len,
                "token_bytes": {dtype: {size: token_bytes(model, size, dtype) for size in asked["sizes"]}
                                for dtype in asked["dtypes"]},
                "state_bytes": {size: state_bytes(model, size) for size in asked["sizes"]},
                "settled": {mib: settled(folder, mib) for mib in asked["mib"]}}


def main():
    asked = json.load(sys.stdin)
    found = {}
    for name, config in asked["models"].items():
        try:
            found[name] = facts(config, asked)
        except Exception as error:
            found[name] = {"error": f"{type(error).__name__}: {error}"}
    print(json.dumps(found))


if __name__ == "__main__":
    main()
