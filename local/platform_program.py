"""The command line of the platform's stand-in: python -m local.runpod_platform."""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys

from local import runpod_platform
from local.platform_records import UNKNOWNS, Limits, Policy, Unknowns
from local.runpod_platform import Platform


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(prog="python -m local.runpod_platform", description=runpod_platform.__doc__,
                                formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    p.add_argument("--port", type=int, default=8000, help="0 picks a free one (default: %(default)s)")
    p.add_argument("--endpoint-id", default="local", metavar="ID", help="default: %(default)s")
    p.add_argument("--public-url", metavar="URL", help="how workers and clients reach it, when not by the "
                                                       "address above (http://platform:8000)")
    p.add_argument("--post-delay-ms", type=float, default=0.0, metavar="MS",
                   help="round trip of every POST of a worker (default: %(default)s)")
    p.add_argument("--execution-timeout-ms", type=int, default=Policy.execution_timeout, metavar="MS",
                   help="how long a job may run (default: %(default)s)")
    p.add_argument("--ttl-ms", type=int, default=Policy.ttl, metavar="MS",
                   help="how long a job may exist before it ends (default: %(default)s)")
    p.add_argument("--keep-result-s", type=float, default=Limits.keep_run, metavar="S",
                   help="how long a result is kept, that of /runsync a minute at most (default: %(default)s)")
    p.add_argument("--long-poll-s", type=float, default=20.0, metavar="S",
                   help="how long job-take and job-stop are held open (default: %(default)s)")
    for name, (meaning, choices) in UNKNOWNS.items():
        p.add_argument(f"--{name.replace('_', '-')}", choices=choices, default=choices[0],
                       help=f"{meaning}; RunPod does not document it (default: %(default)s)")
    p.add_argument("--rate-limits", action="store_true", help="answer 429 beyond the documented rates")
    p.add_argument("--no-auth", action="store_true", help="answer clients without a key")
    p.add_argument("--quiet", action="store_true", help="no line per change of a job")
    return p


async def run(options: argparse.Namespace) -> None:
    limits = Limits(keep_run=options.keep_result_s, keep_runsync=min(options.keep_result_s,
                                                                     Limits.keep_runsync))
    policy = Policy(options.execution_timeout_ms, options.ttl_ms)

    def say(line: str) -> None:
        print(line, flush=True)
    platform = Platform(options.host, options.port, options.endpoint_id, options.post_delay_ms, limits,
                        policy, options.long_poll_s, not options.no_auth, options.public_url,
                        Unknowns(**{name: getattr(options, name) for name in UNKNOWNS}), options.rate_limits,
                        log=(lambda line: None) if options.quiet else say)
    async with platform:
        say(f"platform: {platform.url}\nopenai:   {platform.openai_url}\n\nA worker's environment:")
        for name, value in platform.worker_environ().items():
            say(f"export {name}='{value}'")
        stopped = asyncio.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, stopped.set)
        await stopped.wait()


def main(argv: list[str] | None = None) -> int:
    try:
        asyncio.run(run(parser().parse_args(argv)))
    except OSError as error:
        print(f"cannot listen: {error}", file=sys.stderr)
        return 1
    return 0
