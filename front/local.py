"""One job without the platform: from `--test_input` or test_input.json, printed as it comes."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sys
from collections.abc import Awaitable, Callable
from typing import Any

from front.answers import Handle, is_error

_NONE = ("Not on RunPod, and there is no test_input.json here: give one, or --test_input "
         "'{\"input\": {\"text\": \"Hello\"}}', or see the README for a whole local platform.")


def arguments(description: str | None, version: Callable[[], str]) -> argparse.Namespace:
    """The worker's own arguments; what is left in sys.argv is the SDK's. With `--version` prints what `version` says:
    SystemExit, status 0."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter,
                                     epilog="Any other argument goes to the runpod SDK.")
    parser.add_argument("--print-config", action="store_true", help="show the resolved configuration and exit")
    parser.add_argument("--version", action="store_true", help="show the worker's version and exit")
    parser.add_argument("--test_input", metavar="JSON", help="run this one job and exit")
    parser.add_argument("--rp_serve_api", action="store_true", help="the SDK's own local HTTP server")
    args, rest = parser.parse_known_args()
    if args.version:
        print(version())
        sys.exit(0)
    sys.argv[1:] = (["--rp_serve_api"] if args.rp_serve_api else []) + rest
    return args


def job(text: str | None, http_server: bool) -> dict[str, Any] | None:
    """The job to run here, or None when the jobs come from outside. Raises SystemExit, status 1, when there is none.

    text: what `--test_input` says, or None; http_server: whether the SDK's own was asked for.
    """
    source = "--test_input"
    if text is None:
        # As the SDK decides it (runpod/serverless/__init__.py, worker.py).
        if os.environ.get("RUNPOD_WEBHOOK_GET_JOB") or os.environ.get("RUNPOD_REALTIME_PORT") or http_server:
            return None
        source = "test_input.json"
        try:
            with open(source, encoding="utf-8") as f:
                text = f.read()
        except OSError:
            sys.exit(_NONE)
    try:
        found = json.loads(text)
    except ValueError as error:
        sys.exit(f"{source} is not JSON: {error}")
    if not isinstance(found, dict) or "input" not in found:
        sys.exit(f"{source} must be an object with `input`.")
    return found


async def run(handle: Handle, given: dict[str, Any], close: Callable[[], Awaitable[None]]) -> int:
    """Run one job, printing its output as it comes. `close` is awaited last. Returns the exit status."""
    try:
        async with contextlib.aclosing(handle({"id": "local", **given})) as outputs:
            async for output in outputs:
                if is_error(output):
                    print(output["error"], file=sys.stderr, flush=True)
                    return 1
                text = output if isinstance(output, str) else json.dumps(output, ensure_ascii=False, indent=2) + "\n"
                sys.stdout.write(text)
                sys.stdout.flush()
        return 0
    finally:
        await close()
