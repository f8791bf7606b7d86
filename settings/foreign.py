"""Variables of other workers and servers: what they are called here. Pure.

Used where the meaning is the same and the worker's own variable is unset; otherwise one line names the own one.
The names are those of RunPod's vLLM worker, vLLM, TGI, TEI, Infinity, llama.cpp and Hugging Face's tools.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import NamedTuple

from settings.flags.values import Notice, boolean


class Same(NamedTuple):
    """name: the own variable; turned: the text in its spelling, as it is where None. Raises ValueError."""

    name: str
    turned: Callable[[str], str] | None = None


class Other(NamedTuple):
    """Not the same: what to set instead, or why nothing is needed."""

    advice: str


def _adapters(text: str) -> str:
    """worker-vllm's LORA_MODULES, one JSON object with name and path or a list of them, as LORA_PATHS."""
    listed = json.loads(text)
    modules = listed if isinstance(listed, list) else [listed]
    if not all(isinstance(module, dict) and {"name", "path"} <= module.keys() for module in modules):
        raise ValueError("no list of objects with name and path")
    return json.dumps([{"lora_name": str(module["name"]), "lora_path": str(module["path"])} for module in modules])


def _switch(text: str) -> str:
    truth = boolean(text)
    if truth is None:
        raise ValueError("neither true nor false")
    return "true" if truth else "false"


def _opposite(text: str) -> str:
    return "false" if _switch(text) == "true" else "true"


