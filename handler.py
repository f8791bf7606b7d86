"""Entry point of the worker: engine up, then RunPod's loop; one async generator per job.

    python handler.py                     the worker (on RunPod), or one job from test_input.json (elsewhere)
    python handler.py --test_input JSON   one job, printed; exit status 1 when it fails
    python handler.py --print-config      the resolved command and settings, secrets masked

Exit status: 0 after an orderly stop, 1 when the engine or a job failed, 2 when the configuration is wrong.
This module and sdk.py, which it alone uses, are all that knows the runpod SDK.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import ctypes
import gc
import json
import os
import signal
import sys
import time

import utils
from engine import Engine, EngineError, Patience
from settings import config, gpus, model_source
from start.cold_start import ColdStart

_FLAGS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "builder", "flags.json")
# How many jobs one worker takes at once when the server would run more. On an H200 with an 8B model throughput
# grows threefold from 32 to 128 streams and by 5 % from 128 to 256, while the slowest first token doubles: more
# than this only empties the queue that RunPod scales by.
CONCURRENCY_BOUND = 128
_NAMED_IN_A_PING = 180  # jobs with RunPod's ids of 36 characters and a suffix
# Seconds that the engine gets to end in order, once no job is left (1 to 8 were seen).
_ENGINE_STOP = 15.0


def concurrency(settings: config.Settings, engine: Engine) -> int:
    """Jobs to run at once: MAX_CONCURRENCY, else what the server says it can run, at most CONCURRENCY_BOUND."""
    if settings.max_concurrency:
        if settings.max_concurrency > _NAMED_IN_A_PING:
            utils.log(f"MAX_CONCURRENCY={settings.max_concurrency}: the runpod SDK's ping names every running job in "
                      f"its address, which passes 8 KB at about {_NAMED_IN_A_PING} jobs and may be refused", "warn")
        return settings.max_concurrency
    capacity = engine.capacity()
    return max(1, min(capacity or CONCURRENCY_BOUND, CONCURRENCY_BOUND))


async def run_locally(worker, job: dict) -> int:
    """Run one job without the platform, printing its output as it comes. Returns the exit status."""
    try:
        async with contextlib.aclosing(worker.handle({"id": "local", **job})) as outputs:
            async for output in outputs:
                if isinstance(output, dict) and set(output) == {"error"}:
                    print(output["error"], file=sys.stderr, flush=True)
                    return 1
                text = output if isinstance(output, str) else json.dumps(output, ensure_ascii=False, indent=2) + "\n"
                sys.stdout.write(text)
                sys.stdout.flush()
        return 0
    finally:
        await worker.upstream.close()


def local_job(args: argparse.Namespace) -> dict | None:
    """The job to run here, or None when the jobs come from outside. Raises SystemExit, status 1, when there is none."""
    source, text = "--test_input", args.test_input
    if text is None:
        # As the SDK decides it (runpod/serverless/__init__.py, worker.py).
        if os.environ.get("RUNPOD_WEBHOOK_GET_JOB") or os.environ.get("RUNPOD_REALTIME_PORT") or args.rp_serve_api:
            return None
        source = "test_input.json"
        try:
            with open(source, encoding="utf-8") as f:
                text = f.read()
        except OSError:
            sys.exit("Not on RunPod, and there is no test_input.json here: give one, or --test_input "
                     "'{\"input\": {\"text\": \"Hello\"}}', or see the README for a whole local platform.")
    try:
        job = json.loads(text)
    except ValueError as error:
        sys.exit(f"{source} is not JSON: {error}")
    if not isinstance(job, dict) or "input" not in job:
        sys.exit(f"{source} must be an object with `input`.")
    return job


def settle_memory() -> None:
    """Take what is loaded by now out of the garbage collector's sight.

    None of it ever becomes garbage, and a full collection that looks through it stops every stream for up to a tenth
    of a second. Young objects are looked at in batches of 10,000 rather than 700, which costs less and keeps at most
    a few megabytes longer.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 10, 10)


def _die_with_parent() -> None:
    ctypes.CDLL(None).prctl(1, signal.SIGKILL, 0, 0, 0)  # PR_SET_PDEATHSIG


