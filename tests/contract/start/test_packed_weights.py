"""Packed copies in whole workers: when they are unpacked, what a server that asks is handed, and what is left."""

import asyncio
import contextlib
import glob
import json
import os
import signal

import pytest

from bench import slow_volume
from server.guard import descendants
from start import start_report
from start.weights.packed import copies, packer
from start.weights.packed.plugin import worker_sglang_weights as redirect
from tests.contract.start.test_read_ahead import IMPORTED, LOADING, environ, until, without_weights
from tests.pages import resident
from tests.worker import WorkerProcess

MB = 10**6
SHARDS = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]
LOADED = [*LOADING, "Load weight end"]


@pytest.fixture
def model(tmp_path):
    """(folder of the model, folder of its copies) on another device than the libraries, nothing of both in memory."""
    folder = without_weights(tmp_path / "model", SHARDS)
    header = json.dumps({"w": {"dtype": "U8", "shape": [30 * MB], "data_offsets": [0, 30 * MB]}}).encode().ljust(248)
    for name in SHARDS:
        (folder / name).write_bytes(len(header).to_bytes(8, "little") + header + os.urandom(10 * MB) + bytes(20 * MB))
    with contextlib.ExitStack() as stack:
        try:
            copy = stack.enter_context(slow_volume.volume(folder, 10**9, tmp_path, 1.0))
        except slow_volume.Impossible as why:
            pytest.skip(f"this machine offers no second device: {why}")
        made = packer.pack_all([str(copy / name) for name in SHARDS], str(copy.parent / "packed"), 2)
        assert made["made"] == 2 and made["error"] is None
        os.sync()
        slow_volume.forget(copy)
        slow_volume.forget(copy.parent / "packed")
        yield copy, copy.parent / "packed"


def packed_environ(model, *lines, **extra):
    folder, packed = model
    return environ(folder, *lines, **{"PACKED_WEIGHTS": "on", "PACKED_WEIGHTS_DIR": str(packed), **extra})


def server_of(worker) -> int | None:
    for pid in descendants(worker.process.pid):
        with contextlib.suppress(OSError), open(f"/proc/{pid}/environ", "rb") as f:
            if redirect.ADDRESS.encode() in f.read():
                return pid
    return None


async def address(worker) -> str:
    """Where this worker's server would ask."""
    pid = await until(lambda: server_of(worker))
    with open(f"/proc/{pid}/environ", "rb") as f:
        variables = dict(word.partition(b"=")[::2] for word in f.read().split(b"\0"))
    return os.fsdecode(variables[redirect.ADDRESS.encode()])


async def taken(worker, folder) -> list[bytes]:
    """What a server is handed for its files."""
    where, found = await address(worker), []
    for name in SHARDS:
        while (fd := await asyncio.to_thread(redirect.unpacked, where, str(folder / name))) is None:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        with open(f"/proc/self/fd/{fd}", "rb") as f:
            found.append(f.read())
        os.close(fd)
    return found


async def told(worker, fragment="weights: ") -> str:
    return json.loads(await worker.line(fragment))["message"]


async def test_the_server_is_handed_the_very_bytes_and_the_volume_gives_the_copies_alone(platform, model):
    folder, _ = model
    async with WorkerProcess(platform, packed_environ(model)) as worker:
        found = await taken(worker, folder)
        assert all(resident(folder / name) < 0.5 for name in SHARDS)
    assert found == [(folder / name).read_bytes() for name in SHARDS]


async def test_the_line_and_the_report_say_what_was_unpacked(platform, model):
    async with WorkerProcess(platform, packed_environ(model, *LOADED, bind_delay=15.0)) as worker:
        line = await told(worker)
        await worker.connected()
        report = json.loads((await told(worker, start_report.PREFIX)).removeprefix(start_report.PREFIX))
    # This server loads at once and asks for nothing: it is told before all is unpacked.
    assert line.startswith("weights: ") and "unpacked from" in line or "no more" in line
    assert report["weights"]["bytes"] == sum(os.stat(model[0] / name).st_size for name in SHARDS)
    assert report["weights"]["taken"] == 0


@pytest.mark.parametrize("extra", [
    {"PACKED_WEIGHTS": "off"}, {"READ_AHEAD": "off"}, {"LOAD_FORMAT": "dummy"},
    {"WEIGHT_LOADER_DISABLE_MMAP": "true"}, {"WEIGHT_LOADER_PREFETCH_CHECKPOINTS": "true"}])
async def test_where_nothing_is_unpacked(platform, model, extra):
    async with WorkerProcess(platform, packed_environ(model, *IMPORTED, bind_delay=0.5, **extra)) as worker:
        await worker.connected()
        await worker.line(start_report.PREFIX)
        assert server_of(worker) is None
        assert not any("unpacked from" in line for line in worker.lines)


async def test_a_changed_model_is_read_itself(platform, model):
    folder, _ = model
    path = folder / SHARDS[0]
    data = path.read_bytes()
    path.write_bytes(data[:-5] + b"other")  # same size
    os.sync()
    slow_volume.forget(folder)
    async with WorkerProcess(platform, packed_environ(model)) as worker:
        line = await told(worker)
    assert line.startswith("weights: 60.0 MB in ") and "unpacked" not in line


async def test_a_start_in_place_is_handed_them_again(platform, model, tmp_path):
    folder, up = model[0], tmp_path / "up"
    async with WorkerProcess(platform, packed_environ(model, bind_delay=0.0, bind_file=str(up))) as worker:
        first = await taken(worker, folder)
        up.touch()
        await worker.connected()
        up.unlink()
        os.kill(server_of(worker), signal.SIGKILL)
        assert await taken(worker, folder) == first
        assert any("ended" in line for line in worker.lines)


async def test_nothing_of_it_outlives_the_worker(platform, model):
    async with WorkerProcess(platform, packed_environ(model)) as worker:
        where = await address(worker)
        await until(lambda: os.path.exists(where))
        worker.process.terminate()
        await worker.ended(60)
        assert not os.path.exists(os.path.dirname(where))
    assert glob.glob(f"{os.path.dirname(where)}*") == []


async def test_missing_copies_are_made_once_the_server_is_up(platform, model):
    folder, packed = model
    for path in packed.iterdir():
        path.unlink()
    async with WorkerProcess(platform, packed_environ(model, *LOADED, bind_delay=0.5, PACKED_WEIGHTS="keep")) as worker:
        line = await told(worker, "packed weights: ")
    assert line.startswith("packed weights: 0.1 GB are now 0.0 GB in ")
    assert len(copies.find([str(folder / name) for name in SHARDS], str(packed))) == 2
