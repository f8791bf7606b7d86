"""A worker's start: compile caches that outlive it, the warm-up before its first job, and the report of its phases."""

import asyncio
import contextlib
import json
import os
import re
import signal
import sys
import time
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from urllib.request import urlopen

import pytest

from server.guard import descendants
from start import start_report
from tests.small_disk import small_disk
from tests.support import ROOT, say
from tests.worker import WorkerProcess, contract_environ

KERNEL = "$TRITON_CACHE_DIR/abc/kernel.cubin"
LIBRARY = "$TVM_FFI_CACHE_DIR/op/op.so"


@pytest.fixture
def home(tmp_path):
    return tmp_path / "home"


def environ(home, volume=None, files=(KERNEL, LIBRARY), life=None, **extra):
    """A worker whose engine "compiles" `files` into the cache folders that it was told."""
    chosen = {"COMPILE_CACHE_DIR": str(volume)} if volume else {}
    wanted = {"files": dict.fromkeys(files, "code"), "bind_delay": 1, **(life or {})}
    return contract_environ(HOME=str(home), SCRIPTED_ENGINE_LIFE=json.dumps(wanted), **chosen, **extra)


async def one_life(platform, variables) -> str:
    """The output of a worker that was started, connected, and told to stop."""
    async with WorkerProcess(platform, variables) as worker:
        await worker.connected()
        await worker.line("start report ")
        worker.process.terminate()
        assert await worker.ended() == 0
        return worker.output


def wipe(home: Path) -> None:
    home.rename(home.with_name(f"{home.name}-{time.monotonic_ns()}"))


async def test_the_next_worker_finds_what_the_first_one_compiled(platform, tmp_path, home):
    volume = tmp_path / "volume"
    first = await one_life(platform, environ(home, volume))
    assert "none yet" in first and "compiled kernel.cubin" in first and "saved 2 files" in first
    [archive] = volume.iterdir()

    wipe(home)
    second = await one_life(platform, environ(home, volume))
    assert "found kernel.cubin" in second and "found op.so" in second
    assert "saved" not in second  # nothing new
    assert [archive] == list(volume.iterdir())

    wipe(home)
    third = await one_life(platform, environ(home, volume, files=(KERNEL, LIBRARY, "$CUDA_CACHE_PATH/a/b")))
    assert "found kernel.cubin" in third and "compiled b" in third and "saved 3 files" in third


async def test_it_is_saved_while_the_worker_serves(platform, tmp_path, home):
    async with WorkerProcess(platform, environ(home, tmp_path / "volume")) as worker:
        await worker.connected()
        await worker.line("saved 2 files", 30)
        worker.process.kill()
        await worker.ended()
    wipe(home)
    assert "found op.so" in await one_life(platform, environ(home, tmp_path / "volume"))


async def test_other_settings_have_a_cache_of_their_own(platform, tmp_path, home):
    volume = tmp_path / "volume"
    await one_life(platform, environ(home, volume))
    wipe(home)
    other = await one_life(platform, environ(home, volume, KV_CACHE_DTYPE="fp8_e5m2"))
    assert "none yet" in other and "compiled kernel.cubin" in other and len(list(volume.iterdir())) == 2


async def test_a_damaged_cache_is_dropped_and_made_anew(platform, tmp_path, home):
    volume = tmp_path / "volume"
    await one_life(platform, environ(home, volume))
    [archive] = volume.iterdir()
    archive.write_bytes(archive.read_bytes()[:-20])
    wipe(home)
    second = await one_life(platform, environ(home, volume))
    assert sum("dropped" in line for line in second.splitlines()) == 1
    assert "compiled kernel.cubin" in second and "saved 2 files" in second


async def test_workers_that_start_and_end_together_leave_one_whole_cache(platform, tmp_path, home):
    volume = tmp_path / "volume"
    variables = [environ(home, volume), environ(home, volume)]
    await asyncio.gather(*(one_life(platform, each) for each in variables))
    assert len(list(volume.iterdir())) == 1
    wipe(home)
    assert "found kernel.cubin" in await one_life(platform, environ(home, volume))


