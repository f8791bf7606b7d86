"""What the scripted engine says of itself: SGLang's /model_info, /server_info and /v1/loads."""

from __future__ import annotations

import argparse
import time

from local.scripted_state import Engine

VERSION = "0.5.23"
CACHE_TOKENS = 16384


def model_info(options: argparse.Namespace, engine: Engine) -> dict:
    parser = "qwen" if options.tool_call_parser == "auto" else options.tool_call_parser
    return {"model_path": options.model_path, "served_model_name": engine.model,
            "tokenizer_path": options.model_path, "is_generation": not options.is_embedding,
            "preferred_sampling_params": None, "weight_version": "default", "load_format": "auto",
            "reasoning_parser": options.reasoning_parser, "tool_call_parser": parser, "disaggregation_mode": "null",
            "has_image_understanding": options.enable_multimodal,
            "has_audio_understanding": options.enable_multimodal,
            "model_type": "qwen3", "architectures": ["Qwen3ForCausalLM"]}


def server_info(options: argparse.Namespace, engine: Engine, startup_time: float) -> dict:
    """As the server: the flags at the top, and per data-parallel rank in `internal_states` the flags again with the
    resolved `effective_max_running_requests_per_dp`."""
    flags = {"model_path": options.model_path, "served_model_name": engine.model, "host": options.host,
             "port": options.port, "max_running_requests": options.max_running_requests,
             "max_queued_requests": options.max_queued_requests, "tp_size": 1, "dp_size": options.dp_size,
             "context_length": options.context_length, "is_embedding": options.is_embedding}
    rank = flags | {"effective_max_running_requests_per_dp": options.max_running_requests,
                    "last_gen_throughput": 0.0, "world_size": 1}
    return flags | {
        "status": "ready", "max_total_num_tokens": CACHE_TOKENS, "max_req_input_len": options.context_length - 6,
        "startup_time": startup_time, "internal_states": [rank] * options.dp_size, "version": VERSION,
        "frontend": "python"}


def loads(options: argparse.Namespace, engine: Engine) -> dict:
    """/v1/loads?include=core: the tokens in use are those of what runs; the first rank has it all."""
    running = [record for record in engine.records if record.state in ("running", "hanging")]
    waiting = sum(record.state == "queued" for record in engine.records)
    used = min(CACHE_TOKENS, sum(len(record.prompt.encode()) + record.tokens for record in running))
    idle = {"timestamp": time.time(), "num_running_reqs": 0, "num_waiting_reqs": 0, "num_used_tokens": 0,
            "max_total_num_tokens": CACHE_TOKENS, "max_running_requests": options.max_running_requests,
            "token_usage": 0.0, "gen_throughput": 0.0}
    ranks = [idle | {"dp_rank": rank} for rank in range(options.dp_size)]
    ranks[0] |= {"num_running_reqs": len(running), "num_waiting_reqs": waiting, "num_used_tokens": used,
                 "token_usage": round(used / CACHE_TOKENS, 4), "gen_throughput": 30.0 * len(running)}
    return {"timestamp": "2026-01-01T00:00:00+00:00", "version": VERSION, "accelerator": None, "num_accelerators": 1,
            "loads": ranks}
