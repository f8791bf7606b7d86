"""What to change so that it fits, each tried by the same arithmetic. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from fit import quantization
from fit.gpus import COUNTS
from fit.judgement import Judgement, judge
from fit.model import FitError, Model

# Below this a context is hardly one.
_SHORTEST = 1024
# 8-bit floats need compute capability 8.9 for the cache; weights in them are unpacked by kernels on 8.0 too.
_FLOAT8 = (8, 9)


class Remedy(NamedTuple):
    """A variable of the worker's and a value with which `found` holds; variable "" is the endpoint's number of GPUs."""

    variable: str
    value: str
    found: Judgement

    def __str__(self) -> str:
        what = f"{self.variable}={self.value}" if self.variable else f"{self.value} GPUs a worker"
        found = self.found
        if found.serving.context_length and self.variable == "CONTEXT_LENGTH":
            return f"{what} ({requests(found.requests)} at once)"
        if not found.requests:
            return f"{what} (with CONTEXT_LENGTH={found.context_for(1)} at most)"
        return f"{what} ({requests(found.requests)} of {found.context:,} tokens at once)"


def requests(count: int) -> str:
    return f"{count} request{'' if count == 1 else 's'}"


def remedies(config: Mapping[str, Any], now: Judgement, least: int = 1,
             weight_bytes: int | None = None) -> list[Remedy]:
    """Single changes after which at least `least` requests of the context fit, the least costly first.

    With 0 a part of the context will do, if only the server starts.
    """
    found = []
    for variable, value, count, changes in _changes(config, now, least):
        try:
            then = judge(config, now.gpu, count, now.serving, weight_bytes, **changes)
        except FitError:
            continue
        enough = then.fits if least else then.starts and then.context_for(1) >= _SHORTEST
        if enough and then.requests >= least and (now.tight or not then.tight):
            found.append(Remedy(variable, value, then))
            if not variable:
                break  # more GPUs than do are no other remedy
    return found


def _changes(config: Mapping[str, Any], now: Judgement, least: int
             ) -> Iterator[tuple[str, str, int, dict[str, Any]]]:
    serving, capability = now.serving, now.gpu.capability
    model = Model(config)
    if least and _SHORTEST <= (shorter := now.context_for(least)) < now.context:
        yield "CONTEXT_LENGTH", str(shorter), now.count, {"context_length": shorter}
    if serving.kv_cache_dtype == "auto" and capability >= _FLOAT8 and not model.latent:
        yield "KV_CACHE_DTYPE", "fp8_e4m3", now.count, {"kv_cache_dtype": "fp8_e4m3"}
    if serving.mem_fraction_static is not None and serving.mem_fraction_static < now.wanted_fraction:
        yield "MEM_FRACTION_STATIC", f"{now.wanted_fraction:.2f}", now.count, {"mem_fraction_static": None}
    if serving.mem_fraction_static is None and (serving.chunked_prefill_size or 8192) > 2048:
        yield "CHUNKED_PREFILL_SIZE", "2048", now.count, {"chunked_prefill_size": 2048}
    whole = serving.chunked_prefill_size is not None and serving.chunked_prefill_size <= 0  # prompts in one piece
    if serving.mem_fraction_static is None and whole and now.context < serving.max_prefill_tokens:
        yield "MAX_PREFILL_TOKENS", str(now.context), now.count, {"max_prefill_tokens": now.context}
    if not quantization.method(model, serving.quantization).name:
        yield "QUANTIZATION", "fp8", now.count, {"quantization": "fp8"}
    for count in COUNTS:
        if count > now.count and count % now.count == 0:
            yield "", str(count), count, {"tp_size": serving.tp * count // now.count}
