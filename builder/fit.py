"""Which GPU a model fits, and with how many requests at once.

    python -m builder.fit Qwen/Qwen3-8B --context 16k
    python -m builder.fit /models/mine --gpu ADA_48_PRO --count 2 --quantization fp8 --requests 8
    python -m builder.fit config.json --flags='--kv-cache-dtype fp8_e4m3 --chunked-prefill-size 2048' --json

MODEL is a folder, a config.json, or a repository that is in the hub's cache; another is looked up on the hub where
huggingface_hub is installed. Weights count by the files where a folder has them, else by the shapes in config.json.
Sizes are GiB; docs/fitting.md says how they are reckoned. Exit status: 0 when a pool fits (the one of --gpu, or any),
1 when none does, 2 when there is nothing to judge.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import sys
from pathlib import Path
from typing import Any

from builder import fit_report, fit_sources
from fit import POOLS, FitError, Judgement, Model, Serving, judge, over_pools, serving, words
from fit.gpus import COUNTS

PRICES = Path(__file__).with_name("prices.json")

# Options of the estimator's own and the flag of SGLang that each stands for.
_FLAGS = {
    "context": ("--context-length", "the longest prompt and answer together, in tokens; the model's own if not given"),
    "quantization": ("--quantization", "a method of SGLang's, such as fp8 or awq"),
    "dtype": ("--dtype", "auto, bfloat16, float16 or float32"),
    "kv-cache-dtype": ("--kv-cache-dtype", "auto, fp8_e4m3, nvfp4, …"),
    "mem-fraction": ("--mem-fraction-static", "the share for weights and cache; SGLang's own choice if not given"),
    "tp": ("--tp-size", "tensor parallel size; all GPUs if not given"),
    "pp": ("--pp-size", "pipeline parallel size"),
    "dp": ("--dp-size", "copies of the model"),
    "max-running-requests": ("--max-running-requests", "requests that run at once"),
    "speculative-algorithm": ("--speculative-algorithm", "EAGLE3, NEXTN, STANDALONE, …"),
    "lora-rank": ("--max-lora-rank", "the largest rank of adapters, where they are served"),
}


def arguments(argv: list[str] | None) -> argparse.Namespace:
    p = argparse.ArgumentParser(prog="python -m builder.fit", description=__doc__.split("\n")[0])
    p.add_argument("model", metavar="MODEL_OR_CONFIG_JSON")
    p.add_argument("--revision", help="a branch, tag or commit of the repository")
    p.add_argument("--gpu", metavar="POOL", choices=[*POOLS], help=f"judge this pool in detail: {', '.join(POOLS)}")
    p.add_argument("--count", type=int, metavar="N", help="GPUs of a worker; as few as do if not given")
    p.add_argument("--requests", type=int, default=1, metavar="N",
                   help="how many requests of the whole context must fit at once: %(default)s")
    p.add_argument("--draft", metavar="MODEL", help="a draft model for speculative decoding")
    for name, (flag, text) in _FLAGS.items():
        p.add_argument(f"--{name}", metavar="VALUE", help=f"{text} ({flag})")
    p.add_argument("--flags", default="", metavar="WORDS", help="more flags of SGLang, in one word")
    p.add_argument("--prices", type=Path, default=PRICES, metavar="FILE", help="prices in place of %(default)s")
    p.add_argument("--json", action="store_true")
    return p.parse_args(argv)


def asked(chosen: argparse.Namespace) -> Serving:
    """How the server is to be started. Raises FitError."""
    try:
        line = shlex.split(chosen.flags)
    except ValueError as error:
        raise FitError(f"--flags cannot be split into words: {error}") from None
    for name, (flag, _) in _FLAGS.items():
        if (value := getattr(chosen, name.replace("-", "_"))) is not None:
            line += [flag, value]
    found = serving.from_words(line)
    if chosen.draft:
        draft = fit_sources.find(chosen.draft, None, os.environ)
        found = found.drafting(draft.config, draft.weight_bytes)
    return found


def prices(file: Path) -> tuple[dict[str, float], str]:
    """(US dollars a second of one GPU by pool, where they are from). Raises FitError."""
    try:
        told: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        return {pool: float(price) for pool, price in told["usd_per_gpu_second"].items()}, str(told["source"])
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise FitError(f'{file} is no file of prices ({error}): it has "source" and "usd_per_gpu_second" by pool') \
            from None


def judged(chosen: argparse.Namespace, model: fit_sources.Found) -> tuple[Judgement | None, list[Judgement]]:
    """(of the pool that is asked for, of every pool). Raises FitError."""
    settled = asked(chosen)
    counts = [chosen.count] if chosen.count else COUNTS
    every = over_pools(model.config, counts=counts, least=chosen.requests, serving=settled,
                       weight_bytes=model.weight_bytes)
    if not chosen.gpu:
        return None, every
    if chosen.count:
        return judge(model.config, chosen.gpu, chosen.count, settled, model.weight_bytes), every
    return next(found for found in every if found.gpu.name == chosen.gpu), every


def main(argv: list[str] | None = None) -> int:
    chosen = arguments(argv)
    try:
        model = fit_sources.find(chosen.model, chosen.revision, os.environ,
                                 drafting=bool(chosen.speculative_algorithm))
        price, source = prices(chosen.prices)
        pool, every = judged(chosen, model)
    except FitError as error:
        print(error, file=sys.stderr)
        return 2
    best = fit_report.cheapest(every, price, chosen.requests)
    good = [found for found in ([pool] if pool else every) if found.fits and found.requests >= chosen.requests]
    if chosen.json:
        print(json.dumps({
            "model": chosen.model, "config": model.place, "architecture": Model(model.config).architecture,
            "parameters": every[0].parameters, "weights": "files" if model.weight_bytes is not None else "shapes",
            "asked": pool and fit_report.as_json(pool, price, chosen.requests) | {
                "trouble": words.trouble(model.config, pool, model.weight_bytes)},
            "cheapest": best and fit_report.as_json(best, price, chosen.requests),
            "pools": [fit_report.as_json(found, price, chosen.requests) for found in every],
            "prices": source}, indent=1))
        return 0 if good else 1
    lines = fit_report.model_lines(pool or every[0], Model(model.config).architecture, model.place)
    if pool:
        lines += ["", *fit_report.one(pool, model.config, model.weight_bytes, chosen.requests)]
    lines += ["", *fit_report.table(every, price, chosen.requests), ""]
    if best:
        lines.append(f"cheapest that fits: {best.gpu.name} x {best.count}, "
                     f"{fit_report.hourly(best, price):.2f} USD an hour of work")
    else:
        lines.append("no pool fits")
    print("\n".join([*lines, f"prices: {source}"]))
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