def engine_of(worker: WorkerProcess) -> int:
    """The server's process, among those that come and go beside it."""
    for pid in descendants(worker.process.pid):
        with contextlib.suppress(OSError), open(f"/proc/{pid}/cmdline", "rb") as f:
            words = f.read()
            if b"scripted_engine" in words and b"guard.py" not in words:
                return pid
    raise AssertionError(worker.output)


@pytest.mark.parametrize(("said", "kept"), [
    ([], False), (["AssertionError: something new"], False),
    (["GatedRepoError: 401 Client Error. Access to model is restricted"], True),
    (["torch.OutOfMemoryError: CUDA out of memory."], True),
    (["launch_server.py: error: unrecognized arguments: --nonsense"], True)])
async def test_a_start_that_fails_for_no_known_reason_puts_its_cache_aside(platform, tmp_path, home, said, kept):
    volume = tmp_path / "volume"
    await one_life(platform, environ(home, volume))
    [archive] = volume.iterdir()
    wipe(home)
    life = {"bind_delay": 600, "log": said}
    async with WorkerProcess(platform, environ(home, volume, life=life)) as worker:
        await worker.line("compile cache: 2 files")
        for line in said:
            await worker.line(line)
        os.kill(engine_of(worker), signal.SIGKILL)
        assert await worker.ended(60) == 1
        assert ("compile cache: the server did not start with" in worker.output) is not kept
    assert [path.name for path in volume.iterdir()] == [archive.name + ("" if kept else ".doubted")]


@pytest.mark.parametrize("extra", [{}, {"COMPILE_CACHE": "off"}])
async def test_without_a_volume_or_switched_off_nothing_happens(platform, tmp_path, home, extra):
    own = tmp_path / "own"
    variables = environ(home, tmp_path / "volume" if extra else None, files=(), TRITON_CACHE_DIR=str(own), **extra)
    assert "compile cache" not in await one_life(platform, variables)
    assert not (tmp_path / "volume").exists() and not home.exists()


async def test_a_volume_that_cannot_be_written_is_a_line(platform, tmp_path, home):
    (tmp_path / "file").touch()
    output = await one_life(platform, environ(home, tmp_path / "file" / "volume"))
    assert "not saved" in output


async def test_a_volume_that_is_full_is_one_line_and_keeps_no_half_archive(platform, tmp_path, home):
    big = {"files": {KERNEL: os.urandom(40_000).hex()}}
    with small_disk(tmp_path / "volume", 16 * 1024) as volume:
        async with WorkerProcess(platform, environ(home, volume, life=big)) as worker:
            await worker.connected()
            line = await worker.line("compile cache: not saved", 60)
            assert "takes no more" in line and "No space left on device" in line
            worker.process.terminate()
            assert await worker.ended() == 0
            assert sum("not saved" in line for line in worker.lines) == 1
        assert list(volume.iterdir()) == []


# ------------------------------------------------------------------ warm-up
async def asked(worker, what="requests") -> list[dict]:
    url = f"http://127.0.0.1:{worker.environ['SGLANG_PORT']}/_scripted/{what}"
    with await asyncio.to_thread(urlopen, url, timeout=40) as response:
        return json.load(response)


def rids(requests) -> list[str]:
    return [request["rid"] for request in requests if (request["rid"] or "").startswith("warm-up")]


async def test_the_engine_sees_the_warm_up_before_the_first_job(platform):
    job = await platform.submit({"messages": say({"text": "Paris."}), "stream": True})
    async with WorkerProcess(platform, contract_environ()) as worker:
        await worker.connected()
        await job.finished()
        seen = await asked(worker)
        assert rids(seen) == ["warm-up-prefill", "warm-up-chat"]
        assert [request["rid"] for request in seen].index(job.id) >= 2
        assert "warm-up: prefill" in worker.output


