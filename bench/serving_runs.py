"""Runs of the serving benchmark: clients on one side, what /proc and the platform say on the other."""

from __future__ import annotations

import argparse
import asyncio
import itertools
import sys
import urllib.error
import urllib.request

from bench import serving_metrics, serving_plan
from bench.process_usage import Peak, cpu_seconds, resident_bytes, with_fronts
from bench.serving_clients import Clients
from bench.serving_plan import DIRECT, Load, Run, Target
from bench.serving_stack import Stack

_WARM = Load(2)
_WARM_TOKENS = 8


class Bench:
    """Runs of one plan on one stack."""

    def __init__(self, stack: Stack, options: argparse.Namespace):
        self.stack, self.options = stack, options
        self.idle = {design: resident_bytes(*with_fronts(pid)) for design, pid in stack.pids.items()}
        self._most: dict[str, int] = {}  # the most streams at once that a design has had
        self._flushes = options.engine != "scripted"

    async def warm(self, targets: list[Target]) -> None:
        """A few tokens through each design: what a process loads for its first job is not a stream's memory."""
        for target in {target.design: target for target in targets}.values():
            await self.measure(Run(target, _WARM, -1), _WARM_TOKENS)
            if pids := self.stack.processes(target):
                self.idle[target.design] = resident_bytes(*pids)
        self._most.clear()

    def _specs(self, run: Run, tokens: int) -> list[dict]:
        o = self.options
        lanes = serving_plan.lanes(run.load, run.repeat, seed=o.seed, model=o.model, tokens=tokens,
                                   prompt_tokens=o.prompt_tokens)
        urls = itertools.cycle(self.stack.urls(run.target))
        return [{"url": next(urls), "headers": self.stack.headers(run.target), "tokens": tokens,
                 "timeout": o.timeout, "lanes": part} for part in serving_plan.split(lanes, o.client_processes)]

    async def measure(self, run: Run, tokens: int) -> tuple[dict, list[dict]]:
        """One run's figures, and the answers that they come from (sse_reading.Answer.data())."""
        target, pids = run.target, self.stack.processes(run.target)
        await self.stack.prepare(target)
        await asyncio.to_thread(self._flush)
        async with Clients(self._specs(run, tokens)) as clients:
            shared, cpu, before = self.stack.shared_cpu(), cpu_seconds(*pids), resident_bytes(*pids)
            roles = self.stack.engine_cpu()
            async with Peak(*pids) as peak:
                clients_cpu = await clients.send()
            cpu = cpu_seconds(*pids) - cpu
            shared = {name: now - shared[name] for name, now in self.stack.shared_cpu().items()}
            roles = {name: now - roles.get(name, 0.0) for name, now in self.stack.engine_cpu().items()}
            answers = await clients.answers()
        figures = serving_metrics.summary(answers)
        if pids:
            figures |= serving_metrics.process_figures(
                figures, cpu=cpu, idle=self.idle[target.design], before=before, peak=peak.bytes,
                after=resident_bytes(*pids))
            # A process seldom returns memory to the system: after a larger load a smaller one shows nothing.
            if figures["at_once"] >= self._most.get(target.design, 0):
                self._most[target.design] = figures["at_once"]
                figures["kib_stream"] = (peak.bytes - self.idle[target.design]) / 1024 / figures["at_once"]
            counters = await self.stack.counters(target)
            if target.design in DIRECT:  # nobody counts what it writes: this is what arrived at once
                figures["posts_stream"] = sum(a["reads"] for a in answers) / run.load.requests
            else:
                figures["posts_stream"] = counters["posts"].get("job-stream", 0) / run.load.requests
                figures["posted_bytes_token"] = sum(counters["bytes"].values()) / max(1, figures["tokens"])
        figures["shares"] = {name: seconds / figures["seconds"]
                             for name, seconds in {**shared, "clients": clients_cpu}.items()}
        figures["engine_shares"] = {name: seconds / figures["seconds"] for name, seconds in roles.items()}
        return figures, answers

    def _flush(self) -> None:
        """Empty the engine's prefix cache: the same prompts must cost the same each time."""
        if not self._flushes:
            return
        for url in self.stack.engine_urls:
            request = urllib.request.Request(url + "/flush_cache", method="POST", headers={
                "Authorization": f"Bearer {self.stack.engine_key or 'none'}"})
            try:
                urllib.request.urlopen(request, timeout=30).read()
            except (OSError, urllib.error.HTTPError) as error:
                self._flushes = False
                print(f"the prefix cache could not be emptied: {error}", file=sys.stderr)