_MODEL, _REVISION, _CONTEXT = Same("MODEL_NAME"), Same("MODEL_REVISION"), Same("CONTEXT_LENGTH")
_TOKENIZER, _TENSOR, _TOKEN = Same("TOKENIZER_PATH"), Same("TENSOR_PARALLEL_SIZE"), Same("HF_TOKEN")
_REQUESTS = Same("MAX_RUNNING_REQUESTS")
_BATCHED = Other("the worker joins the chunks of its streams by itself (STREAM_POSTS_PER_SECOND)")
_WITHOUT_RAY = Other("SGLang runs a process for each GPU by itself, without Ray")
_TOKENIZERS = Other("set TOKENIZER_WORKER_NUM for several processes that tokenize")
_ACCEPTANCE = Other("set SPECULATIVE_ACCEPT_THRESHOLD_SINGLE and SPECULATIVE_ACCEPT_THRESHOLD_ACC")
_NO_PROMPT_ADAPTERS = Other("SGLang has no prompt adapters, only LORA_PATHS")
_PREEMPTION = Other("SGLang computes again by itself what it had to give up; SCHEDULE_CONSERVATIVENESS makes it rare")
_NOT_LOGGED = Other("requests are not logged unless LOG_REQUESTS is set")
_GRAPHS = Other("set CUDA_GRAPH_MAX_BS_DECODE; graphs are limited by requests, not by length")
_EMBEDS = Other("a model that is to embed needs IS_EMBEDDING=true")
FOREIGN: dict[str, Same | Other] = {
    "MODEL_ID": _MODEL, "HF_MODEL": _MODEL, "HF_MODEL_ID": _MODEL, "HF_MODEL_NAME": _MODEL, "MODEL_REPO": _MODEL,
    "MODEL_REPO_ID": _MODEL, "MODEL_NAME_OR_PATH": _MODEL, "LOCAL_MODEL_PATH": _MODEL,
    "HUGGINGFACE_MODEL": _MODEL, "VLLM_MODEL": _MODEL,
    "HF_REVISION": _REVISION, "HF_MODEL_REVISION": _REVISION,
    "TOKENIZER": _TOKENIZER, "TOKENIZER_NAME": _TOKENIZER,
    "MAX_MODEL_LEN": _CONTEXT, "MAX_MODEL_LENGTH": _CONTEXT, "MAX_CONTEXT_LEN": _CONTEXT,
    "MAX_CONTEXT_LENGTH": _CONTEXT, "CONTEXT_LEN": _CONTEXT, "CONTEXT_SIZE": _CONTEXT, "CTX_SIZE": _CONTEXT,
    "N_CTX": _CONTEXT, "LLAMA_ARG_CTX_SIZE": _CONTEXT, "OLLAMA_CONTEXT_LENGTH": _CONTEXT,
    "OPENAI_SERVED_MODEL_NAME_OVERRIDE": Same("SERVED_MODEL_NAME"),
    "MAX_NUM_SEQS": _REQUESTS, "MAX_CONCURRENT_REQUESTS": _REQUESTS,
    "TENSOR_PARALLEL": _TENSOR, "TENSOR_PARALLELISM": _TENSOR, "TP": _TENSOR, "NUM_SHARD": _TENSOR,
    "PIPELINE_PARALLEL": Same("PIPELINE_PARALLEL_SIZE"), "DATA_PARALLEL": Same("DATA_PARALLEL_SIZE"),
    "LORA_MODULES": Same("LORA_PATHS", _adapters), "LORA_ADAPTERS": Same("LORA_PATHS"),
    "CUSTOM_CHAT_TEMPLATE": Same("CHAT_TEMPLATE"), "SEED": Same("RANDOM_SEED"),
    "ENFORCE_EAGER": Same("DISABLE_CUDA_GRAPH", _switch),
    "ENABLE_PREFIX_CACHING": Same("DISABLE_RADIX_CACHE", _opposite),
    "HF_OVERRIDES": Same("JSON_MODEL_OVERRIDE_ARGS"),
    "ASYNC_SCHEDULING": Same("DISABLE_OVERLAP_SCHEDULE", _opposite),
    "ENABLE_PROMPT_TOKENS_DETAILS": Same("ENABLE_CACHE_REPORT", _switch),
    "ENABLE_FORCE_INCLUDE_USAGE": Same("STREAM_RESPONSE_DEFAULT_INCLUDE_USAGE", _switch),
    "ENABLE_LOG_REQUESTS": Same("LOG_REQUESTS", _switch),
    "VLLM_PORT": Same("SGLANG_PORT"), "VLLM_STARTUP_TIMEOUT": Same("SGLANG_STARTUP_TIMEOUT"),
    "STREAM_READ_TIMEOUT": Same("ENGINE_IDLE_TIMEOUT"),
    "NSA_PREFILL_BACKEND": Same("DSA_PREFILL_BACKEND"), "NSA_DECODE_BACKEND": Same("DSA_DECODE_BACKEND"),
    "HUGGING_FACE_HUB_TOKEN": _TOKEN, "HUGGINGFACE_HUB_TOKEN": _TOKEN, "HUGGINGFACE_TOKEN": _TOKEN,
    "HUGGING_FACE_TOKEN": _TOKEN, "HUGGINGFACEHUB_API_TOKEN": _TOKEN, "HF_API_TOKEN": _TOKEN, "HF_HUB_TOKEN": _TOKEN,
    "HF_AUTH_TOKEN": _TOKEN, "HF_ACCESS_TOKEN": _TOKEN,
    "GPU_MEMORY_UTILIZATION": Other("set MEM_FRACTION_STATIC, the share for weights and KV cache alone, where SGLang's "
                                    "own choice does not fit"),
    "MAX_NUM_BATCHED_TOKENS": Other("set CHUNKED_PREFILL_SIZE or MAX_PREFILL_TOKENS"),
    "MAX_BATCH_PREFILL_TOKENS": Other("set MAX_PREFILL_TOKENS"),
    "MAX_INPUT_LENGTH": Other("set CONTEXT_LENGTH, for prompt and answer together"),
    "MAX_INPUT_TOKENS": Other("set CONTEXT_LENGTH, for prompt and answer together"),
    "QUANTIZE": Other("set QUANTIZATION, where the model does not say it itself"),
    "BLOCK_SIZE": Other("set PAGE_SIZE"),
    "GUIDED_DECODING_BACKEND": Other("set GRAMMAR_BACKEND"),
    "LIMIT_MM_PER_PROMPT": Other("set LIMIT_MM_DATA_PER_REQUEST, as a JSON object"),
    "ROPE_SCALING": Other("set JSON_MODEL_OVERRIDE_ARGS, with rope_scaling in it"),
    "ROPE_THETA": Other("set JSON_MODEL_OVERRIDE_ARGS, with rope_theta in it"),
    "SPECULATIVE_CONFIG": Other("set SPECULATIVE_ALGORITHM and the variables that begin with SPECULATIVE_"),
    "SPECULATIVE_MODEL": Other("set SPECULATIVE_DRAFT_MODEL_PATH, and SPECULATIVE_ALGORITHM with it"),
    "NUM_SPECULATIVE_TOKENS": Other("set SPECULATIVE_NUM_STEPS"),
    "MAX_LORAS": Other("set MAX_LORAS_PER_BATCH, which counts the model without an adapter as one"),
    "MAX_CPU_LORAS": Other("set MAX_LOADED_LORAS"),
    "ENABLE_EXPERT_PARALLEL": Other("set EP_SIZE"),
    "ENABLE_AUTO_TOOL_CHOICE": Other("tools need TOOL_CALL_PARSER alone"),
    "ENABLE_REASONING": Other("reasoning needs REASONING_PARSER alone"),
    "RAW_OPENAI_OUTPUT": Other("streams on the OpenAI route always are what an OpenAI client reads"),
    "DEFAULT_BATCH_SIZE": _BATCHED, "DEFAULT_MIN_BATCH_SIZE": _BATCHED, "DEFAULT_BATCH_SIZE_GROWTH_FACTOR": _BATCHED,
    "ALLOWED_LOCAL_MEDIA_PATH": Other("set ALLOWED_MEDIA_FOLDERS"),
    "SWAP_SPACE": Other("SGLang has no swap space; HICACHE_SIZE keeps more of the KV cache"),
    "CPU_OFFLOAD_SPACE": Other("set CPU_OFFLOAD_GB"),
    "CUDA_MEMORY_FRACTION": Other("set MEM_FRACTION_STATIC, the share for weights and KV cache alone"),
    "MEM_FRACTION": Other("set MEM_FRACTION_STATIC"),
    "MAX_BATCH_SIZE": Other("set MAX_RUNNING_REQUESTS for jobs at once, MAX_BATCH for prompts of one job"),
    "MAX_BATCH_TOTAL_TOKENS": Other("set MAX_TOTAL_TOKENS, where SGLang's own choice does not fit"),
    "NUM_GPU_BLOCKS_OVERRIDE": Other("set MAX_TOTAL_TOKENS, which counts tokens and no blocks"),
    "ENABLE_CHUNKED_PREFILL": Other("prefill is chunked; a CHUNKED_PREFILL_SIZE of -1 turns that off"),
    "MAX_SEQ_LEN_TO_CAPTURE": _GRAPHS, "MAX_CONTEXT_LEN_TO_CAPTURE": _GRAPHS,
    "CUDA_GRAPHS": Other("set CUDA_GRAPH_BS_DECODE"), "CUDA_GRAPH_SIZES": Other("set CUDA_GRAPH_BS_DECODE"),
    "COMPILATION_CONFIG": Other("set ENABLE_TORCH_COMPILE or CUDA_GRAPH_BS_DECODE"),
    "GENERATION_CONFIG": Other("set SAMPLING_DEFAULTS to model or openai"),
    "OVERRIDE_GENERATION_CONFIG": Other("set PREFERRED_SAMPLING_PARAMS, as a JSON object"),
    "MM_PROCESSOR_KWARGS": Other("set MM_PROCESS_CONFIG, as a JSON object"),
    "TASK": _EMBEDS, "RUNNER": _EMBEDS, "CONVERT": _EMBEDS,
    "VLLM_API_KEY": Other("over HTTP callers need WORKER_API_KEY; on RunPod's queue the platform asks for its own key"),
    "BASE_PATH": Other("a model on a network volume is found there by itself; DOWNLOAD_DIR is another place for "
                       "downloads"),
    "DISABLE_LOG_REQUESTS": _NOT_LOGGED, "DISABLE_LOGGING_REQUEST": _NOT_LOGGED,
    "ENABLE_LOG_OUTPUTS": Other("set LOG_REQUESTS, and LOG_REQUESTS_LEVEL for how much of them"),
    "MAX_LOG_LEN": Other("set LOG_REQUESTS_LEVEL, where LOG_REQUESTS is set"),
    "DISABLE_LOG_STATS": Other("set DECODE_LOG_INTERVAL, or LOG_LEVEL=warning, for a quieter server"),
    "LOG_ERROR_STACK": Other("answers carry no traces; the server's are in the log"),
    "DISTRIBUTED_EXECUTOR_BACKEND": _WITHOUT_RAY, "WORKER_USE_RAY": _WITHOUT_RAY,
    "RAY_WORKERS_USE_NSIGHT": _WITHOUT_RAY,
    "MAX_PARALLEL_LOADING_WORKERS": Other("weights are read ahead by the worker (READ_AHEAD), in parts"),
    "DISABLE_SLIDING_WINDOW": Other("set CONTEXT_LENGTH to the window's length"),
    "USE_V2_BLOCK_MANAGER": Other("SGLang has one way to keep its cache"),
    "NUM_LOOKAHEAD_SLOTS": Other("speculative decoding makes room for its tokens by itself"),
    "MAX_LOGPROBS": Other("a request may ask for the log-probabilities of as many tokens as there are"),
    "TOKENIZER_POOL_SIZE": _TOKENIZERS, "TOKENIZER_POOL_TYPE": _TOKENIZERS, "TOKENIZER_POOL_EXTRA_CONFIG": _TOKENIZERS,
    "LORA_EXTRA_VOCAB_SIZE": Other("what an adapter adds to the vocabulary is read from it"),
    "LORA_DTYPE": Other("adapters are computed in the model's DTYPE"),
    "LONG_LORA_SCALING_FACTORS": Other("SGLang has no adapters of that kind"),
    "FULLY_SHARDED_LORAS": Other("adapters are split over GPUs as the model's layers are"),
    "QLORA_ADAPTER_NAME_OR_PATH": Other("set LORA_PATHS"),
    "ENABLE_PROMPT_ADAPTER": _NO_PROMPT_ADAPTERS, "MAX_PROMPT_ADAPTERS": _NO_PROMPT_ADAPTERS,
    "MAX_PROMPT_ADAPTER_TOKEN": _NO_PROMPT_ADAPTERS,
    "SCHEDULER_DELAY_FACTOR": Other("requests are scheduled without a delay"),
    "SCHEDULING_POLICY": Other("set SCHEDULE_POLICY, and ENABLE_PRIORITY_SCHEDULING for priorities"),
    "PREEMPTION_MODE": _PREEMPTION, "PREEMPTION_CHECK_PERIOD": _PREEMPTION, "PREEMPTION_CPU_CAPACITY": _PREEMPTION,
    "SPECULATIVE_METHOD": Other("set SPECULATIVE_ALGORITHM"),
    "SPECULATIVE_DRAFT_TENSOR_PARALLEL_SIZE": Other("a draft model is split as the model is"),
    "SPECULATIVE_MAX_MODEL_LEN": Other("a draft model has the context of the model (CONTEXT_LENGTH)"),
    "SPECULATIVE_DISABLE_BY_BATCH_SIZE": Other("set SPECULATIVE_ADAPTIVE to draft less under load"),
    "NGRAM_PROMPT_LOOKUP_MAX": Other("set SPECULATIVE_NGRAM_MAX_TRIE_DEPTH"),
    "NGRAM_PROMPT_LOOKUP_MIN": Other("matches of any length count (SPECULATIVE_NGRAM_MAX_TRIE_DEPTH)"),
    "SPEC_DECODING_ACCEPTANCE_METHOD": _ACCEPTANCE, "TYPICAL_ACCEPTANCE_SAMPLER_POSTERIOR_THRESHOLD": _ACCEPTANCE,
    "TYPICAL_ACCEPTANCE_SAMPLER_POSTERIOR_ALPHA": _ACCEPTANCE,
    "DISABLE_LOGPROBS_DURING_SPEC_DECODING": Other("a request asks for log-probabilities itself"),
    "VLLM_ATTENTION_BACKEND": Other("set ATTENTION_BACKEND, whose values are SGLang's"),
    "STRUCTURED_OUTPUTS_CONFIG": Other("set GRAMMAR_BACKEND or CONSTRAINED_JSON_DISABLE_ANY_WHITESPACE"),
    "RETURN_TOKENS_AS_TOKEN_IDS": Other("a request asks for token ids itself"),
    "EXCLUDE_TOOLS_WHEN_TOOL_CHOICE_NONE": Other("with a tool_choice of none the prompt has no tools"),
    "CODE_REVISION": Other("a model's own code is read at MODEL_REVISION, as the rest of it"),
    "IGNORE_PATTERNS": Other("LOAD_FORMAT decides which weights are downloaded"),
    "KV_TRANSFER_CONFIG": Other("set ENABLE_HIERARCHICAL_CACHE for a cache beyond the GPU's memory"),
    "VLLM_EXTRA_ARGS": Other("its options are vLLM's: set SGLANG_EXTRA_ARGS, or each as its own variable"),
    "VLLM_CONFIG_FILE": Other("its options are vLLM's: set SGLANG_CONFIG_FILE to a file of SGLang's"),
    "TRANSFORMERS_VERSION": Other("the image has the version that its SGLang is made for"),
    "ENABLE_OVERLAP": Other("overlap is on unless DISABLE_OVERLAP_SCHEDULE is set"),
    "OPENAI_RESPONSE_ROLE": Other("answers have the role assistant"),
    "RESPONSE_ROLE": Other("answers have the role assistant"),
    "MODEL_NAMES": Other("set MODEL_NAME; one worker serves one model"),
}


def translated(environ: Mapping[str, str], own: Mapping[str, str]) -> tuple[dict[str, str], list[Notice]]:
    """({own variable: its text, from another worker's}, notices).

    own: {variable: what it sets} of this worker, two names of the same value alike.
    """
    texts: dict[str, str] = {}
    notices: list[Notice] = []
    taken = {own.get(name, name): name for name in environ if environ[name].strip()}
    for name, means in FOREIGN.items():
        text = environ.get(name, "").strip()
        if not text or name in own:
            continue
        if isinstance(means, Other):
            notices.append(("warn", f"{name} is not read: {means.advice}"))
            continue
        other = taken.get(own.get(means.name, means.name))
        if other is not None:
            # Two variables of one token, say, are no news.
            if environ.get(other, "").strip() != text and texts.get(other) != text:
                notices.append(("warn", f"{name} is not read, as {other} is set"))
            continue
        try:
            texts[means.name] = means.turned(text) if means.turned else text
        except (ValueError, RecursionError) as error:
            notices.append(("warn", f"{name} is not read ({error}): set {means.name}"))
            continue
        taken[own.get(means.name, means.name)] = means.name
        notices.append(("info", f"{name} is read as {means.name}"))
    return texts, notices
