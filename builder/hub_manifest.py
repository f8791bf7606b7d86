"""Writes .runpod/hub.json, the worker's page in RunPod's Hub: its form, its presets, where it may run.

    python -m builder.hub_manifest            writes the file
    python -m builder.hub_manifest --check    compares only; exit status 1 when the file is out of date

The form's fields come from three places, so that it cannot promise what the worker does not take: the rows
below (what a user is likely to set), the flag snapshot (type and choices of each flag) and the worker's own
settings. Every other flag of SGLang works as an environment variable too and needs no row here.
The format is that of the Hub's publishing guide; tests/unit/hub.schema.json has it as a schema.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import NamedTuple

from settings import flags
from settings.worker_settings import WORKER_SETTINGS, Setting

ROOT = Path(__file__).resolve().parent.parent
MANIFEST = ROOT / ".runpod" / "hub.json"
SNAPSHOT = Path(__file__).with_name("flags.json")

# What the base image needs of a host: the driver must know CUDA 13.0.
CUDA_VERSIONS = ["13.0"]
# 24 GB and more; the presets fit the smallest.
GPU_POOLS = "ADA_24,ADA_48_PRO,AMPERE_80,ADA_80_PRO"
DISK_GB = 100


class Row(NamedTuple):
    """One field of the form. `default` None leaves it empty, which means SGLang's own choice."""

    key: str
    name: str
    description: str
    default: str | int | float | bool | None = None
    options: tuple[str, ...] | None = None      # shown instead of all choices of the flag
    advanced: bool = True


# Not flags of the server, but read by what the worker runs on.
PLATFORM = (
    Row("HF_TOKEN", "Hugging Face token", "A token that may read the model; needed for gated and private models.",
        advanced=False),
    Row("RUNPOD_INIT_TIMEOUT", "Start limit of the platform (s)",
        "Seconds after which RunPod takes a worker that is still loading for unhealthy (420 when empty). "
        "Raise it for large models."),
)
MODEL = Row("MODEL_NAME", "Model", "A Hugging Face repository (owner/name), or a folder on the network volume.",
            "Qwen/Qwen3-4B-Instruct-2507", advanced=False)

# Of the flag's choices those that run on these GPUs.
_METHODS = ("awq", "awq_marlin", "gptq", "gptq_marlin", "fp8", "w8a8_fp8", "w8a8_int8", "bitsandbytes", "gguf",
            "compressed-tensors", "modelopt", "modelopt_fp8", "modelopt_fp4", "mxfp4", "moe_wna16", "auto-round")
_KERNELS = ("flashinfer", "fa3", "fa4", "triton", "flashmla", "cutedsl_mla", "trtllm_mla", "trtllm_mha",
            "flex_attention", "torch_native")

