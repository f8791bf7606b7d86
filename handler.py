"""Entry point of the worker: settings, then the engine, then the start, then the front that brings the jobs.

    python handler.py                     the worker (on RunPod), or one job from test_input.json (elsewhere)
    python handler.py --test_input JSON   one job, printed; exit status 1 when it fails
    python handler.py --print-config      the resolved command and settings, secrets masked

Exit status: 0 after an orderly stop, 1 when the engine or a job failed, 2 when the configuration is wrong.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import time
from typing import Any

import utils
from engine import Engine, EngineError, Patience
from front import local, process
from settings import config, gpus, model_source
from start.cold_start import ColdStart

_FLAGS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "builder", "flags.json")
# Seconds that the engine gets to end in order, once no job is left (1 to 8 were seen).
_ENGINE_STOP = 15.0


def serve(settings: config.Settings, engine: Engine, cold: ColdStart, ending: process.Ending,
          job: dict[str, Any] | None) -> int:
    """Everything between a started server and the worker's end. Returns the exit status."""
    began = time.monotonic()
    # Not above: while these load, the server is loading too.
    from front.queue import serve as queue
    from job.worker import Worker

    worker = Worker(settings, engine)
    if job is None:
        queue.load()
    process.settle_memory()
    cold.phase("worker imports", began, meanwhile=True)
    cold.ready(engine.wait_ready())
    worker.learn(settings)
    if job is not None:
        return asyncio.run(local.run(worker.handle, job, worker.upstream.close))

    cold.warm(worker.facts)
    worker.watch(ending.give_up)
    limit = queue.jobs_at_once(settings.max_concurrency, engine.capacity())
    utils.log(f"serving {settings.served_model_name} with up to {limit} jobs at once")
    try:
        queue.serve(worker.handle, limit=limit, ending=ending, fail_all=worker.fail_all, on_poll=cold.first_poll,
                    on_end=worker.upstream.close)
    finally:
        engine.stop(_ENGINE_STOP)
    return ending.status


def _arguments() -> argparse.Namespace:
    """The worker's own arguments; what is left in sys.argv is the SDK's."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter,
                                     epilog="Any other argument goes to the runpod SDK.")
    parser.add_argument("--print-config", action="store_true", help="show the resolved configuration and exit")
    parser.add_argument("--test_input", metavar="JSON", help="run this one job and exit")
    parser.add_argument("--rp_serve_api", action="store_true", help="the SDK's own local HTTP server")
    args, rest = parser.parse_known_args()
    sys.argv[1:] = (["--rp_serve_api"] if args.rp_serve_api else []) + rest
    return args


def main() -> int:
    """The worker from its first line to its exit status."""
    started = time.monotonic()
    args = _arguments()
    with open(_FLAGS, encoding="utf-8") as f:
        snapshot = json.load(f)
    try:
        settings = model_source.locate(config.load(os.environ, snapshot, gpus.visible(), sys.executable), snapshot,
                                       os.environ)
    except config.ConfigError as error:
        print(error, file=sys.stderr)
        return 2
    utils.hide(settings.secrets)
    utils.set_log_level(settings.log_level)
    if args.print_config:
        print(config.describe(settings))
        return 0
    job = local.job(args.test_input, args.rp_serve_api)
    for level, line in settings.notices:
        utils.log(line, level)

    ending = process.Ending(settings.shutdown_timeout)
    cold = ColdStart(settings, snapshot, started)
    engine = Engine(cold.command(), cold.environ(config.engine_environ(settings, os.environ)), port=settings.port,
                    api_key=settings.api_key, listen=cold.listen, patience=Patience(
                        settings.startup_timeout, settings.max_restarts, settings.restart_window,
                        settings.hang_timeout))
    engine.on_restarted(cold.restarted)
    try:
        engine.start()
        cold.launched(engine)
        return serve(settings, engine, cold, ending, job)
    except EngineError as error:
        utils.log(str(error), "error")
        cold.failed()
        return 1
    finally:
        engine.stop(_ENGINE_STOP)
        cold.close()


if __name__ == "__main__":
    sys.exit(main())
