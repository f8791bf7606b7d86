"""A scripted stand-in for `sglang.launch_server`: the server's routes and shapes, with faults on demand.

For tests and benchmarks of the worker: it costs nothing to start, needs no model, and does on command what
a real engine does only on a bad day. `python -m local.scripted_engine --help` lists its options; every flag
of SGLang is accepted. See scripted_faults.Script and .Life for what can be scripted.

Besides SGLang's routes:
  GET  /_scripted/requests[?rid=&path=&state=&tokens=]   the recorded requests that match, oldest first
  GET  /_scripted/wait?…[&count=1][&timeout=30]          the same, once `count` match; 408 when none do
  POST /_scripted/script {…}      replaces the default script from now on
  POST /_scripted/release[?rid=]  lets streams that hang (hang_at) go on
  GET, POST /_scripted/adapters   what became of adapters, and faults of their loads: see scripted_adapters.py
  GET  /_scripted/process         {"pid", "children", "running", "queued", "draining", "connections"}
States of a request: queued, running, hanging, finished, aborted, disconnected, dropped, failed.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import os
import signal
import sys

from aiohttp import web

from local.scripted_faults import Life, Script, end_process, start_children, write_files
from local.scripted_routes import Server


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(
        prog="python -m local.scripted_engine", allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter, description=__doc__)
    p.add_argument("--host", default="127.0.0.1")
    p.add_argument("--port", type=int, default=30000)
    p.add_argument("--model-path", "--model", default="scripted", help="the name that answers carry")
    p.add_argument("--served-model-name", help="default: the model path")
    p.add_argument("--api-key", help="bearer key; /health, /ready and /_scripted stay open")
    p.add_argument("--max-running-requests", type=int, default=256, help="more wait in line")
    p.add_argument("--max-queued-requests", type=int, default=10**9, help="beyond it: queue full")
    p.add_argument("--data-parallel-size", "--dp-size", dest="dp_size", type=int, default=1)
    p.add_argument("--node-rank", type=int, default=0, help="of others than the first, health is all that answers")
    p.add_argument("--context-length", type=int, default=131072, help="in this engine's tokens: bytes")
    p.add_argument("--is-embedding", action="store_true")
    p.add_argument("--reasoning-parser", help="only told: a script's `reasoning` is sent apart with and without one")
    p.add_argument("--tool-call-parser", help="only told; `auto` finds qwen")
    p.add_argument("--enable-multimodal", action="store_true", help="it says that it reads images and hears audio")
    p.add_argument("--enable-lora", action="store_true", help="adapters are only counted: see scripted_adapters.py")
    p.add_argument("--lora-paths", nargs="*", help="loaded at once, each as name=path")
    p.add_argument("--max-lora-rank", type=int)
    p.add_argument("--max-loaded-loras", type=int, help="only told")
    p.add_argument("--lora-target-modules", nargs="*", help="only told")
    p.add_argument("--script", default=os.environ.get("SCRIPTED_ENGINE_SCRIPT"),
                   help="JSON, the default for every request (environment: SCRIPTED_ENGINE_SCRIPT); "
                        'a request overrides it with \'#script {"tokens": 3}\' in its prompt or `user`')
    p.add_argument("--life", default=os.environ.get("SCRIPTED_ENGINE_LIFE"),
                   help="JSON, the process's own behaviour (environment: SCRIPTED_ENGINE_LIFE)")
    return p


def say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


async def serve(options: argparse.Namespace, life: Life, script: Script, children) -> int:
    """Run until SIGTERM has drained the streams; returns the exit status."""
    loop = asyncio.get_running_loop()
    if life.exit_after is not None:
        loop.call_later(life.exit_after, end_process, life.exit_code)
    await asyncio.sleep(life.bind_delay)
    while life.bind_file and not os.path.exists(life.bind_file):  # noqa: ASYNC110 - a file tells nobody
        await asyncio.sleep(0.02)
    server = Server(options, life, script, children)
    stopping = asyncio.Event()
    if not life.ignore_sigterm:
        loop.add_signal_handler(signal.SIGTERM, stopping.set)
    # handler_cancellation: a client that goes away must end its generation, as in the real server.
    runner = web.AppRunner(server.app, access_log=None, handler_cancellation=True, shutdown_timeout=1)
    await runner.setup()
    try:
        await web.TCPSite(runner, options.host, options.port, backlog=1024).start()
    except OSError as error:
        say(f"ERROR: [Errno {error.errno}] error while attempting to bind on address "
            f"('{options.host}', {options.port}): address already in use")
        return 3
    options.port = runner.addresses[0][1]
    write_files(life)  # as kernels are: long after the start, and before it can serve
    say(f"Uvicorn running on http://{options.host}:{options.port} (Press CTRL+C to quit)")
    await asyncio.sleep(life.ready_delay)
    say("The server is fired up and ready to roll!")
    await stopping.wait()
    server.engine.draining = True
    if server.engine.busy():
        await server.engine.idle.wait()
    await asyncio.sleep(life.exit_delay)
    await runner.cleanup()
    return 0


def _worth_a_line(record: logging.LogRecord) -> bool:
    """A client that has gone is nothing that SGLang would show a trace of; its log is read for traces."""
    return not (record.exc_info and isinstance(record.exc_info[1], ConnectionError))


def main(argv: list[str] | None = None) -> int:
    logging.getLogger("aiohttp.server").addFilter(_worth_a_line)
    options, _ = parser().parse_known_args(argv)
    life = Life.read(options.life)
    script = Script().updated(json.loads(options.script) if options.script else {})
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # the real server ends by the signal, status -2
    if life.ignore_sigterm:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    for line in life.log:
        say(line)
    children = start_children(life)
    if life.exit_after == 0:
        end_process(life.exit_code)
    try:
        return asyncio.run(serve(options, life, script, children))
    finally:
        for child, survives in children:
            if not survives:
                child.kill()
                child.wait()


if __name__ == "__main__":
    sys.exit(main())
