"""The whole way of a request on this machine: OpenAI client, platform, worker, real SGLang on the CPU, and back.

    python3 -m local demo             ask one question, print the streamed answer, stop
    python3 -m local demo --serve     stay up; prints the base URL and a curl line
    python3 -m local demo --http      the same without the platform: the worker serves over HTTP itself, as on a
                                      load-balancing endpoint or a Pod
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import errno
import os
import signal
import sys
import time
from pathlib import Path

from openai import AsyncOpenAI

from local import corpus, environments, ways

ROOT = Path(__file__).resolve().parent.parent
MODEL = "tiny"


def worker_environ(way: ways.Queue | ways.Http, engine_python: Path, model: Path, engine_port: int) -> dict[str, str]:
    """The worker's environment on this machine: what brings it its requests, and the CPU engine's flags as a user
    would set them in the console."""
    return {
        **environments.engine_environ(os.environ),
        **environments.CPU_ENGINE_ARGS,
        **way.environ(),
        "SGLANG_LAUNCH_COMMAND": f"{engine_python} -m sglang.launch_server",
        "SGLANG_PORT": str(engine_port),
        "MODEL_NAME": str(model), "SERVED_MODEL_NAME": MODEL, "TOOL_CALL_PARSER": "qwen25",
        # The SDK's checks are about RunPod's machines: 4 GB of free memory, a GPU, a route to the internet.
        "RUNPOD_SKIP_AUTO_SYSTEM_CHECKS": "true",
    }


def log_of(port: int) -> Path:
    """The worker's log of the demo on this port, which no other demo has while it runs."""
    return environments.cache_root() / f"demo-{port}.log"


async def _progress(started: float) -> None:
    live = sys.stdout.isatty()
    while True:
        line = f"  starting worker and engine … {time.monotonic() - started:.0f} s"
        print(f"\r{line}" if live else line, end="" if live else "\n", flush=True)
        await asyncio.sleep(1 if live else 10)


async def _ask(base_url: str, question: str) -> str:
    client = AsyncOpenAI(api_key="local", base_url=base_url, max_retries=0, timeout=300)
    answer = ""
    stream = await client.chat.completions.create(
        model=MODEL, messages=[{"role": "user", "content": question}], temperature=0, max_tokens=200, stream=True)
    async for chunk in stream:
        if chunk.choices and chunk.choices[0].delta.content:
            answer += chunk.choices[0].delta.content
            print(chunk.choices[0].delta.content, end="", flush=True)
    print()
    return answer


async def run(args: argparse.Namespace) -> int:
    engine_python, model = environments.engine_python(), environments.tiny_model()
    started = time.monotonic()
    async with (ways.Http if args.http else ways.Queue)(args.port) as way:
        log_path = log_of(way.port)
        with log_path.open("wb") as log:
            worker = await asyncio.create_subprocess_exec(
                sys.executable, "handler.py", cwd=ROOT, stdout=log, stderr=log,
                env=worker_environ(way, engine_python, model, args.engine_port or ways.free_port()))
        base_url = way.url + "/v1"
        print(f"{way.at}   worker log: {log_path}")
        ended = asyncio.create_task(worker.wait())
        progress = asyncio.create_task(_progress(started))
        loop = asyncio.get_running_loop()
        stop = asyncio.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, stop.set)
        stopped = asyncio.create_task(stop.wait())
        ready = asyncio.create_task(way.ready())
        try:
            await asyncio.wait([ended, stopped, ready], return_when=asyncio.FIRST_COMPLETED)
            progress.cancel()
            if ready.done():
                print(f"{chr(13) if sys.stdout.isatty() else ''}  worker and engine ready after "
                      f"{time.monotonic() - started:.0f} s     ")
            if ended.done():
                print(f"the worker ended with status {worker.returncode}; its last lines:", file=sys.stderr)
                print("\n".join(log_path.read_text(errors="replace").splitlines()[-25:]), file=sys.stderr)
                return 1
            if stopped.done():
                return 0
            print(f"\nQ: {args.question}\nA: ", end="", flush=True)
            answer = await _ask(base_url, args.question)
            if args.serve:
                print(f"\nbase URL for any OpenAI client: {base_url}   (any API key)\n"
                      f"curl -N {base_url}/chat/completions -H 'Authorization: Bearer local' "
                      "-H 'Content-Type: application/json' \\\n  -d '{\"model\": \"tiny\", \"stream\": true, "
                      f"\"messages\": [{{\"role\": \"user\", \"content\": \"{corpus.EXCHANGES[0][0]}\"}}]}}'\n"
                      + (f"a page to try it: {way.url}/\n" if args.http else "")
                      + "Ctrl-C stops everything.", flush=True)
                await asyncio.wait([ended, stopped], return_when=asyncio.FIRST_COMPLETED)
            return 0 if answer else 1
        finally:
            progress.cancel()
            ready.cancel()
            if worker.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    worker.terminate()
                try:
                    await asyncio.wait_for(worker.wait(), 60)
                except TimeoutError:
                    worker.kill()
            print("stopped")


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python3 -m local demo", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--serve", action="store_true", help="stay up after the first answer")
    parser.add_argument("--http", action="store_true", help="over HTTP, without the platform's stand-in")
    parser.add_argument("--question", default="What is the capital of France?")
    parser.add_argument("--port", type=int, default=8000,
                        help="port of the platform, or with --http of the worker, 0 for a free one; the worker's log "
                             "is named by it (default 8000)")
    parser.add_argument("--engine-port", type=int, default=0, help="port of the engine (default: a free one)")
    args = parser.parse_args(argv)
    try:
        return asyncio.run(run(args))
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            raise
        print(f"Port {args.port} is taken, perhaps by another demo: give this one another with --port, 0 for any.",
              file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