ROWS = (
    Row("CONTEXT_LENGTH", "Context length", "The longest prompt and answer together, in tokens (empty: the model's "
        "own limit). Less leaves more memory for requests at once.", advanced=False),
    Row("TOOL_CALL_PARSER", "Tool call parser", "How the model writes tool calls; needed for the `tools` of a "
        "request.", advanced=False),
    Row("REASONING_PARSER", "Reasoning parser", "How the model marks its reasoning, which then comes in a field of "
        "its own.", advanced=False),
    Row("MODEL_PATH", "Model (older name)", "The older name of MODEL_NAME. Leave it empty when MODEL_NAME is set."),
    Row("TOKENIZER_PATH", "Tokenizer", "A repository or folder with another tokenizer (empty: the model's)."),
    Row("TOKENIZER_MODE", "Tokenizer mode", "`slow` uses the tokenizer's Python implementation.", "auto"),
    Row("LOAD_FORMAT", "Weight format", "The format of the weights; `dummy` loads random ones.", "auto"),
    Row("DTYPE", "Data type", "The data type of weights and activations.", "auto"),
    Row("QUANTIZATION", "Quantization", "The quantization method; empty when the model says it itself.",
        options=_METHODS),
    Row("KV_CACHE_DTYPE", "KV cache data type", "The data type of the KV cache; an fp8 type doubles what fits.",
        "auto"),
    Row("SERVED_MODEL_NAME", "Served model name", "The name that clients ask for (empty: the model's name)."),
    Row("CHAT_TEMPLATE", "Chat template", "A template's name, file or Jinja text, in place of the model's own. When "
        "set, native `text` prompts are wrapped in it too."),
    Row("IS_EMBEDDING", "Embedding model", "Serve embeddings instead of generating.", False),
    Row("ENABLE_LORA", "LoRA adapters", "Serve LoRA adapters.", False),
    Row("LORA_PATHS", "LoRA adapter list", "Adapters to load, separated by spaces or commas, each as "
        "name=repository or name=folder."),
    Row("MEM_FRACTION_STATIC", "Static memory share", "The share of GPU memory for weights and KV cache, such as "
        "0.85. Lower it when the server runs out of memory."),
    Row("MAX_RUNNING_REQUESTS", "Running requests", "Requests that the server runs at once."),
    Row("MAX_TOTAL_TOKENS", "KV cache tokens", "Tokens that the KV cache holds (empty: what fits)."),
    Row("CHUNKED_PREFILL_SIZE", "Prefill chunk", "The longest piece of a prompt that is processed at once, in "
        "tokens; -1 turns pieces off."),
    Row("MAX_PREFILL_TOKENS", "Prefill batch", "The most prompt tokens in one batch.", 16384),
    Row("SCHEDULE_POLICY", "Schedule policy", "The order in which waiting requests are taken.", "fcfs"),
    Row("SCHEDULE_CONSERVATIVENESS", "Schedule conservativeness", "Higher admits fewer requests at once, and stops "
        "fewer of them again.", 1.0),
    Row("TENSOR_PARALLEL_SIZE", "Tensor parallel size", "GPUs that one copy of the model is split over (empty: all "
        "that are visible, divided by the two sizes below)."),
    Row("DATA_PARALLEL_SIZE", "Data parallel size", "Copies of the model in one worker.", 1),
    Row("PIPELINE_PARALLEL_SIZE", "Pipeline parallel size", "Stages that the model's layers are split into.", 1),
    Row("LOAD_BALANCE_METHOD", "Load balancing", "How requests are spread over copies of the model.", "round_robin"),
    Row("ATTENTION_BACKEND", "Attention kernels", "The kernels for attention (empty: what suits the GPU and the "
        "model).", options=_KERNELS),
    Row("SPECULATIVE_ALGORITHM", "Speculative decoding", "The algorithm, such as EAGLE3 or NGRAM."),
    Row("SPECULATIVE_DRAFT_MODEL_PATH", "Draft model", "The draft model's repository or folder."),
    Row("STREAM_INTERVAL", "Stream interval", "Tokens between two events of a stream.", 1),
    Row("RANDOM_SEED", "Random seed", "The seed of sampling (empty: a new one at every start)."),
    Row("LOG_LEVEL", "Server log level", "How much the server logs.", "info",
        options=("debug", "info", "warning", "error", "critical")),
    Row("LOG_LEVEL_HTTP", "HTTP log level", "How much the server logs of its HTTP requests (empty: as above).",
        options=("debug", "info", "warning", "error", "critical")),
    Row("API_KEY", "Server key", "A key for the server inside the worker. Clients use their RunPod key either way."),
    Row("FILE_STORAGE_PATH", "File storage", "The folder for uploaded and generated files.", "sglang_storage"),
    Row("SKIP_TOKENIZER_INIT", "Skip the tokenizer", "Take and give token ids only.", False),
    Row("TRUST_REMOTE_CODE", "Trust remote code", "Run Python code that comes with the model. Only for authors you "
        "trust.", False),
    Row("LOG_REQUESTS", "Log requests", "Log the prompts and answers of requests.", False),
    Row("SHOW_TIME_COST", "Show time cost", "Log the time of marked steps.", False),
    Row("DISABLE_RADIX_CACHE", "No prefix cache", "Do not reuse the KV cache of common beginnings.", False),
    Row("DISABLE_CUDA_GRAPH", "No CUDA graphs", "Slower answers, a faster start and less memory.", False),
    Row("DISABLE_OUTLINES_DISK_CACHE", "No Outlines disk cache", "Keep Outlines' grammar cache off the disk.", False),
    Row("ENABLE_TORCH_COMPILE", "torch.compile", "Compile the model: faster for small batches, a slower start.",
        False),
    Row("ENABLE_P2P_CHECK", "Check peer access", "Check access between GPUs instead of assuming it.", False),
    Row("ENABLE_FLASHINFER_MLA", "FlashInfer MLA (older name)", "Means ATTENTION_BACKEND=flashinfer today.", False),
    Row("TRITON_ATTENTION_REDUCE_IN_FP32", "Triton reduction in fp32", "Add up in fp32 inside Triton's attention "
        "kernels.", False),
    Row("JSON_MODEL_OVERRIDE_ARGS", "Model configuration", "Values that replace those of the model's config.json, as "
        "a JSON object."),
)
# Set by the image: another command would start another program than the one that was checked at build time.
HIDDEN = {"SGLANG_LAUNCH_COMMAND", "SGLANG_PORT"}
_NAMES = {
    "MAX_CONCURRENCY": "Jobs at once", "ENGINE_IDLE_TIMEOUT": "Stream idle timeout (s)",
    "DRAIN_TIMEOUT": "Drain time (s)", "SGLANG_STARTUP_TIMEOUT": "Server start timeout (s)",
    "SGLANG_CONFIG_FILE": "Server configuration file", "SGLANG_EXTRA_ARGS": "More server arguments",
}

