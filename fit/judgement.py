"""Whether it fits, and with how many requests at once. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from fit import families, load, splitting, vision
from fit.cache import Cache, cache
from fit.gpus import COUNTS, POOLS, Gpu
from fit.model import FitError, Model
from fit.reserve import IMAGES, Reserve, reserve
from fit.serving import Serving
from fit.weights import parameters, unknown

MOST_REQUESTS = 4096  # resolve_max_num_reqs in srt/mem_cache/kv_cache_configurator.py
LEAST_REQUESTS = 2048


@dataclass(frozen=True)
class Judgement:
    """Bytes are of one GPU unless they say otherwise; tokens and requests of the whole worker.

    context: the longest asked for, or the model's own; served: the longest that the cache holds; requests: how many of
    `context` at once, 0 where none; fits: the server starts and holds at least one request of `context`.
    """

    gpu: Gpu
    count: int
    serving: Serving
    parameters: int
    weight_bytes: int
    token_bytes: float           # of the KV cache
    state_bytes: int             # of one running request, where layers keep a state
    free_bytes: int              # before weights are loaded
    mem_fraction: float
    wanted_fraction: float       # the server's own choice
    reserved_bytes: int          # for activations and CUDA graphs
    cache_bytes: int             # left for the cache; negative where weights alone are too large
    tokens: int                  # max_total_num_tokens, of all copies
    context: int
    served: int
    requests: int
    at_once: int                 # requests of any length at once, as the server limits them
    notes: tuple[str, ...] = ()  # what was not counted
    cache_known: bool = True     # False: tokens and requests are too few by an unknown factor

    @property
    def starts(self) -> bool:
        """Whether the server gets as far as serving anything."""
        return self.tokens > 0 and self.at_once > 0

    @property
    def fits(self) -> bool:
        return self.starts and self.requests > 0

    @property
    def tight(self) -> bool:
        """Whether more is given to weights and cache than the server would itself: it may run out when it works."""
        return self.mem_fraction > self.wanted_fraction + 0.02

    def context_for(self, requests: int) -> int:
        """The longest context of which so many requests fit at once, a multiple of 1,024; 0 where none does."""
        return min(self.context, self.tokens // max(1, requests) // 1024 * 1024)


def judge(config: Mapping[str, Any], gpu: str | Gpu, count: int = 1, serving: Serving | None = None,
          weight_bytes: int | None = None, **flags: Any) -> Judgement:
    """The model of this config.json on `count` GPUs of this pool (or this GPU).

    weight_bytes: of all weights in the files that are loaded, where they are known; `flags`: fields of Serving, in
    place of `serving` or over it. Raises FitError for what cannot be judged.
    """
    if isinstance(gpu, str):
        if gpu not in POOLS:
            raise FitError(f"{gpu} is no pool of RunPod's: choose one of {', '.join(POOLS)}")
        gpu = POOLS[gpu]
    try:
        settled = Serving(**{**vars(serving or Serving()), **flags}).on(count)
    except TypeError as error:
        raise FitError(f"{error}: the keywords are the fields of Serving") from None
    if settled.context_length is not None and settled.context_length < 1:
        raise FitError(f"context_length {settled.context_length} is no context")
    if settled.mem_fraction_static is not None and not 0 < settled.mem_fraction_static < 1:
        raise FitError(f"mem_fraction_static {settled.mem_fraction_static:g} is no share between 0 and 1")
    try:
        return _judged(Model(config), settled, gpu, count, weight_bytes)
    except FitError:
        raise
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        raise FitError(f"this config.json cannot be understood ({type(error).__name__}: {error})") from error


def _judged(model: Model, settled: Serving, gpu: Gpu, count: int, weight_bytes: int | None) -> Judgement:
    free = gpu.free(settled.tp * settled.pp_size)
    kept, costs = reserve(model, settled, gpu), cache(model, settled)
    held = load.weights(model, settled, weight_bytes)
    splitting.check(model, settled)
    left = int(free * kept.fraction) - held - (
        IMAGES if families.multimodal(model, settled.enable_multimodal) else 0)
    context = settled.context_length or model.context
    copies = settled.dp_size
    tokens, sliding, states = _pools(costs, settled, left, context)
    at_once = _at_once(settled, tokens, states, costs, context)
    requests = min(at_once, _of(context, tokens, sliding, costs, settled))
    return Judgement(
        gpu=gpu, count=count, serving=settled, parameters=parameters(model), weight_bytes=held,
        token_bytes=costs.token, state_bytes=costs.state * costs.states, free_bytes=free, mem_fraction=kept.fraction,
        wanted_fraction=_wanted(kept, gpu), reserved_bytes=int(free * (1 - kept.fraction)), cache_bytes=left,
        tokens=tokens * copies, context=context, served=min(context, tokens), requests=requests * copies,
        at_once=at_once * copies, notes=_notes(model, settled),
        cache_known=not families.compressed(model))


def over_pools(config: Mapping[str, Any], pools: Iterable[str] = tuple(POOLS), counts: Iterable[int] = COUNTS,
               least: int = 1, **settings: Any) -> list[Judgement]:
    """On each pool with the fewest GPUs that hold `least` requests, or the most of `counts` where none do.

    `settings` are those of judge(). Raises FitError where no number of GPUs can be judged.
    """
    found = []
    counts = sorted(counts)
    for pool in pools:
        last: Judgement | None = None
        for count in counts:
            try:
                last = judge(config, pool, count, **settings)
            except FitError:
                if count == counts[-1] and last is None:
                    raise
                continue
            if last.fits and last.requests >= least:
                break
        if last:
            found.append(last)
    return found


def _wanted(kept: Reserve, gpu: Gpu) -> float:
    return 1 - kept.wanted / gpu.bytes


def _pools(costs: Cache, serving: Serving, left: int, context: int) -> tuple[int, int, int | None]:
    """(tokens of the cache, tokens of sliding layers, states of requests or None) of one copy."""
    if left <= 0:
        return 0, 0, 0 if costs.state else None
    rest, states = float(left), None
    if costs.state:
        ratio = serving.mamba_full_memory_ratio
        if serving.max_mamba_cache_size:
            states = serving.max_mamba_cache_size // (serving.dp_size if serving.enable_dp_attention else 1)
        elif serving.disable_radix_cache and serving.max_running_requests:
            states = serving.max_running_requests
        else:
            extra = 1 + (serving.speculative_num_draft_tokens or 0) / costs.states
            states = int((rest * ratio / (1 + ratio) - costs.state) // (costs.state * extra))
        rest -= (states + 1) * costs.state
        rest -= states // costs.states * (serving.speculative_num_draft_tokens or 0) * costs.state
    tokens = int(rest // costs.token) if costs.token else context
    if serving.max_total_tokens:
        tokens = min(tokens, serving.max_total_tokens)
    page = max(1, serving.page_size)
    tokens = max(0, tokens // page * page)
    return tokens, int(tokens * costs.ratio) if costs.full else tokens, states


def _at_once(serving: Serving, tokens: int, states: int | None, costs: Cache, context: int) -> int:
    """max_running_requests of one copy."""
    most = max(min(int(tokens / context * 512), MOST_REQUESTS), LEAST_REQUESTS)
    if serving.max_running_requests:
        most = max(1, serving.max_running_requests // (serving.dp_size if serving.enable_dp_attention else 1))
    most = min(most, tokens // 2)
    return min(most, states // costs.states) if states is not None else most


def _of(context: int, tokens: int, sliding: int, costs: Cache, serving: Serving) -> int:
    """How many requests of this context the cache holds."""
    page = max(1, serving.page_size)
    wanted = math.ceil(context / page) * page
    held = tokens // wanted if costs.full else sliding // min(wanted, max(1, costs.window) + page)
    if costs.full and costs.sliding:
        held = min(held, sliding // min(wanted, max(1, costs.window) + page))
    return held


def _notes(model: Model, serving: Serving) -> tuple[str, ...]:
    notes = []
    if families.compressed(model):
        notes.append("the compressed cache of DeepSeek V4 is not known: its tokens are counted as plain ones")
    if missing := unknown(model):
        notes.append(f"config.json does not name {' or '.join(missing)}: the files of the weights are counted, and "
                     "their parameters are more than is said")
    if vision.unknown(model):
        notes.append("the size of its vision or audio tower stands in no usual key: it is not counted")
    if serving.draft is None and (serving.speculative_algorithm or "").upper() in ("EAGLE", "EAGLE3", "STANDALONE",
                                                                                    "DFLASH"):
        notes.append("the draft model's weights are not counted: its config.json is not known")
    return tuple(notes)
