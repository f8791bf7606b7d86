"""What callers of SGLang's router see when one of two workers ends, or is killed, under load.

    python -m bench.routing_faults [--callers 1,10] [--seconds 12] [--out FILE]

Workers with scripted engines; the router with the options of docker-compose.router.yml, and with its own defaults. Half
of the requests are streams of about a second, the other half answers that come as a whole after 0.1 s; each caller has
one prompt's beginning and asks one request after the other. No client tries again by itself.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import signal
import tempfile
import time
from collections.abc import AsyncIterator
from pathlib import Path

import openai

from bench.machine_facts import machine
from local.router import Router
from tests.over_http import KEY, OverHttp
from tests.support import say
from tests.worker import WorkerProcess, contract_environ

DEFAULTS = ("--balance-abs-threshold", "--health-check-endpoint", "--health-check-interval-secs",
            "--health-check-timeout-secs", "--health-failure-threshold", "--health-success-threshold",
            "--retry-max-retries", "--retry-initial-backoff-ms", "--retry-backoff-multiplier",
            "--disable-circuit-breaker", "--shutdown-grace-period-secs")
HEAD = ("| the router's options | a worker gets | callers | answered | failed | the last after, s "
        "| the slowest whole answer begun after, s |", "|---|---|---|---|---|---|---|")
_BEFORE = 2.0  # seconds of load before the signal


class Load:
    """Callers, and what became of their requests: (begun, ended, "stream" or "whole", how it failed or None), in
    seconds of time.monotonic()."""

    def __init__(self, sdk: openai.AsyncOpenAI):
        self._sdk, self.told, self.over = sdk, [], False

    async def caller(self, number: int) -> None:
        turn = number
        while not self.over:
            turn += 1
            kind = ("stream", "whole")[turn % 2]
            began, pieces = time.monotonic(), []
            try:
                await self._ask(kind, f"{number} " * 200, pieces)
                wrong = None
            except openai.APIStatusError as error:
                wrong = str(error.status_code)
            except openai.APIConnectionError:
                wrong = "broken" if pieces else "no connection"
            self.told.append((began, time.monotonic(), kind, wrong))

    async def _ask(self, kind: str, text: str, pieces: list[str]) -> None:
        script = {"tokens": 30, "tps": 30} if kind == "stream" else {"tokens": 4, "first_delay_ms": 100}
        told = await self._sdk.chat.completions.create(model="tiny", messages=say(script, text),
                                                       stream=kind == "stream")
        if kind == "stream":
            async for chunk in told:
                pieces.append(chunk.choices[0].finish_reason or "")
            assert pieces[-1], "an end that is none"

    @contextlib.asynccontextmanager
    async def of(self, callers: int) -> AsyncIterator[None]:
        tasks = [asyncio.create_task(self.caller(number)) for number in range(callers)]
        yield
        self.over = True
        await asyncio.gather(*tasks)


async def run(settings: str, what: signal.Signals, callers: int, seconds: float) -> dict:
    """One worker of two meets `what`, after `_BEFORE` seconds of load; `seconds` more are watched."""
    async with contextlib.AsyncExitStack() as stack:
        fronts = [await stack.enter_async_context(OverHttp()) for _ in range(2)]
        workers = [await stack.enter_async_context(WorkerProcess(front, contract_environ())) for front in fronts]
        for worker in workers:
            await worker.connected()
        urls = [front.url for front in fronts]
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        router = await stack.enter_async_context(Router(
            urls, KEY, folder / "log", dropped=DEFAULTS if settings == "its defaults" else ()))
        await router.sees(*urls)
        load = Load(await stack.enter_async_context(openai.AsyncOpenAI(
            base_url=f"{router.url}/v1", api_key=KEY, max_retries=0, timeout=60)))
        async with load.of(callers):
            await asyncio.sleep(_BEFORE)
            seen = [sum('"route": "/v1/chat/completions"' in line for line in worker.lines) for worker in workers]
            at = time.monotonic()
            workers[seen.index(max(seen))].process.send_signal(what)  # the one that has more of them
            await asyncio.sleep(seconds)
    failed = [each for each in load.told if each[3]]
    later = [ended - began for began, ended, kind, _ in load.told if began >= at and kind == "whole"]
    return {"settings": settings, "signal": what.name, "callers": callers, "answered": len(load.told) - len(failed),
            "failed": {how: sum(each[3] == how for each in failed) for how in sorted({each[3] for each in failed})},
            "last_failure_s": round(max((each[1] - at for each in failed), default=0.0), 2),
            "slowest_whole_s": round(max(later, default=0.0), 2)}


def row(told: dict) -> str:
    """A run as a line of the table."""
    failed = ", ".join(f"{count} {how}" for how, count in told["failed"].items()) or "none"
    last = told["last_failure_s"] if told["failed"] else "–"
    return (f"| {told['settings']} | {told['signal']} | {told['callers']} | {told['answered']} | {failed} | {last} "
            f"| {told['slowest_whole_s']} |")


async def main(options: argparse.Namespace) -> None:
    print("\n".join(HEAD))
    runs = []
    for settings in ("the file's", "its defaults"):
        for what in (signal.SIGTERM, signal.SIGKILL):
            for callers in options.callers:
                told = await run(settings, what, callers, options.seconds)
                runs.append(told)
                print(row(told), flush=True)
    if options.out:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps({"machine": machine(), "runs": runs}, indent=1) + "\n")


if __name__ == "__main__":
    p = argparse.ArgumentParser(prog="python -m bench.routing_faults", description=__doc__,
                                formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--callers", type=lambda text: [int(part) for part in text.split(",")], default=[1, 10],
                   metavar="N,…")
    p.add_argument("--seconds", type=float, default=12.0, help="watched after the signal")
    p.add_argument("--out", type=Path, help="a file for all figures, as JSON")
    asyncio.run(main(p.parse_args()))