# Public models that answer on 24 GB, with the parsers that fit them.
PRESETS = {
    "Qwen3 4B Instruct": {"MODEL_NAME": "Qwen/Qwen3-4B-Instruct-2507", "TOOL_CALL_PARSER": "qwen25",
                          "CONTEXT_LENGTH": 32768},
    "Qwen3 8B (reasoning)": {"MODEL_NAME": "Qwen/Qwen3-8B", "TOOL_CALL_PARSER": "qwen25",
                             "REASONING_PARSER": "qwen3", "CONTEXT_LENGTH": 16384},
    "Llama 3.1 8B Instruct (gated)": {"MODEL_NAME": "meta-llama/Llama-3.1-8B-Instruct",
                                      "TOOL_CALL_PARSER": "llama3", "CONTEXT_LENGTH": 16384},
    "Gemma 3 4B (gated, images)": {"MODEL_NAME": "google/gemma-3-4b-it", "CONTEXT_LENGTH": 16384},
    "Qwen3-VL 4B Instruct (images)": {"MODEL_NAME": "Qwen/Qwen3-VL-4B-Instruct", "TOOL_CALL_PARSER": "qwen25",
                                      "CONTEXT_LENGTH": 16384},
    "Qwen2.5-VL 7B Instruct (images)": {"MODEL_NAME": "Qwen/Qwen2.5-VL-7B-Instruct", "CONTEXT_LENGTH": 8192},
    "Qwen3 Embedding 0.6B": {"MODEL_NAME": "Qwen/Qwen3-Embedding-0.6B", "IS_EMBEDDING": True},
}


def _input(row: Row, kind: str, options: tuple | list | None) -> dict:
    entry: dict = {"name": row.name, "type": kind, "description": row.description}
    if kind == "boolean":
        entry |= {"trueValue": "true", "falseValue": "false"}
    if options:
        # Without a default the first option must be the empty one, or the form would choose for the user.
        empty = [] if row.default is not None else [{"label": "automatic", "value": ""}]
        entry["options"] = empty + [{"label": str(option), "value": str(option)} for option in options]
    if row.default is not None:
        entry["default"] = row.default
    elif options:
        entry["default"] = ""
    if row.advanced:
        entry["advanced"] = True
    return {"key": row.key, "input": entry}


