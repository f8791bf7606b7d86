"""Compares the estimator with what a real engine reports: weights, bytes of a token, tokens of the cache.

    python3 -m bench.fit_check --out fit.json                     shapes 1b, 8b, moe and mla, one after another
    python3 -m bench.fit_check --shapes 8b sliding state --graphs 8b

It writes a config.json for each shape, starts the engine with random weights and without a tokenizer, reads its log
until the cache is made, and ends it. --graphs names shapes that are started once more, with CUDA graphs. An engine that
dies is told at once, with its last lines, and the next shape follows; --limit bounds the whole. --read FILE estimates
the shapes of an earlier run anew.

On a machine without a network that has SGLang in /tmp/site (PYTHONPATH), as the root of this repository:

    source up.sh && python3 -m bench.fit_check --shapes 1b 8b moe mla --graphs 8b --limit 470 --out "$OUT/fit.json" \\
        --flags='--attention-backend triton --sampling-backend pytorch --grammar-backend none'

With `--tp-size 2` among the flags it is two GPUs, and the figures are those of one.

Exit status 0 when every shape was read and its tokens are within 5 % of the estimate.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import fit
from bench import fit_log, machine_facts
from bench.fit_shapes import SHAPES, TINY
from fit import serving
from local.ports import free_port

GIB = 1 << 30
NO_GRAPHS = ["--disable-cuda-graph", "--disable-prefill-cuda-graph"]
WITHIN = 0.05


class Dead(Exception):
    """The engine ended, or said nothing of its cache in time; the text has its last lines."""


def started(command: list[str], log: Path, until: float, done: re.Pattern[str] = fit_log.DONE,
            environ: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Starts `command`, reads its log until a line is `done`, and ends it with all its children."""
    with log.open("wb") as out:
        engine = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
                                  start_new_session=True, env=environ)
    try:
        while True:
            text = log.read_text(encoding="utf-8", errors="replace")
            if done.search(text):
                return fit_log.read(text.splitlines())
            if engine.poll() is not None:
                raise Dead(f"the engine died with status {engine.returncode}:\n{text[-3000:]}")
            if time.monotonic() > until:
                raise Dead(f"the engine has no cache yet:\n{text[-1500:]}")
            time.sleep(0.2)
    finally:
        for end in (signal.SIGTERM, signal.SIGKILL):
            try:
                os.killpg(engine.pid, end)
                engine.wait(0.5 if end == signal.SIGTERM else 30)
            except (ProcessLookupError, subprocess.TimeoutExpired):
                continue


def gpu(mib: int | None) -> fit.Gpu:
    """The GPU of this machine, or one of `mib`."""
    if mib is None:
        told = subprocess.run(["nvidia-smi", "--query-gpu=memory.total", "--format=csv,noheader,nounits"],
                              capture_output=True, text=True, check=True).stdout
        mib = min(int(line) for line in told.split())
    return fit.Gpu("here", mib, linked=mib > 70_000)


def compared(config: dict[str, Any], said: dict[str, Any], on: fit.Gpu, given: fit.Serving) -> dict[str, Any]:
    """What the engine said and what is estimated, and by how much the second differs, for each figure that both have.

    `tokens` is with all of the estimator's own; `tokens_at` with the engine's fraction and what was free, so that only
    weights and bytes of a token are judged.
    """
    own = fit.judge(config, on, _gpus(given), given)
    at = fit.judge(config, on, _gpus(given), given, mem_fraction_static=said.get("fraction", own.mem_fraction))
    pairs: dict[str, tuple[float | None, float]] = {
        "free_gib": (said.get("free_gib"), own.free_bytes / GIB),
        "weights_gib": (said.get("weights_gib"), own.weight_bytes / GIB),
        "token_bytes": (token_bytes(said), own.token_bytes),
        "fraction": (said.get("fraction"), own.mem_fraction),
        "tokens": (said.get("tokens"), own.tokens),
        "tokens_at": (said.get("tokens"), at.tokens),
        "requests": (said.get("requests"), own.at_once),
    }
    return {name: {"engine": engine, "estimate": round(estimate, 3),
                   "differs": round(estimate / engine - 1, 4) if engine else None}
            for name, (engine, estimate) in pairs.items()}


def token_bytes(said: dict[str, Any]) -> float | None:
    """Bytes that the engine allocated for each of its tokens, caches of sliding layers and all."""
    return said["cache_gib"] * GIB / said["tokens"] if said.get("tokens") and said.get("cache_gib") else None


def _short(number: float) -> str:
    return f"{number:,.0f}" if number >= 1000 else f"{number:.4g}"