def serve(settings: config.Settings, engine: Engine, cold: ColdStart, job: dict | None) -> int:
    """Everything between a started server and the worker's end. Returns the exit status."""
    began = time.monotonic()
    # The server's readiness on the GPU proves more than the SDK's own test, which would find the memory taken.
    os.environ.setdefault("RUNPOD_SKIP_GPU_CHECK", "true")
    # The SDK's default, DEBUG, prints every chunk of every stream twice.
    if "RUNPOD_LOG_LEVEL" not in os.environ and "RUNPOD_DEBUG_LEVEL" not in os.environ:
        os.environ["RUNPOD_LOG_LEVEL"] = "INFO"
    # The SDK's ping process must not go on reporting a dead worker as alive.
    os.register_at_fork(after_in_child=_die_with_parent)
    from job.worker import Worker  # not above: while this loads, the server is loading too

    worker = Worker(settings, engine)
    if job is None:
        import runpod
    settle_memory()
    cold.phase("worker imports", began, meanwhile=True)
    cold.ready(engine.wait_ready())
    worker.learn(settings)
    if job is not None:
        return asyncio.run(run_locally(worker, job))

    cold.warm(worker.facts)
    worker.watch()
    limit = concurrency(settings, engine)
    utils.log(f"serving {settings.served_model_name} with up to {limit} jobs at once")

    import uvloop
    from runpod.serverless.modules import rp_http, rp_scale

    from front.queue import sdk, sdk_fast

    undelivered = sdk.persistent(rp_http)
    scaler = sdk_fast.prompt(rp_scale.JobScaler) if settings.sdk_fast_start else rp_scale.JobScaler
    rp_scale.JobScaler = sdk.draining(scaler, drain_timeout=settings.shutdown_timeout,
                                      fail_all=worker.fail_all, on_end=worker.upstream.close)

    def concurrent(_current):
        cold.first_poll()  # the SDK asks for this before each look for jobs
        return limit

    async def handler(job):  # a function of its own: the SDK recognises neither bound methods nor callables
        async with contextlib.aclosing(worker.handle(job)) as outputs:
            async for output in outputs:
                yield sdk.Chunk(output) if isinstance(output, str) else output
                if asyncio.current_task() in undelivered:
                    lost = utils.JobError("A part of the answer could not be delivered to the platform.",
                                          type="server_error", code=502)
                    yield {"error": lost.to_json(str(job.get("id")))}
                    return

    try:
        uvloop.install()
        runpod.serverless.start({"handler": handler, "concurrency_modifier": concurrent,
                                 "return_aggregate_stream": True})
    finally:
        engine.stop(_ENGINE_STOP)
    return 0


def main() -> int:
    started = time.monotonic()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter,
                                     epilog="Any other argument goes to the runpod SDK.")
    parser.add_argument("--print-config", action="store_true", help="show the resolved configuration and exit")
    parser.add_argument("--test_input", metavar="JSON", help="run this one job and exit")
    parser.add_argument("--rp_serve_api", action="store_true", help="the SDK's own local HTTP server")
    args, rest = parser.parse_known_args()
    sys.argv[1:] = (["--rp_serve_api"] if args.rp_serve_api else []) + rest

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
    job = local_job(args)
    for level, line in settings.notices:
        utils.log(line, level)

    cold = ColdStart(settings, snapshot, started)
    engine = Engine(cold.command(), cold.environ(config.engine_environ(settings, os.environ)), port=settings.port,
                    api_key=settings.api_key, listen=cold.listen, patience=Patience(
                        settings.startup_timeout, settings.max_restarts, settings.restart_window,
                        settings.hang_timeout))
    engine.on_restarted(cold.restarted)

    def stop_early(_number, _frame):
        raise SystemExit(0)

    # Until the SDK installs its own: an ordinary end of the interpreter, so that the engine is stopped in order.
    signal.signal(signal.SIGTERM, stop_early)
    signal.signal(signal.SIGINT, stop_early)
    try:
        engine.start()
        cold.launched(engine)
        return serve(settings, engine, cold, job)
    except EngineError as error:
        utils.log(str(error), "error")
        cold.failed()
        return 1
    finally:
        engine.stop(_ENGINE_STOP)
        cold.close()


if __name__ == "__main__":
    sys.exit(main())