def flag_field(row: Row, snapshot: dict) -> dict:
    """The form's field for a row, its type and choices as SGLang's parser has them."""
    flag = flags.variables(snapshot).get(row.key)
    if flag is None:        # a flag that SGLang dropped and the worker translates
        return _input(row, "boolean", None)
    entry = snapshot["flags"][flag]
    if entry["kind"] in ("switch", "paired"):
        return _input(row, "boolean", None)
    options = row.options or entry.get("choices")
    number = entry["kind"] == "value" and entry.get("type") in ("int", "float", "size") and not options
    return _input(row, "number" if number else "string", options)


def label(setting: Setting) -> str:
    """SGLANG_RESTART_WINDOW, in seconds -> Server restart window (s)"""
    words = setting.name.replace("SGLANG_", "SERVER_").split("_")
    unit = {"MB": "MB", "KIB": "KiB"}.get(words[-1])
    if unit:
        words.pop()
    elif setting.type == "float" and setting.help.startswith("Seconds"):
        unit = "s"
    return _NAMES.get(setting.name) or " ".join(words).capitalize() + (f" ({unit})" if unit else "")


def setting_field(setting: Setting) -> dict:
    """The form's field for one of the worker's own settings."""
    default = setting.default if isinstance(setting.default, (str, int, float)) else None
    row = Row(setting.name, label(setting), setting.help, default)
    number = setting.type in ("int", "float", "megabytes")
    field = _input(row, "number" if number else "string", setting.choices)
    bounds = {"min": setting.low, "max": setting.high}
    field["input"] |= {name: bound for name, bound in bounds.items() if number and bound is not None}
    return field


def manifest(snapshot: dict) -> dict:
    """The whole of hub.json."""
    model = {"key": MODEL.key, "input": {"name": MODEL.name, "type": "huggingface", "description": MODEL.description,
                                         "default": MODEL.default, "required": True}}
    token, start_limit = PLATFORM
    fields = [model, _input(token, "string", None), *(flag_field(row, snapshot) for row in ROWS),
              *(setting_field(setting) for setting in WORKER_SETTINGS
                if setting.name != MODEL.key and setting.name not in HIDDEN),
              _input(start_limit, "number", None)]
    return {
        "title": "SGLang",
        "description": "Serve language and vision models with SGLang: OpenAI- and Anthropic-compatible, streaming, "
                       "tools, structured output, embeddings, every SGLang flag as an environment variable.",
        "type": "serverless",
        "category": "language",
        "iconUrl": "https://avatars.githubusercontent.com/u/147780389?v=4",
        "config": {
            "runsOn": "GPU", "containerDiskInGb": DISK_GB, "gpuCount": 1, "gpuIds": GPU_POOLS,
            "allowedCudaVersions": CUDA_VERSIONS,
            "presets": [{"name": name, "defaults": defaults} for name, defaults in PRESETS.items()],
            "env": fields,
        },
    }


def main(arguments: list[str] | None = None) -> int:
    options = argparse.ArgumentParser(prog="python -m builder.hub_manifest", description=__doc__.split("\n")[0])
    options.add_argument("--check", action="store_true", help="compare with the committed file, write nothing")
    chosen = options.parse_args(arguments)
    snapshot = json.loads(SNAPSHOT.read_text(encoding="utf-8"))
    text = json.dumps(manifest(snapshot), indent=2, ensure_ascii=False) + "\n"
    if not chosen.check:
        MANIFEST.write_text(text, encoding="utf-8")
        print(f"{MANIFEST}: {len(manifest(snapshot)['config']['env'])} fields")
        return 0
    current = MANIFEST.is_file() and MANIFEST.read_text(encoding="utf-8") == text
    print(f"{MANIFEST.name} is {'up to date' if current else 'out of date: run python -m builder.hub_manifest'}")
    return 0 if current else 1


if __name__ == "__main__":
    sys.exit(main())
