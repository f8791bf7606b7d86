"""How the server is to be started, as far as it costs memory: fields named after SGLang's flags. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

from fit.model import FitError


@dataclass(frozen=True)
class Serving:
    """None is SGLang's own choice. Sizes in tokens, requests or GPUs.

    draft: the config.json of a draft model; draft_bytes: of its weights, where they are known.
    """

    tp_size: int | None = None
    pp_size: int = 1
    dp_size: int = 1
    ep_size: int = 1
    enable_dp_attention: bool = False
    context_length: int | None = None
    enable_multimodal: bool = False
    dtype: str = "auto"
    quantization: str | None = None
    kv_cache_dtype: str = "auto"
    mem_fraction_static: float | None = None
    max_total_tokens: int | None = None
    max_running_requests: int | None = None
    chunked_prefill_size: int | None = None
    max_prefill_tokens: int = 16384
    page_size: int = 1
    cuda_graph_max_bs: int | None = None
    disable_cuda_graph: bool = False
    disable_prefill_cuda_graph: bool = False
    disable_radix_cache: bool = False
    disable_overlap_schedule: bool = False
    disable_hybrid_swa_memory: bool = False
    swa_full_tokens_ratio: float | None = None
    mamba_full_memory_ratio: float = 0.9
    max_mamba_cache_size: int | None = None
    mamba_ssm_dtype: str | None = None
    speculative_algorithm: str | None = None
    speculative_num_draft_tokens: int | None = None
    max_lora_rank: int = 0
    max_loras_per_batch: int = 8
    cpu_offload_gb: int = 0
    draft: Mapping[str, Any] | None = None
    draft_bytes: int | None = None

    def on(self, count: int) -> Serving:
        """With tp_size settled for `count` GPUs, as the worker does it: all of them, divided by the other two sizes.

        Raises FitError where the sizes do not come out.
        """
        if min(self.pp_size, self.dp_size, self.ep_size) < 1:
            raise FitError("pp_size, dp_size and ep_size must be at least 1")
        others = self.pp_size * (1 if self.enable_dp_attention else self.dp_size)
        tp = self.tp_size or max(1, count // others)
        if count < 1 or tp < 1:
            raise FitError("there must be at least one GPU")
        if tp * others > count:
            raise FitError(f"tp_size {tp} x {others} other ranks want {tp * others} GPUs, and there are {count}")
        return replace(self, tp_size=tp)

    def drafting(self, draft: Mapping[str, Any] | None, draft_bytes: int | None) -> Serving:
        """With a draft model, by its config.json and the bytes of its weights."""
        return replace(self, draft=draft, draft_bytes=draft_bytes,
                       speculative_algorithm=self.speculative_algorithm or "STANDALONE")

    def _by_groups(self, flags: Mapping[str, Any]) -> Serving:
        """With --attn-dp-size by the older pair of flags, which the server turns into it (parallel_hook.py)."""
        groups = _whole(flags.get("--attn-dp-size", flags.get("--attention-data-parallel-size")) or 1)
        if groups < 2:
            return self
        if self.dp_size > 1 and not self.enable_dp_attention:
            raise FitError("attn_dp_size and dp_size do not go together")
        return replace(self, enable_dp_attention=True, dp_size=groups)

    @property
    def tp(self) -> int:
        return self.tp_size or 1

    @property
    def attention_tp(self) -> int:
        """Ranks that share out the attention of one request."""
        return max(1, self.tp // self.dp_size) if self.enable_dp_attention else self.tp


# With these a GPU holds more or less of the weights or of the cache by rules that are not known here.
_UNKNOWN = ("--attn-cp-size", "--dcp-size", "--decode-context-parallel-size", "--attention-context-parallel-size",
            "--moe-dp-size", "--moe-data-parallel-size", "--dwdp-size", "--moe-dense-tp-size", "--moe-a2a-backend",
            "--ep-num-redundant-experts", "--kt-weight-path", "--enable-paged-experts", "--offload-group-size",
            "--nnodes", "--elastic-ep-backend", "--language-only", "--enable-unified-memory", "--enable-hisparse",
            "--weight-cache-mode")
_MEANS_NOTHING = ("", "0", "1", "-1", "none", "off", "false", "no")
# Flags whose name differs from the field that they fill.
_ALIASES = {"cuda_graph_max_bs_decode": "cuda_graph_max_bs", "quantization_method": "quantization",
            "expert_parallel_size": "ep_size"}


def from_flags(flags: Mapping[str, Any]) -> Serving:
    """Of `{"--context-length": "16k" | 16384, "--disable-cuda-graph": True, …}`; flags of no matter are left out.

    Raises FitError for a value that is no number, and for a mode whose memory is not known.
    """
    for flag in _UNKNOWN:
        if flags.get(flag) is True or str(flags.get(flag) or "").strip().lower() not in _MEANS_NOTHING:
            raise FitError(f"what a GPU holds with {flag} is not known")
    readers: dict[str, Callable[[Any], Any]] = {}
    for field in fields(Serving):
        kind = str(field.type)
        readers[field.name] = (_truth if kind == "bool" else _whole if kind.startswith("int") else
                               float if kind.startswith("float") else str)
    values = {}
    for flag, value in flags.items():
        name = flag.lstrip("-").replace("-", "_")
        name = _ALIASES.get(name, name)
        if name in readers and name not in ("draft", "draft_bytes") and value is not None:
            try:
                values[name] = readers[name](value)
            except (TypeError, ValueError):
                raise FitError(f"{flag} {value!r} is no number") from None
    return Serving(**values)._by_groups(flags)


def from_words(words: Sequence[str]) -> Serving:
    """Of a command line: `["--context-length", "16k", "--tp-size=2", "--disable-cuda-graph"]`."""
    flags: dict[str, Any] = {}
    for word in words:
        name, equals, value = word.partition("=")
        if word.startswith("--"):
            flags[name] = value if equals else True
        elif flags and flags[last := next(reversed(flags))] is True:
            flags[last] = word
    return from_flags(flags)


def _truth(value: Any) -> bool:
    return value if isinstance(value, bool) else str(value).strip().lower() in ("", "1", "true", "yes", "on")


_UNITS = {"k": 10 ** 3, "M": 10 ** 6, "G": 10 ** 9, "T": 10 ** 12, "Ki": 1 << 10, "Mi": 1 << 20, "Gi": 1 << 30,
          "Ti": 1 << 40}


def _whole(value: Any) -> int:
    """With a suffix as SGLang reads it (human_readable_int in srt/utils/common.py)."""
    text = str(value).strip()
    for suffix, unit in _UNITS.items():
        if text.endswith(suffix):
            return int(float(text.removesuffix(suffix)) * unit)
    return int(text)