async def test_an_embedding_server_is_not_asked_to_generate(platform):
    async with WorkerProcess(platform, contract_environ(IS_EMBEDDING="true")) as worker:
        await worker.connected()
        assert re.search(r"warm-up: embeddings \d+\.\d\d s in ", worker.output)
        generated = [request for request in await asked(worker) if request["path"] == "/generate"]
        assert rids(generated) == []


async def test_the_warm_up_can_be_switched_off(platform):
    async with WorkerProcess(platform, contract_environ(WARMUP="off")) as worker:
        await worker.connected()
        assert rids(await asked(worker)) == [] and "warm-up: " not in worker.output


@pytest.mark.parametrize(("script", "told"), [
    ({"hang_at": 0}, "prefill was not done within 2 s (WARMUP_TIMEOUT)"),
    ({"status": 500, "error_message": "no"}, "prefill failed, chat failed"),
    ({"tokens": 4, "drop_at": 1}, "was not done within 2 s"),
])
async def test_a_warm_up_that_fails_is_a_line_and_the_worker_serves(platform, script, told):
    variables = contract_environ(WARMUP_TIMEOUT="2", SCRIPTED_ENGINE_SCRIPT=json.dumps(script))
    async with WorkerProcess(platform, variables) as worker:
        await worker.connected()
        assert told in worker.output
        fine = {"hang_at": None, "status": None, "drop_at": None, "text": "Paris."}
        job = await (await platform.submit({"messages": say(fine)})).finished()
        assert job.status == "COMPLETED"


async def test_a_signal_during_the_warm_up_ends_the_worker(platform):
    variables = contract_environ(SCRIPTED_ENGINE_SCRIPT=json.dumps({"hang_at": 0}))
    async with WorkerProcess(platform, variables) as worker:
        await worker.line("engine ready after")
        assert await asked(worker, "wait?rid=warm-up-prefill")
        worker.process.terminate()
        assert await worker.ended() == 0


# ------------------------------------------------------------------ the report
async def test_the_start_is_told_and_drawn(platform, tmp_path, home):
    drawn = tmp_path / "start.svg"
    output = await one_life(platform, environ(home, tmp_path / "volume", START_REPORT_SVG=str(drawn)))
    names = [span.name for span in start_report.read(output.splitlines())]
    assert {"python", "configuration", "worker imports", "compile cache", "server", "server warm-up", "warm-up",
            "first poll"} <= set(names)
    assert output.count("engine ready after") == output.count("start report {") == 1
    assert "first poll" in "".join(ElementTree.fromstring(drawn.read_text()).itertext())


async def test_a_picture_that_cannot_be_written_is_a_line(platform):
    async with WorkerProcess(platform, contract_environ(START_REPORT_SVG="/nowhere/x.svg")) as worker:
        await worker.connected()
        await worker.line("START_REPORT_SVG: ")


# ------------------------------------------------------------------ an image that brings its kernels
async def bake(variables, folder) -> tuple[int, str]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "builder.bake_compile_cache", str(folder), cwd=ROOT, env=variables,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT)
    return await process.wait(), (await process.stdout.read()).decode()


async def test_kernels_are_baked_once(tmp_path, home):
    status, output = await bake(environ(home), tmp_path / "out")
    [archive] = (tmp_path / "out").iterdir()
    assert status == 0 and output.splitlines()[-1] == archive.name and "saved 2 files" in output
    assert not [name for name in tmp_path.iterdir() if name not in (tmp_path / "out", home)]

    status, output = await bake(environ(home, files=()), tmp_path / "out")
    assert status == 1 and "nothing new was compiled" in output
    status, output = await bake(environ(home, life={"exit_after": 0}), tmp_path / "out")
    assert status == 1 and "ended before it was ready" in output
    status, output = await bake(environ(home, TENSOR_PARALLEL_SIZE="two"), tmp_path / "out")
    assert status == 2 and "TENSOR_PARALLEL_SIZE" in output
