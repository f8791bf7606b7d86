"""A worker reads the weights of its model ahead of the server: whole processes, real pages."""

import asyncio
import contextlib
import json
import os
import signal

import pytest

from bench import slow_volume
from server.guard import descendants
from start import start_report
from tests.hub_folders import MODEL
from tests.pages import resident, weights
from tests.worker import WorkerProcess, contract_environ

MB = 10**6
SHARDS = [f"model-0000{number}-of-00003.safetensors" for number in (1, 2, 3)]
IMPORTED = ["server_args=x", "Init parallel begin"]
LOADING = [*IMPORTED, "Load weight begin"]


def without_weights(folder, shards):
    """The new folder of a model whose index names `shards`, none of which is there."""
    folder.mkdir()
    for name, content in MODEL.items():
        if not name.endswith(".safetensors"):
            (folder / name).write_bytes(content)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": dict(enumerate(shards))}))
    return folder


@pytest.fixture
def model(tmp_path):
    """A folder of three shards that the index names, and a file of weights that it does not name."""
    folder = without_weights(tmp_path / "model", SHARDS)
    for name in (*SHARDS, "consolidated.safetensors"):
        weights(folder / name, 30 * MB)
    return folder


def environ(model, *lines, bind_delay=600.0, bind_file=None, **extra):
    """A worker of `model` whose server says `lines` at once, and is up much later."""
    life = {"log": list(lines), "bind_delay": bind_delay, "bind_file": bind_file}
    return contract_environ(MODEL_NAME=str(model), SCRIPTED_ENGINE_LIFE=json.dumps(life), **extra)


async def told(worker, fragment="weights: ") -> str:
    return json.loads(await worker.line(fragment))["message"]


@pytest.fixture
def elsewhere(model, tmp_path):
    """The same folder on another device than the libraries."""
    with contextlib.ExitStack() as stack:
        try:
            copy = stack.enter_context(slow_volume.volume(model, 10**9, tmp_path))
        except slow_volume.Impossible as why:
            pytest.skip(f"this machine offers no second device: {why}")
        slow_volume.forget(copy)
        yield copy


async def test_the_files_of_the_index_are_in_memory_before_the_server_loads(platform, elsewhere):
    async with WorkerProcess(platform, environ(elsewhere)) as worker:  # which has said nothing yet
        line = await told(worker)
        assert line.startswith("weights: 90.0 MB in ") and line.endswith("100 % before they were needed")
    assert all(resident(elsewhere / name) > 0.99 for name in SHARDS)
    assert resident(elsewhere / "consolidated.safetensors") < 0.5


async def test_on_the_disk_of_the_libraries_these_come_first(platform, model):
    async with WorkerProcess(platform, environ(model, *LOADING)) as worker:
        line = await told(worker)
        assert line.startswith("weights: 90.0 MB in ") and line.endswith("the libraries came first, from the same disk")
    assert all(resident(model / name) > 0.99 for name in SHARDS)
    assert resident(model / "consolidated.safetensors") < 0.5


async def test_a_warm_start_reads_nothing(platform, model):
    for name in SHARDS:
        (model / name).read_bytes()
    async with WorkerProcess(platform, environ(model, *LOADING)) as worker:
        assert await told(worker) == "weights: 90.0 MB, in memory already"


async def test_the_start_report_has_it(platform, model):
    # The server says that it is ready only after the line of the weights was seen.
    async with WorkerProcess(platform, environ(model, *LOADING, bind_delay=6.0)) as worker:
        await worker.connected()
        report = json.loads((await told(worker, start_report.PREFIX)).removeprefix(start_report.PREFIX))
        await told(worker)
    assert report["weights"]["bytes"] == 90 * MB and 0 <= report["weights"]["in_time"] <= 1
    assert [phase["meanwhile"] for phase in report["phases"] if phase["name"] == "read ahead"] == [True]


@pytest.mark.parametrize(("lines", "extra"), [
    (LOADING, {"READ_AHEAD": "off"}), (LOADING, {"LOAD_FORMAT": "dummy"}),
    (LOADING, {"LOAD_FORMAT": "runai_streamer"}), (IMPORTED, {})])
async def test_where_nothing_is_read(platform, model, lines, extra):
    # The last: the libraries lie on the same device, and the imports never end.
    async with WorkerProcess(platform, environ(model, *lines, bind_delay=0.5, **extra)) as worker:
        await worker.connected()
        await worker.line(start_report.PREFIX)
        assert not any("weights: " in line for line in worker.lines)
    assert all(resident(model / name) < 0.5 for name in SHARDS)


def process(worker, word: bytes, threads: int) -> int | None:
    """A process of the worker's with `word` in its command line and more than so many threads."""
    for pid in descendants(worker.process.pid):
        with contextlib.suppress(OSError), open(f"/proc/{pid}/cmdline", "rb") as f:
            words = f.read()
            if word in words and b"guard.py" not in words and len(os.listdir(f"/proc/{pid}/task")) > threads:
                return pid
    return None


def lives(pid: int) -> bool:
    """Not for one that has ended and that process 1, whose child it became, has not buried."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as f:
            return f.read().rpartition(b")")[2].split()[0] not in (b"Z", b"X")
    except OSError:
        return False


async def until(condition):
    """What `condition` gives once that is true."""
    async with asyncio.timeout(60):
        while not (found := condition()):  # noqa: ASYNC110 - /proc tells nobody
            await asyncio.sleep(0.005)
    return found


@pytest.mark.parametrize("how", ["terminated", "killed", "given up"])
async def test_a_reader_that_hangs_delays_no_end(platform, model, how):
    weights(model / SHARDS[0], 3000 * MB)  # some seconds
    async with WorkerProcess(platform, environ(model, *LOADING)) as worker:
        pid = await until(lambda: process(worker, b"page_reader.py", 3))  # its threads are at it
        os.kill(pid, signal.SIGSTOP)  # as by a volume that does not answer
        if how == "terminated":
            worker.process.terminate()
        elif how == "killed":
            worker.process.kill()
        else:
            os.kill(process(worker, b"scripted_engine", 0), signal.SIGKILL)
        assert await worker.ended(60) == {"terminated": 0, "killed": -9, "given up": 1}[how]
        await until(lambda: not lives(pid))
