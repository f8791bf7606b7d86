"""Downloads, by a program that stands in for builder/download_adapter.py."""

import asyncio
import json
import os
import sys
from pathlib import Path

import pytest

from local import tiny_adapters
from lora import hub
from lora.hub import Hub
from utils import JobError

TOKEN = "hf_secret_of_the_test"


@pytest.fixture
def program(tmp_path, monkeypatch):
    """Makes the program: the source of what it does, with its arguments in `args`."""
    def made(source: str, seconds: float = 30.0) -> Hub:
        file = tmp_path / "program.py"
        file.write_text(f"import json, os, sys, time\nargs = sys.argv[1:]\n{source}\n")
        monkeypatch.setattr(hub, "PROGRAM", file)
        return Hub({"HOME": str(tmp_path), "HF_TOKEN": TOKEN}, sys.executable, seconds, 5_000_000,
                   [str(tmp_path / "cache")])
    return made


async def failed(adapters: Hub, revision: str = "") -> JobError:
    with pytest.raises(JobError) as raised:
        await adapters.folder("org/x", revision)
    return raised.value


async def test_it_is_told_what_to_get_and_says_where_it_is(program, tmp_path):
    said = f"open({str(tmp_path / 'args')!r}, 'w').write(json.dumps([args, os.environ.get('HF_TOKEN')]))"
    adapters = program(said + "\nprint('noise')\nprint(json.dumps({'folder': '/there'}))")
    assert await adapters.folder("org/x", "v1") == "/there"
    args, token = json.loads((tmp_path / "args").read_text())
    assert args == ["org/x", "--most-bytes", "5000000", "--seconds", "31", "--revision", "v1"]
    assert token == TOKEN  # in its environment, and nowhere on its command line


@pytest.mark.parametrize("kind, code", [("missing", 404), ("refused", 400), ("large", 400), ("disk", 503),
                                        ("failed", 503), ("new", 503)])
async def test_what_went_wrong_has_a_status(program, kind, code):
    error = await failed(program(f"print(json.dumps({{'error': {kind!r}, 'message': 'the reason'}}))"))
    assert error.code == code and "'org/x'" in error.message and "the reason" in error.message


@pytest.mark.parametrize("source", ["sys.exit(3)", "print('[]')", "print('no JSON')", "raise SystemError(os.environ)",
                                    "os.abort()"])
async def test_a_program_that_says_nothing_has_failed(program, source):
    error = await failed(program(source))
    assert error.code == 503 and "ended with status" in error.message and TOKEN not in error.message


async def test_one_that_takes_too_long_is_ended_with_all_that_it_started(program, tmp_path):
    source = (f"import subprocess; child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
              f"open({str(tmp_path / 'child')!r}, 'w').write(str(child.pid))\ntime.sleep(600)")
    error = await failed(program(source, seconds=3.0))
    assert error.code == 503 and "LORA_DOWNLOAD_TIMEOUT" in error.message
    await _gone(int((tmp_path / "child").read_text()))


async def test_it_ends_with_the_worker(program, tmp_path):
    adapters = program(f"open({str(tmp_path / 'pid')!r}, 'w').write(str(os.getpid()))\ntime.sleep(600)")
    task = asyncio.create_task(adapters.folder("org/x", ""))
    async with asyncio.timeout(30):
        while not (tmp_path / "pid").exists() or not (tmp_path / "pid").read_text():  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await _gone(int((tmp_path / "pid").read_text()))


async def test_what_a_cache_has_is_not_downloaded(program, tmp_path):
    adapters = program("sys.exit(3)")
    repository = tmp_path / "cache" / "models--org--x"
    snapshot = tiny_adapters.make(repository / "snapshots" / "abc1234", 1)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("abc1234")
    assert await adapters.folder("org/x", "") == str(snapshot)
    assert await adapters.folder("org/x", "abc1234") == str(snapshot)
    assert (await failed(adapters, "v2")).code == 503
    (snapshot / tiny_adapters.WEIGHTS).write_bytes(b"")  # half of it
    assert (await failed(adapters)).code == 503


async def test_the_only_commit_of_a_cache_is_the_main_branch_only_where_the_cache_says_so(program, tmp_path):
    adapters = program("sys.exit(3)")
    repository = tmp_path / "cache" / "models--org--x"
    snapshot = tiny_adapters.make(repository / "snapshots" / "abc1234", 1)  # as a revision v2 leaves it
    (repository / "refs").mkdir()
    (repository / "refs" / "v2").write_text("abc1234")
    assert await adapters.folder("org/x", "v2") == str(snapshot)
    assert (await failed(adapters)).code == 503  # it was to be downloaded


async def _gone(pid: int) -> None:
    """Wait until a process has ended; who would reap it may be busy, so one that is only left to be reaped has."""
    async with asyncio.timeout(30):
        while os.path.exists(f"/proc/{pid}") and ") Z " not in Path(f"/proc/{pid}/stat").read_text():  # noqa: ASYNC110
            await asyncio.sleep(0.01)
