"""Why servers ended, by their last lines, and what to do about each: a table.

Each pattern is a fragment of a real last line; `within` is one of the traceback above it, which tells whose JSON, whose
folder, whose division it was. The first row that fits a line counts, so the narrow ones come first. A word in braces
is filled with a group of the pattern: {0} as it is, {0!v} as the variable of a flag.
"""

from __future__ import annotations

from typing import NamedTuple


class Cause(NamedTuple):
    pattern: str
    advice: str
    within: str = ""


_NO_PLACE = r"Repo id must be|RepositoryNotFoundError|is not a local folder and is not a valid model identifier"
_BAD_JSON = r"JSONDecodeError|Expecting (value|property name)"
_CANNOT_WRITE = r"(FileNotFound|Permission|NotADirectory|FileExists|IsADirectory|OS)Error\b"

CAUSES = (
    Cause(r'AssertionError: .*"Request (?:running|waiting) timeout reached',
          "SGLANG_REQ_RUNNING_TIMEOUT or SGLANG_REQ_WAITING_TIMEOUT is shorter than the server's own warm-up takes: "
          "raise it, or set SKIP_SERVER_WARMUP=true."),
    # The machine.
    Cause(r"No space left on device|Disk quota exceeded|Errno (28|122)\b",
          "The disk is full: give the endpoint a larger container disk, or a network volume with HF_HOME or "
          "DOWNLOAD_DIR on it."),
    Cause(r"CUDA out of memory|OutOfMemoryError|cudaErrorMemoryAllocation|CUBLAS_STATUS_ALLOC_FAILED",
          "The GPU's memory is too small for this configuration: lower MEM_FRACTION_STATIC or CONTEXT_LENGTH, use a "
          "quantised model, a larger GPU, or more GPUs (TENSOR_PARALLEL_SIZE)."),
    Cause(r"Not enough memory\. Please try to increase --mem-fraction-static|leave no GPU memory for the KV cache",
          "The weights leave no room for the KV cache: raise MEM_FRACTION_STATIC, or use a quantised model, a larger "
          "GPU, or more GPUs (TENSOR_PARALLEL_SIZE)."),
    Cause(r"Not enough host memory available\. Requesting|No host memory is left for HiCache|"
          r"Cannot automatically size HiCache host memory",
          "The container's memory is too small for the cache in the host's memory: set HICACHE_SIZE (GB for each GPU) "
          "to what is left beside 10 GiB, or leave ENABLE_HIERARCHICAL_CACHE out."),
    Cause(r"driver version is insufficient|unsupported display driver|CUDA driver version|"
          r"NVIDIA driver on your system is too old|cuda>=|forward compatibility was attempted",
          "The host's NVIDIA driver is older than this image's CUDA: choose hosts with a newer CUDA version in the "
          "endpoint's filter, or use the CUDA 12.9 image."),
    Cause(r"no kernel image is available for execution",
          "This GPU model is not supported by this image's build of SGLang: choose a newer GPU."),
    Cause(r"No CUDA GPUs are available|no NVIDIA driver|Found no NVIDIA|CUDA unknown error|No accelerator|"
          r"Torch not compiled with CUDA enabled|has no attribute '_cuda_setDevice'",
          "The server sees no GPU: check the endpoint's GPU selection, or set DEVICE=cpu for a CPU machine."),
    Cause(r"address already in use|Errno 98", "The server's port is taken: set SGLANG_PORT to a free one."),
    Cause(r"Please install (\w+) by following|ModuleNotFoundError: No module named '(mooncake|nixl|lmcache|flexkv)",
          "A setting asks for a package that this image lacks ({0}): check DISAGGREGATION_TRANSFER_BACKEND, "
          "HICACHE_STORAGE_BACKEND, ENABLE_LMCACHE and ENABLE_FLEXKV."),

    # Adapters, templates, tokenizer and draft: what their errors say of the model would be wrong advice.
    Cause(r"Failed to load LoRA adapter ([^:]+):",
          "LORA_PATHS: the adapter {0} could not be loaded; it must be a folder or a repository with "
          "adapter_config.json and weights (and HF_TOKEN may be needed)."),
    Cause(r"LoRA with name (\S+) already exists", "LORA_PATHS names two adapters {0}: give each a name of its own."),
    Cause(r"need to specify both --max-lora-rank and --lora-target-modules",
          "ENABLE_LORA without LORA_PATHS needs MAX_LORA_RANK and LORA_TARGET_MODULES."),
    Cause(r"Chat template .* is not a built-in template name|unrecognized format of chat template file",
          "CHAT_TEMPLATE is neither a built-in name nor a .jinja file that is there."),
    Cause(r"Error\b", "CHAT_TEMPLATE names a file that cannot be read as a template.",
          r"in (_load_json_chat_template|_load_jinja_template|_load_explicit_chat_template)$"),
    Cause(r"Completion template .* is not a built-in|Error\b", "COMPLETION_TEMPLATE is neither a built-in name nor a "
          "JSON template that is there.", r"in (load_completion_template|_load_json_completion_template)$"),
    Cause(_NO_PLACE, "No such draft model: check SPECULATIVE_DRAFT_MODEL_PATH.", r"speculative|draft"),
    Cause(_NO_PLACE, "No such tokenizer: check TOKENIZER_PATH, or MODEL_NAME where it is unset.",
          r"in (get_tokenizer|get_processor)$"),
    Cause(_BAD_JSON, "A file of the tokenizer (tokenizer.json, tokenizer_config.json) is damaged: download it again, "
          "or check TOKENIZER_PATH and MODEL_NAME.", r"in (get_tokenizer|get_processor)$"),
    Cause(r"Couldn't instantiate the backend tokenizer|Failed to load the tokenizer(?!.*trust_remote_code)",
          "There is no tokenizer that can be loaded: set TOKENIZER_PATH, or SKIP_TOKENIZER_INIT for a model without "
          "one."),

    # Settings that SGLang looks at late. The name of the model's repository is one of them.
    Cause(r"served_model_name cannot contain a colon", "The served name has a colon, which parts a model from its "
          "adapter: set SERVED_MODEL_NAME (or served-model-name in SGLANG_CONFIG_FILE) without one."),
    Cause(r"No file matching quant type|Quant type .* is ambiguous",
          "MODEL_NAME: the part after the colon must fit one .gguf file of the repository."),
    Cause(r"Invalid connector type", "MODEL_NAME is an address that SGLang cannot read: set a hub repository as "
          "owner/name, or a folder."),
    Cause(r"longer than the model's context length|exceeds the maximum allowed length \(",
          "Not even the server's own first request fits: raise CONTEXT_LENGTH and MAX_TOTAL_TOKENS.",
          r"_execute_server_warmup|warmup error"),
    Cause(r"ZeroDivisionError", "CONTEXT_LENGTH or MAX_TOTAL_TOKENS is too small.", r"kv_cache_configurator\.py"),
    Cause(r"ZeroDivisionError|IndexError: list index out of range",
          "A size is 0: check PAGE_SIZE, TENSOR_PARALLEL_SIZE and PIPELINE_PARALLEL_SIZE.",
          r"in (check_server_args|_calculate_rank_ranges|_launch_subprocesses)$"),
    Cause(r"AssertionError", "ENABLE_DP_ATTENTION: DATA_PARALLEL_SIZE must divide TENSOR_PARALLEL_SIZE.",
          r"in handle_data_parallelism$"),
    Cause(_BAD_JSON, "MODEL_LOADER_EXTRA_CONFIG must be a JSON object.", r"configs/load_config\.py"),
    Cause(_BAD_JSON, "JSON_MODEL_OVERRIDE_ARGS must be a JSON object.", r"configs/model_config\.py"),
    Cause(r"has no attribute 'items'", "JSON_MODEL_OVERRIDE_ARGS must be a JSON object.", r"in get_config$"),
    Cause(r"Validation error for field '(\w+)'|Class validation error for validator '(\w+)'",
          "The model's config.json has values that do not fit ({0}): check JSON_MODEL_OVERRIDE_ARGS, or MODEL_NAME."),
    Cause(r"is not a valid JSON file", "The model's config.json is damaged: download the model again, or check "
          "MODEL_NAME."),
    Cause(r"The size of tensor a|size mismatch|shape mismatch|Attempted to load weight|"
          r"KeyError: '[\w.]+\.\w*(weight|scale)",
          "The weights do not fit the model's config.json: check JSON_MODEL_OVERRIDE_ARGS and QUANTIZATION, and that "
          "MODEL_NAME is whole.", r"load_weights|weight_loader"),
    Cause(r"Please install (bitsandbytes|\w+)\W*[\d.]* via `pip install",
          "QUANTIZATION or LOAD_FORMAT asks for a package that this image lacks ({0})."),
    Cause(r"only pre-sharded checkpoints are currently supported",
          "LOAD_FORMAT=sharded_state loads checkpoints that were saved in that form: leave it out for others."),
    Cause(r"No module named '(runai_model_streamer|fastsafetensors|instanttensor|modelexpress)",
          "LOAD_FORMAT asks for a package that this image lacks ({0})."),
    Cause(r"attention backends are supported for deterministic inference",
          "ENABLE_DETERMINISTIC_INFERENCE does not go with this ATTENTION_BACKEND."),
    Cause(r"FP8 KV cache requires", "KV_CACHE_DTYPE does not run on this machine: leave it out."),
    Cause(r"expected string or bytes-like object, got 'dict'",
          "The model has several chat templates, over which SGLang's detection of parsers ends: set TOOL_CALL_PARSER, "
          "and REASONING_PARSER where it is auto, to a name or to none.", r"parser/template_detection\.py"),
    Cause(r"cannot be mixed with other parsers, got|token parsing requires --reasoning-parser and",
          "REASONING_PARSER and TOOL_CALL_PARSER belong together with this model, and the second is detected where it "
          "is unset: set both to its own, or TOOL_CALL_PARSER=none."),
    Cause(r"Unknown schedule_policy", "SCHEDULE_POLICY needs another setting beside it (priority: "
          "ENABLE_PRIORITY_SCHEDULING), or does not go with one."),
    Cause(r"not supported for quantization method|Cannot find the config file for \w+|quantization method .*does not "
          r"match|Quantization method specified in the model config|Unknown quantization method",
          "QUANTIZATION does not fit the model, its DTYPE or this GPU: leave it out where the model says it itself."),
    Cause(r"ValueError: .* is not a file\.", "LOAD_FORMAT=gguf loads a .gguf file: name one in MODEL_NAME.",
          r"model_loader/loader\.py"),
    Cause(r"FlashAttention v\d Backend requires|(flashinfer\w*) with minimum required version",
          "These kernels do not run on this machine: choose other ones by ATTENTION_BACKEND and SAMPLING_BACKEND, or "
          "leave both out."),
    Cause(r"Unsupported config option",
          "SGLANG_CONFIG_FILE has an option that SGLang does not take from a file: set its variable."),
    Cause(r"parallel topology is inconsistent",
          "The sizes of the parallel layout do not fit each other: TENSOR_PARALLEL_SIZE must be divisible by EP_SIZE, "
          "MOE_DP_SIZE and ATTN_DP_SIZE."),
    Cause(r"Config file not found|yaml\.\w+\.\w+Error|Failed to parse YAML", "SGLANG_CONFIG_FILE is not there, or no "
          "YAML."),
    Cause(_CANNOT_WRITE, "LOG_REQUESTS_TARGET names a folder that cannot be made.", r"_create_log_target"),
    Cause(_CANNOT_WRITE, "EXPORT_METRICS_TO_FILE_DIR is a folder that cannot be made.",
          r"request_metrics_exporter\.py"),
    Cause(r"API key is not supported in multi-tokenizer mode",
          "Several tokenizers take no API_KEY: leave API_KEY or TOKENIZER_WORKER_NUM out."),
    Cause(r"Tokenizer worker num must", "TOKENIZER_WORKER_NUM must be at least 1."),

    # The model and the hub.
    Cause(r"RevisionNotFoundError|Revision Not Found for url|is not a valid git identifier|Invalid rev id",
          "No such revision of the model: check MODEL_REVISION."),
    Cause(rf"{_NO_PLACE}|Repository Not Found for url|does not appear to have a file named config\.json|"
          r"Unrecognized model in",
          "No such model: check MODEL_NAME (a hub repository as owner/name, or a folder that holds config.json), "
          "and HF_TOKEN if the repository is private."),
    Cause(r"GatedRepoError|Cannot access gated repo|access a gated repo|is a gated repository|awaiting a review|"
          r"401 Client Error|403 Client Error",
          "The model is gated or private: accept its licence on the hub and set HF_TOKEN to a token that may read it."),
    Cause(r"LocalEntryNotFoundError|outgoing traffic has been disabled|OfflineModeIsEnabled|We couldn't connect to|"
          r"Name or service not known|Failed to resolve '",
          "The model is not on this machine and the hub could not be reached: check the network, or HF_HUB_OFFLINE."),
    Cause(r"Cannot find any model weights|SafetensorError|InvalidHeaderDeserialization|HeaderTooLarge",
          "The weights are missing or damaged: download the model again, or check LOAD_FORMAT."),
    Cause(r"does not recognize this architecture|Model architectures .* are not supported|Cannot find model module|"
          r"is not a registered model",
          "The model is of a kind that this SGLang does not know: use an image with a newer SGLang, or another "
          "MODEL_NAME."),
    Cause(r"(setting|argument|option) `trust_remote_code=True`",
          "The model brings its own code: set TRUST_REMOTE_CODE=true if you trust it."),
    Cause(r"is greater than the derived context_length",
          "CONTEXT_LENGTH is above what the model was made for: lower it or leave it out."),

    # Flags.
    Cause(r"error: argument (--[\w-]+)(?:/--[\w-]+)*:",
          "SGLang refused {0}: check {0!v}, or where it stands in SGLANG_EXTRA_ARGS or SGLANG_CONFIG_FILE."),
    Cause(r"the following arguments are required|unrecognized arguments|invalid choice|argument --|error: ambiguous",
          "SGLang refused a flag: check SGLANG_EXTRA_ARGS and SGLANG_CONFIG_FILE."),
    Cause(r"is not divisible by|assert .* % .*tp_size|must be divisible by .*(tp_size|tp-size|TP size)|"
          r"total number of ranks .* should be smaller",
          "The model cannot be split over this number of GPUs: set TENSOR_PARALLEL_SIZE."),
)

# How far a start had come, the latest first: what the line says, and what has a say in what comes next.
STAGES = (
    (r"Capture .*graph begin", "while it captured CUDA graphs (DISABLE_CUDA_GRAPH, CUDA_GRAPH_MAX_BS_DECODE, "
     "ATTENTION_BACKEND)"),
    (r"Memory pool end|KV Cache is allocated", "after it had allocated the KV cache (MEM_FRACTION_STATIC, "
     "ATTENTION_BACKEND, SPECULATIVE_ALGORITHM)"),
    (r"Load weight end", "after it had loaded the weights (MEM_FRACTION_STATIC, MAX_TOTAL_TOKENS, CONTEXT_LENGTH)"),
    (r"Load weight begin", "while it loaded the weights (MODEL_NAME, LOAD_FORMAT, QUANTIZATION, DTYPE)"),
    (r"Init (torch distributed|parallel) begin", "while its processes found each other (TENSOR_PARALLEL_SIZE, DEVICE)"),
    (r"Using default HuggingFace chat template|Loading chat template", "after it had loaded the tokenizer (MODEL_NAME, "
     "DTYPE, QUANTIZATION)"),
    (r"server_args=", "after it had read its settings (MODEL_NAME, TOKENIZER_PATH)"),
)
