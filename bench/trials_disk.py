"""Trials with a disk that takes nothing: full, read-only, or not there, at every place that the worker writes.

A folder below a regular file stands for one that cannot be made, /proc for one that nobody can write, and a file system
of one page, filled, for a full one. Where this process may not mount, the last is left out; a limit of no bytes on all
files that the worker's processes write, set from outside while it serves, needs no privilege and stands for it too.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import resource
import subprocess
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

from bench.chaos_engine import tree
from bench.trial import Trial, prompt, stopped, wrong
from local.runpod_platform import Platform
from tests.worker import WorkerProcess, contract_environ

_KERNEL = "$TRITON_CACHE_DIR/abc/kernel.cubin"
_TEMPLATE = "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}\n{% endfor %}"


def _environ(folder: Path, **extra: str) -> dict[str, str]:
    life = {"files": {_KERNEL: "code"}, "bind_delay": 1}
    return contract_environ(**{"HOME": str(folder / "home"), "SCRIPTED_ENGINE_LIFE": json.dumps(life), **extra})


def _fill(worker: WorkerProcess) -> None:
    """From now on no process of the worker can write a byte to a file."""
    for pid in tree(worker.process.pid):
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (0, 0))


async def _serves(platform: Platform, worker: WorkerProcess, where: str) -> list[str]:
    job = await (await platform.submit({"messages": prompt({"text": "Paris."})})).finished(60)
    problems = [problem for problem in [wrong(job, "chat", "Paris.")] if problem]
    problems += await stopped(worker)
    problems += [line[:300] for line in worker.lines if "Traceback" in line or "Internal error" in line]
    return [f"{where}: {problem}" for problem in problems]


async def full_disk() -> list[str]:
    """A disk that is full from the first poll on costs a line in the log and no job, and leaves no half archive."""
    problems = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        environ = _environ(folder, COMPILE_CACHE_DIR=str(folder / "volume"))
        async with Platform(long_poll=5) as platform, WorkerProcess(platform, environ) as worker:
            await worker.connected()
            _fill(worker)  # what was compiled is saved later, when nothing new has come for a while
            problems += await _serves(platform, worker, "full")
            if not any("compile cache" in line and "not saved" in line for line in worker.lines):
                problems.append("the log does not say that the compiled kernels were not saved")
            left = [path.name for path in (folder / "volume").rglob("*") if path.is_file() and path.stat().st_size]
            if left:
                problems.append(f"a part of an archive was left: {left}")
    return problems


@contextlib.contextmanager
def _bad_places(folder: Path) -> Iterator[dict[str, Path]]:
    """{what is wrong with it: a folder that takes no file}"""
    (folder / "file").touch()
    places = {"impossible": folder / "file" / "below", "read-only": Path("/proc/self")}
    full = folder / "full"
    full.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4k", "tmpfs", str(full)],
                             check=False, capture_output=True).returncode == 0
    try:
        if mounted:
            (full / "filling").write_bytes(b"x" * 4096)
            places["full"] = full
        yield places
    finally:
        if mounted:
            subprocess.run(["umount", "-l", str(full)], check=False)


async def _serves_or_says_why(platform: Platform, worker: WorkerProcess, where: str, named: str) -> list[str]:
    """It serves, or ends with status 1 or 2 and a line that names the variable."""
    try:
        await worker.connected()
    except AssertionError:
        status = await worker.ended(30)
        if status not in (1, 2) or not any(named in line for line in worker.lines):
            return [f"{where}: ended with {status} and said {worker.output[-1500:]!r}"]
        return []
    return await _serves(platform, worker, where)


async def _tried(variables: Iterable[str], named: str | None, **extra: str) -> list[str]:
    """Each variable with each bad place; `named`: what a worker that cannot serve names, None: it has to serve."""
    async def one(folder: Path, variable: str, kind: str, place: Path) -> list[str]:
        folder.mkdir()
        value = str(place / "x.svg" if variable == "START_REPORT_SVG" else place)
        environ = _environ(folder, SCRIPTED_ENGINE_LIFE="{}", **extra) | {variable: value}
        where = f"{variable} {kind}"
        async with Platform(long_poll=5) as platform, WorkerProcess(platform, environ) as worker:
            if named is not None:
                return await _serves_or_says_why(platform, worker, where, named)
            await worker.connected()
            problems = await _serves(platform, worker, where)
            if variable == "START_REPORT_SVG" and not any(variable in line for line in worker.lines):
                problems.append(f"{where}: no line says so")
            return problems

    problems = []
    with tempfile.TemporaryDirectory() as name, _bad_places(Path(name)) as places:
        for variable in variables:
            found = await asyncio.gather(*(one(Path(name) / f"{variable}-{kind}", variable, kind, place)
                                           for kind, place in places.items()))
            problems += [problem for one_place in found for problem in one_place]
    return problems


async def nowhere_to_write() -> list[str]:
    """Each place that a variable names is full, read-only or impossible: the worker serves all the same."""
    places = ("COMPILE_CACHE_DIR", "START_REPORT_SVG", "TMPDIR", "HOME", "TRITON_CACHE_DIR", "HF_HOME")
    return await _tried(places, None)


async def nowhere_for_a_template() -> list[str]:
    """A chat template that is given inline and has no place to be kept: the worker serves, or ends and names it."""
    return await _tried(("TMPDIR", "HOME"), "CHAT_TEMPLATE", CHAT_TEMPLATE=_TEMPLATE)


async def no_room_for_a_picture() -> list[str]:
    """START_REPORT_SVG on a device that is full is a line in the log."""
    with tempfile.TemporaryDirectory() as name:
        environ = _environ(Path(name), START_REPORT_SVG="/dev/full", SCRIPTED_ENGINE_LIFE="{}")
        async with Platform(long_poll=5) as platform, WorkerProcess(platform, environ) as worker:
            await worker.connected()
            problems = await _serves(platform, worker, "/dev/full")
            if not any("START_REPORT_SVG" in line for line in worker.lines):
                problems.append("/dev/full: no line says so")
    return problems


TRIALS: tuple[Trial, ...] = (full_disk, nowhere_to_write, nowhere_for_a_template, no_room_for_a_picture)
