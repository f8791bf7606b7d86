"""Trials: one hard situation each, and what must hold in it. Real worker process, platform's stand-in, scripted engine.

    python -m bench.trials [NAME …]      all of them when none is named; --list shows what each is

Where the chaos run mixes what happens often, a trial brings about what happens once: a worker that gives up with jobs
waiting, a POST that is never answered, a result at the limit, a full disk. Exit status 1 when something does not hold.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
import traceback

from bench import trials_disk, trials_engine, trials_platform, trials_start
from bench.trial import Trial

TRIALS: dict[str, Trial] = {trial.__name__: trial for module in (
    trials_engine, trials_platform, trials_start, trials_disk) for trial in module.TRIALS}


async def run(name: str) -> list[str]:
    """What did not hold, empty when all did."""
    try:
        return await TRIALS[name]()
    except TimeoutError:
        return ["what had to come did not come in time:\n" + traceback.format_exc(limit=-6)]


def about(name: str) -> str:
    """The first line of a trial's description."""
    return (TRIALS[name].__doc__ or "").partition("\n")[0]


def main(argv: list[str] | None = None) -> int:
    p = argparse.ArgumentParser(prog="python -m bench.trials", description=__doc__,
                                formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("names", nargs="*", metavar="NAME", choices=[[], *TRIALS])  # [] is none
    p.add_argument("--list", action="store_true")
    options = p.parse_args(argv)
    failed = 0
    for name in options.names or TRIALS:
        if options.list:
            print(f"{name}: {about(name)}")
            continue
        began = time.monotonic()
        problems = asyncio.run(run(name))
        failed += bool(problems)
        print(f"| {name} | {'FAILED' if problems else 'held'} | {time.monotonic() - began:.0f} s |", flush=True)
        for problem in problems:
            print(f"    {problem}", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
