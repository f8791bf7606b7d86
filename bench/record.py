"""Record what a real SGLang answers to the worker, for tests that need no engine.

    python -m bench.record [--out tests/recorded] [GROUP …]

For each group of record_cases.WORKERS: platform, worker and SGLang on the CPU, the recording server between the last
two; then one job after another, and a file for each. Read the difference before keeping it: a change is a change of
SGLang, or of what the worker asks.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import shlex
import sys
import tempfile
from pathlib import Path

import aiohttp

from bench import record_cases
from local import corpus, environments
from local.platform_waiting import Handle
from local.runpod_platform import Platform
from tests.support import ROOT, free_port
from tests.worker import WorkerProcess

_STATE = ("/v1/models", "/model_info", "/server_info", "/health", "/ready")
_ABORT_AFTER = 30  # bytes of the answer's text that the client has seen


def _environ(group: record_cases.Worker, log: Path) -> dict[str, str]:
    engine = environments.engine_python()
    return {**environments.engine_environ(os.environ), **environments.CPU_ENGINE_ARGS, **group.environ,
            "SGLANG_LAUNCH_COMMAND": f"{shlex.quote(sys.executable)} -m local.recording_engine",
            "RECORD_COMMAND": f"{shlex.quote(str(engine))} -m sglang.launch_server", "RECORD_TO": str(log),
            "PYTHONPATH": f"{environments.LOCAL / 'shim'}{os.pathsep}{ROOT}", "SGLANG_PORT": str(free_port()),
            "MODEL_NAME": str(environments.tiny_model()), "SERVED_MODEL_NAME": corpus.SERVED_NAME,
            "RUNPOD_SKIP_AUTO_SYSTEM_CHECKS": "true"}


class Log:
    """The lines that the recording server wrote, without this machine's paths."""

    def __init__(self, path: Path):
        self.path, self._read = path, 0
        self._paths = {str(environments.tiny_model()): "/models/tiny",
                       str(environments.engine_python().parent.parent): "/opt/engine", str(Path.home()): "~"}

    def news(self) -> list[dict]:
        """The lines since the last call."""
        lines = self.path.read_text(encoding="utf-8").splitlines() if self.path.exists() else []
        fresh, self._read = lines[self._read:], len(lines)
        return [json.loads(self._clean(line)) for line in fresh]

    def _clean(self, line: str) -> str:
        for path, instead in self._paths.items():
            line = line.replace(path, instead)
        return line


def _newest(lines: list[dict]) -> list[dict]:
    """The last of each request: a server that starts is asked the same again and again."""
    return list({json.dumps([line["method"], line["path"], line["body"]]): line for line in lines}.values())


def _write(file: Path, value: dict) -> None:
    file.write_text(json.dumps(value, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


async def _run(platform: Platform, name: str, job_input: dict, server: Server, log: Log, abort: bool) -> dict:
    job = await platform.submit(job_input)
    if abort:
        await _abort(job, server)
    await job.finished(120)
    await server.quiet()
    print(f"  {name}: {job.status} {(job.error or '')[:100]}", flush=True)
    # The state of the server is asked all the time, and belongs to no job.
    return {"job": job_input, "exchanges": [line for line in log.news() if line["path"] not in _STATE[1:]]}


class Server:
    """The recording server, and the one behind it."""

    def __init__(self, url: str, session: aiohttp.ClientSession):
        self.url, self.session, self.behind = url, session, ""

    async def quiet(self) -> str:
        """Wait until every request that is to be written down has been; returns the address of the one behind."""
        async with self.session.get(f"{self.url}/_recording") as response:
            return (await response.json())["url"]

    async def abort_all(self) -> None:
        """Past the recording: this is nothing that the worker asks."""
        async with self.session.post(f"{self.behind}/abort_request", json={"rid": "", "abort_all": True}) as response:
            await response.read()


async def _abort(job: Handle, server: Server) -> None:
    await job.until(lambda record: record.status == "IN_PROGRESS")
    if job.input.get("stream") or (job.input.get("openai_input") or {}).get("stream"):
        await job.until(lambda record: len(record.text) > _ABORT_AFTER)
    else:
        await asyncio.sleep(0.3)  # in the middle of an answer that takes a second or more
    await server.abort_all()


async def record(name: str, out: Path) -> None:
    """One group, into out/name/."""
    group, folder = record_cases.WORKERS[name], out / name
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as temporary:
        log = Log(Path(temporary) / "log")
        environ = _environ(group, log.path)
        async with Platform() as platform, WorkerProcess(platform, environ, ready_within=300) as worker:
            await worker.connected()
            async with aiohttp.ClientSession() as session:
                server = Server(f"http://127.0.0.1:{environ['SGLANG_PORT']}", session)
                for path in _STATE:
                    async with session.get(server.url + path) as response:
                        await response.read()
                server.behind = await server.quiet()
                for old in folder.glob("*.json"):
                    old.unlink()
                start = [line for line in _newest(log.news()) if line["ended"] and line["status"] < 500]
                _write(folder / "group.json", {"environ": group.environ, "exchanges": start})
                for jobs, abort in ((group.jobs, False), (group.aborted, True)):
                    for case, job_input in jobs.items():
                        _write(folder / f"{case}.json", await _run(platform, case, job_input, server, log, abort))
            worker.process.terminate()
            await worker.ended(60)


def main(argv: list[str] | None = None) -> int:
    p = argparse.ArgumentParser(prog="python -m bench.record", description=__doc__,
                                formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("groups", nargs="*", metavar="GROUP", help="default: " + ", ".join(record_cases.WORKERS))
    p.add_argument("--out", type=Path, default=Path(ROOT) / "tests" / "recorded", help="default: %(default)s")
    options = p.parse_args(argv)
    for name in options.groups or record_cases.WORKERS:
        print(name, flush=True)
        asyncio.run(record(name, options.out))
    return 0


if __name__ == "__main__":
    sys.exit(main())
