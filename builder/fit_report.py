"""The estimator's answer as text, as a Markdown table and as JSON. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fit import Judgement, words
from fit.gpus import GIB

Prices = Mapping[str, float]  # of one GPU for a second, in US dollars


def hourly(found: Judgement, prices: Prices) -> float | None:
    """US dollars an hour for a worker, None where the pool has no price."""
    price = prices.get(found.gpu.name)
    return None if price is None else price * found.count * 3600


def cheapest(every: Sequence[Judgement], prices: Prices, least: int) -> Judgement | None:
    """Of those that hold `least` requests at once."""
    fitting = [(price, found.count, found) for found in every
               if found.fits and found.requests >= least and (price := hourly(found, prices)) is not None]
    return min(fitting, key=lambda one: one[:2])[2] if fitting else None


def model_lines(found: Judgement, architecture: str, place: str) -> list[str]:
    state = f", {found.state_bytes / 2**20:,.1f} MiB a running request" if found.state_bytes else ""
    return [f"{architecture or 'model'}, {found.parameters / 1e9:,.2f} billion parameters ({place})",
            f"judged with a context of {found.context:,} tokens; KV cache {found.token_bytes / 1024:,.1f} KiB a token "
            f"on each GPU of {found.serving.tp}{state}"]


def one(found: Judgement, config: Mapping[str, Any], weight_bytes: int | None, least: int) -> list[str]:
    """The judgement of one GPU, in detail."""
    answer = "fits" if found.fits and found.requests >= least else (
        f"fits {words.requests(found.requests)} only" if found.fits else "does not fit")
    lines = [f"{found.gpu.name} x {found.count} ({found.gpu.models}): {answer}",
             f"  free before the weights  {found.free_bytes / GIB:8.2f} GiB of each GPU",
             f"  weights                  {found.weight_bytes / GIB:8.2f} GiB",
             f"  activations and graphs   {found.reserved_bytes / GIB:8.2f} GiB (mem_fraction_static "
             f"{found.mem_fraction:.3f})",
             f"  KV cache                 {max(0, found.cache_bytes) / GIB:8.2f} GiB: {found.tokens:,} tokens",
             f"  requests at once         {found.requests:8,d} of {found.context:,} tokens, or {found.at_once:,} "
             f"short ones"]
    lines += [f"  {line}" for line in words.trouble(config, found, weight_bytes)]
    return lines + [f"  not counted: {note}" for note in found.notes]


def table(every: Sequence[Judgement], prices: Prices, least: int) -> list[str]:
    """One row a pool, as Markdown."""
    lines = ["| pool | GPUs | memory | weights | cache | tokens | requests | USD/h |  |", "|" + "---|" * 9]
    for found in every:
        price = hourly(found, prices)
        good = found.fits and found.requests >= least
        lines.append(f"| {found.gpu.name} | {found.count} | {found.gpu.bytes / GIB:.1f} | "
                     f"{found.weight_bytes / GIB:.1f} | {max(0, found.cache_bytes) / GIB:.1f} | {found.tokens:,} | "
                     f"{found.requests:,} | {'-' if price is None else f'{price:.2f}'} | "
                     f"{'fits' if good else 'too little' if found.starts else 'no'} |")
    return lines


def as_json(found: Judgement, prices: Prices, least: int) -> dict[str, Any]:
    price = hourly(found, prices)
    return {"pool": found.gpu.name, "gpus": found.count, "fits": found.fits and found.requests >= least,
            "gpu_bytes": found.gpu.bytes, "free_bytes": found.free_bytes, "weight_bytes": found.weight_bytes,
            "kv_bytes_per_token": found.token_bytes, "state_bytes_per_request": found.state_bytes,
            "mem_fraction_static": round(found.mem_fraction, 4), "reserved_bytes": found.reserved_bytes,
            "cache_bytes": found.cache_bytes, "max_total_num_tokens": found.tokens, "context": found.context,
            "served_context": found.served, "requests": found.requests, "max_running_requests": found.at_once,
            "tensor_parallel_size": found.serving.tp,
            "usd_per_hour": None if price is None else round(price, 4), "not_counted": list(found.notes)}