def table(rows: list[dict[str, Any]]) -> str:
    """One line a shape, each figure as engine / estimate / difference."""
    names = ("free_gib", "weights_gib", "token_bytes", "fraction", "tokens", "tokens_at")
    lines = ["| shape | " + " | ".join(names) + " |", "|---|" + "---|" * len(names)]
    for row in rows:
        cells = []
        for name in names:
            figure = row.get("figures", {}).get(name, {})
            engine, differs = figure.get("engine"), figure.get("differs")
            cells.append(f"{_short(engine)} / {_short(figure['estimate'])} ({100 * differs:+.1f} %)"
                         if engine is not None and differs is not None else row.get("error", "-")[:60])
        lines.append(f"| {row['shape']}{' with graphs' if row['graphs'] else ''} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def attempt(name: str, graphs: bool, folder: Path, chosen: argparse.Namespace, on: fit.Gpu, until: float) -> dict:
    """One shape's row."""
    config = (TINY if chosen.tiny else SHAPES)[name]
    model = folder / name
    model.mkdir(exist_ok=True)
    (model / "config.json").write_text(json.dumps(config, indent=1), encoding="utf-8")
    flags = [*shlex.split(chosen.flags), *([] if graphs else NO_GRAPHS)]
    if chosen.mem_fraction:
        flags += ["--mem-fraction-static", str(chosen.mem_fraction)]
    command = [*shlex.split(chosen.engine), "--model-path", str(model), "--load-format", "dummy",
               "--skip-tokenizer-init", "--skip-server-warmup", "--host", "127.0.0.1", "--port", str(free_port()),
               *flags]
    given = _serving(chosen.flags, graphs, chosen.mem_fraction)
    row: dict[str, Any] = {"shape": name, "graphs": graphs, "parameters": fit.judge(config, on).parameters}
    began = time.monotonic()
    try:
        said = started(command, folder / f"{name}-{graphs}.log", min(began + chosen.each, until))
        row |= {"said": said, "figures": compared(config, said, on, given)}
    except Dead as error:
        row["error"] = str(error)
        print(f"{name}: {error}", file=sys.stderr, flush=True)
    return row | {"seconds": round(time.monotonic() - began, 1)}


def _serving(flags: str, graphs: bool, mem_fraction: float | None = None) -> fit.Serving:
    words = [*shlex.split(flags), *([] if graphs else NO_GRAPHS)]
    given = serving.from_words(words + (["--mem-fraction-static", str(mem_fraction)] if mem_fraction else []))
    return given.on(_gpus(given))


def _gpus(given: fit.Serving) -> int:
    return given.tp * given.pp_size * (1 if given.enable_dp_attention else given.dp_size)


def reread(file: Path) -> list[dict[str, Any]]:
    """The rows of an earlier run, with what is estimated now."""
    told = json.loads(file.read_text(encoding="utf-8"))
    on = fit.Gpu(**{**told["gpu"], "capability": tuple(told["gpu"]["capability"])})
    return [row | {"figures": compared({**TINY, **SHAPES}[row["shape"]], row["said"], on,
                                       _serving(told["flags"], row["graphs"]))} for row in told["rows"]]


def right(row: dict[str, Any]) -> bool:
    """Whether the tokens are as estimated."""
    differs = row.get("figures", {}).get("tokens_at", {}).get("differs")
    return differs is not None and abs(differs) <= WITHIN


def main(argv: list[str] | None = None) -> int:
    p = argparse.ArgumentParser(prog="python -m bench.fit_check", description=__doc__.split("\n")[0])
    p.add_argument("--shapes", nargs="*", default=["1b", "8b", "moe", "mla"], choices=sorted({*SHAPES, *TINY}))
    p.add_argument("--graphs", nargs="*", default=[], help="shapes to start once more with CUDA graphs")
    p.add_argument("--tiny", action="store_true", help="the small shapes, for the engine on a CPU")
    p.add_argument("--engine", default="python3 -m sglang.launch_server", help="the engine's command: %(default)s")
    p.add_argument("--flags", default="", help="more flags of the engine, in one word")
    p.add_argument("--mem-fraction", type=float, help="--mem-fraction-static of the engine, in place of its own choice")
    p.add_argument("--gpu-mib", type=int, help="memory.total of the GPU, in place of nvidia-smi's")
    p.add_argument("--each", type=float, default=170, help="seconds that one engine may take: %(default)s")
    p.add_argument("--limit", type=float, default=470, help="seconds for all: %(default)s")
    p.add_argument("--out", type=Path, help="a file for the figures as JSON")
    p.add_argument("--read", type=Path, metavar="FILE", help="such a file: start nothing, and estimate its shapes anew")
    chosen = p.parse_args(argv)
    if chosen.read:
        rows = reread(chosen.read)
        print(table(rows))
        return 0 if all(map(right, rows)) else 1
    until, on = time.monotonic() + chosen.limit, gpu(chosen.gpu_mib)
    runs = [(name, False) for name in chosen.shapes] + [(name, True) for name in chosen.graphs]
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for name, graphs in runs:
            rows.append(attempt(name, graphs, Path(folder), chosen, on, until))
            print(table(rows).splitlines()[-1], flush=True)
            if chosen.out:
                chosen.out.write_text(json.dumps({"machine": machine_facts.machine(), "gpu": on._asdict(),
                                                  "engine": chosen.engine, "flags": chosen.flags, "rows": rows},
                                                 indent=1) + "\n", encoding="utf-8")
            if time.monotonic() > until:
                break
    print("\n" + table(rows))
    return 0 if len(rows) == len(runs) and all(map(right, rows)) else 1


if __name__ == "__main__":
    sys.exit(main())
