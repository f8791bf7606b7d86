"""Numbers that SGLang takes from its command line and then fails or hangs on, or divides by. Pure.

Found by starting SGLang 0.5.23 with them: 0 tokens of context or KV cache end it after the weights are loaded,
a prefill of 0 tokens lets it wait for ever at its first request.
"""

from __future__ import annotations

AT_LEAST_ONE = frozenset((
    "--attn-cp-size", "--attn-dp-size", "--batch-notify-size", "--context-length", "--dcp-size",
    "--decode-log-interval", "--detokenizer-worker-num", "--dist-timeout", "--ep-size", "--gpu-id-step",
    "--max-loaded-loras", "--max-lora-rank", "--max-loras-per-batch", "--max-prefill-tokens",
    "--max-queued-requests", "--max-total-tokens", "--moe-dp-size", "--nnodes", "--num-continuous-decode-steps",
    "--page-size", "--pp-size", "--prefill-max-requests", "--scheduler-recv-interval", "--stream-interval",
    "--tokenizer-worker-num", "--tp-size", "--triton-attention-num-kv-splits",
))
NOT_NEGATIVE = frozenset(("--base-gpu-id", "--dp-size", "--max-running-requests", "--node-rank", "--random-seed"))
_SHARE = "--mem-fraction-static"
_PIECES = "--chunked-prefill-size"


def out_of_bounds(flag: str, text: str) -> str | None:
    """What is allowed instead of `text`, a number of the flag's type; None when it may pass."""
    try:
        value = float(text)
    except ValueError:  # a size with a suffix: never 0 by accident
        return "must be at least 1" if flag in AT_LEAST_ONE and text.rstrip("kKMGTi").strip("0.") == "" else None
    if flag in AT_LEAST_ONE and value < 1:
        return "must be at least 1; leave it out for SGLang's own choice"
    if flag in NOT_NEGATIVE and value < 0:
        return "must be at least 0"
    if flag == _SHARE and not 0 < value <= 1:
        return "must be above 0 and at most 1, a share of the GPU's memory"
    if flag == _PIECES and value != -1 and value < 1:
        return "must be at least 1, or -1 for prompts in one piece"
    return None
