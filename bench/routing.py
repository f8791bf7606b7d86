"""What becomes of prefix caches when conversations are spread over several workers, and when each stays with one.

    python -m bench.routing [--conversations 8] [--turns 6] [--repeats 3] [--out FILE]

Two workers with real engines (the tiny model on the CPU), behind the stand-in for RunPod's load balancer without and
with its affinity header, and behind SGLang's router by turns and by its own choice. All conversations run at once, each
with a beginning of its own. Counted are the tokens of all prompts but a conversation's first, and how many of them the
engine had in its cache: usage.prompt_tokens_details.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import shlex
import statistics
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import openai

from bench.machine_facts import machine
from local import corpus, environments
from local.balancer import AFFINITY, Balancer
from local.router import Router
from tests.over_http import KEY, OverHttp
from tests.support import free_port, until
from tests.worker import WorkerProcess

WAYS = ("balancer, spread", "balancer, header", "router, round_robin", "router, cache_aware")


@contextlib.asynccontextmanager
async def two() -> AsyncIterator[dict[str, WorkerProcess]]:
    """Two workers by their addresses, each with an engine of its own."""
    python, model = environments.engine_python(), environments.tiny_model()
    served = {**environments.engine_environ(os.environ), **environments.CPU_ENGINE_ARGS,
              **environments.TINY_MODEL_ARGS, "MODEL_NAME": str(model), "SERVED_MODEL_NAME": corpus.SERVED_NAME,
              "SGLANG_LAUNCH_COMMAND": f"{shlex.quote(str(python))} -m sglang.launch_server",
              "ENABLE_CACHE_REPORT": "true", "RUNPOD_SKIP_AUTO_SYSTEM_CHECKS": "true"}
    async with contextlib.AsyncExitStack() as stack:
        fronts = [await stack.enter_async_context(OverHttp()) for _ in range(2)]
        workers = [await stack.enter_async_context(WorkerProcess(
            front, {**served, "SGLANG_PORT": str(free_port())}, ready_within=300)) for front in fronts]
        await asyncio.gather(*[worker.connected() for worker in workers])
        yield {front.url: worker for front, worker in zip(fronts, workers, strict=True)}


@contextlib.asynccontextmanager
async def before(way: str, urls: list[str]) -> AsyncIterator[str]:
    """The address of what stands before the workers."""
    kind, _, how = way.partition(", ")
    if kind == "balancer":
        async with Balancer({f"w-{number}": url for number, url in enumerate(urls)}) as balancer:
            await until(lambda: all(each.ready for each in balancer.backends.values()))
            yield balancer.url
    else:
        with tempfile.TemporaryDirectory() as folder:
            async with Router(urls, KEY, Path(folder) / "log", changed={"--policy": [how]}) as router:
                await router.sees(*urls)
                yield router.url


async def conversation(sdk: openai.AsyncOpenAI, name: str, turns: int, header: bool) -> tuple[int, int]:
    """(tokens of its prompts but for the first, how many of them were cached)."""
    messages = [{"role": "system", "content": " ".join(f"{name} {number}" for number in range(12))}]
    headers, tokens, cached = {}, 0, 0
    for turn in range(turns):
        messages.append({"role": "user", "content": corpus.EXCHANGES[turn % len(corpus.EXCHANGES)][0]})
        raw = await sdk.chat.completions.with_raw_response.create(
            model=corpus.SERVED_NAME, messages=messages, temperature=0, max_tokens=24, extra_headers=headers)
        told = raw.parse()
        messages.append({"role": "assistant", "content": told.choices[0].message.content})
        if header:
            headers = {AFFINITY: raw.headers[AFFINITY]}
        if turn:
            tokens += told.usage.prompt_tokens
            cached += told.usage.prompt_tokens_details.cached_tokens
    return tokens, cached


async def measure(way: str, workers: dict[str, WorkerProcess], options: argparse.Namespace, run: int) -> dict:
    """One run of all conversations."""
    def answered() -> list[int]:
        return [sum('"route": "/v1/chat/completions"' in line for line in worker.lines) for worker in workers.values()]

    had = answered()
    async with before(way, list(workers)) as url, openai.AsyncOpenAI(
            base_url=f"{url}/v1", api_key=KEY, max_retries=0, timeout=300) as sdk:
        told = await asyncio.gather(*[
            conversation(sdk, f"{way[-5:]} {run} {number}", options.turns, way.endswith("header"))
            for number in range(options.conversations)])
    count = options.conversations * options.turns
    await until(lambda: sum(answered()) >= sum(had) + count)
    tokens, cached = (sum(each) for each in zip(*told, strict=True))
    return {"way": way, "run": run, "tokens": tokens, "cached": cached,
            "requests": [now - once for now, once in zip(answered(), had, strict=True)]}


def table(runs: list[dict]) -> list[str]:
    """The lines of a table in Markdown: of each way the medians of its runs."""
    lines = ["| before the workers | of the prompts' tokens in the cache | requests of one worker, of the other |",
             "|---|---|---|"]
    for way in WAYS:
        mine = [each for each in runs if each["way"] == way]
        share = statistics.median(each["cached"] / each["tokens"] for each in mine)
        less, more = (int(statistics.median(sorted(each["requests"])[one] for each in mine)) for one in (0, 1))
        lines.append(f"| {way} | {share:.3f} | {less}, {more} |")
    return lines


async def main(options: argparse.Namespace) -> None:
    async with two() as workers:
        runs = [await measure(way, workers, options, run) for run in range(options.repeats) for way in WAYS]
    if options.out:
        given = {name: value for name, value in vars(options).items() if name != "out"}
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps({"machine": machine(), "options": given, "runs": runs}, indent=1) + "\n")
    print("\n".join(table(runs)))


if __name__ == "__main__":
    p = argparse.ArgumentParser(prog="python -m bench.routing", description=__doc__,
                                formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--conversations", type=int, default=8)
    p.add_argument("--turns", type=int, default=6)
    p.add_argument("--repeats", type=int, default=3)
    p.add_argument("--out", type=Path, help="a file for all figures, as JSON")
    asyncio.run(main(p.parse_args()))
