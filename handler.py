"""Entry point of the worker: settings, then the engine, then the start, then the front that brings the jobs.

    python handler.py                     the worker (on RunPod), or one job from test_input.json (elsewhere)
    python handler.py --test_input JSON   one job, printed; exit status 1 when it fails
    python handler.py --print-config      the resolved command and settings, secrets masked (--version: which worker)

Exit status: 0 after an orderly stop, 1 when the engine or a job failed, 2 when the configuration is wrong.
"""

from __future__ import annotations

import asyncio
import os
import sys
from typing import TYPE_CHECKING, Any

import utils
from clock import awake
from cluster.company import Company
from engine import Engine, EngineError
from front import local, process
from meter import setup
from settings import config, here
from settings.version import tell, version
from start.cold_start import ColdStart

if TYPE_CHECKING:
    from job.worker import Worker


def ready(worker: Worker, settings: config.Settings, engine: Engine, cold: ColdStart, began: float) -> None:
    """Everything between the worker's imports, begun at `began` (clock.awake), and its first job but the warm-up."""
    setup.export(worker.meter, settings.telemetry, traces=settings.http.processes == 1)
    process.settle_memory()
    cold.phase("worker imports", began, meanwhile=True)
    cold.ready(engine.wait_ready())
    worker.learn(settings)


def serve_queue(settings: config.Settings, engine: Engine, cold: ColdStart, ending: process.Ending,
                meter: setup.Meter, job: dict[str, Any] | None) -> int:
    """Everything between a started server and the end of a worker that RunPod's queue, or `job`, brings its work."""
    began = awake()
    # Not above: while these load, the server is loading too.
    from front.queue import serve as queue
    from job.worker import Worker
    worker = Worker(settings, engine, meter=meter)
    if job is None:
        queue.load()
    ready(worker, settings, engine, cold, began)
    if job is not None:
        return asyncio.run(local.run(worker.handle, job, worker.close))
    cold.warm(worker.facts)
    worker.watch(ending.give_up)
    limit = queue.jobs_at_once(settings.max_concurrency, engine.capacity())
    utils.log(f"serving {settings.served_model_name} with up to {limit} jobs at once")
    queue.serve(worker.handle, limit=limit, ending=ending, fail_all=worker.fail_all, on_poll=cold.first_poll,
                on_end=worker.close)
    return ending.status


def serve_http(settings: config.Settings, engine: Engine, cold: ColdStart, ending: process.Ending,
               meter: setup.Meter, company: Company) -> int:
    """The same for one that is reached over HTTP, whose front is up before the engine is."""
    from front.http import node, serve
    if company.others and settings.nodes.rank:
        return node.serve(settings, ending, engine, company.others, lambda: cold.ready(engine.wait_ready()))

    def prepare() -> tuple[Worker, int | None]:
        began = awake()
        from job.worker import Worker  # not above: health is answered while it loads
        worker = Worker(settings, engine, comments=True, meter=meter)
        ready(worker, settings, engine, cold, began)
        cold.warm(worker.facts)
        worker.watch(ending.give_up)
        cold.first_poll()
        return worker, settings.max_concurrency or engine.capacity()

    serve.front_of(settings, ending, meter, engine, cold.progress).run(prepare)
    return ending.status


def main() -> int:
    """The worker from its first line to its exit status."""
    started = awake()
    args = local.arguments(__doc__, version)
    try:
        settings, snapshot = here.resolved(os.environ)
    except config.ConfigError as error:
        print(f"{version()}\n{error}", file=sys.stderr)
        return 2
    if args.print_config:
        print(config.describe(settings))
        return 0
    job = local.job(args.test_input, args.rp_serve_api or settings.http.mode == "http")
    tell(settings)
    ending, cold = process.Ending(settings.shutdown_timeout), ColdStart(settings, snapshot, started)
    company = Company(settings, ending)
    engine = cold.engine(config.engine_environ(settings, os.environ), company.orders)
    meter = setup.made(settings.telemetry, lambda: engine.up, lambda: engine.life, cold.seconds)
    try:
        with company:
            engine.start()
            cold.launched(engine)
            if job is None and settings.http.mode == "http":
                return serve_http(settings, engine, cold, ending, meter, company)
            return serve_queue(settings, engine, cold, ending, meter, job)
    except EngineError as error:
        utils.log(str(error), "error")
        cold.failed()
        return 1
    finally:
        meter.close()
        engine.stop()
        cold.close()


if __name__ == "__main__":
    sys.exit(main())
