"""A restart in place, with weights that have to be read: the volume gives them once, or their packed copies."""

import contextlib
import json
import os
import signal

import pytest

from bench import heavy_model, slow_volume
from start import start_report
from start.weights.packed import packer
from tests.e2e.test_faults import PARIS, PARIS_ANSWER, UP, Tree, answered, begun, chat, endless, started
from tests.pages import read_from_disk

pytestmark = [pytest.mark.asyncio, pytest.mark.timeout(600)]
WEIGHTS = 300_000_000  # bytes, about


@pytest.fixture
def model(model_path, tmp_path):
    """The tiny model with that many bytes of weights, on a volume of its own, none of which is in memory."""
    heavy_model.write(model_path, tmp_path / "heavy", WEIGHTS)
    with contextlib.ExitStack() as stack:
        try:
            copy = stack.enter_context(slow_volume.volume(tmp_path / "heavy", 10**10, tmp_path, 1.0))
        except slow_volume.Impossible as why:
            pytest.skip(f"this machine offers no volume: {why}")
        slow_volume.forget(copy)
        yield copy


@pytest.mark.parametrize("ahead", ["auto", "off"])
async def test_the_volume_is_not_read_again(real_environ, model, ahead):
    before = read_from_disk(model)
    async with started(real_environ, MODEL_NAME=str(model), READ_AHEAD=ahead) as (platform, worker):
        await worker.connected()
        first = read_from_disk(model) - before
        assert first > 0.9 * WEIGHTS
        assert answered(await (await platform.submit(chat(PARIS))).finished(UP)) == PARIS_ANSWER
        stream = await platform.submit(endless(PARIS, stream=True))
        await begun(stream)
        with Tree(worker) as tree:
            os.kill(tree.pid("scheduler"), signal.SIGKILL)
        assert json.loads((await stream.finished(UP)).error)["code"] == 502
        assert answered(await (await platform.submit(chat(PARIS))).finished(UP)) == PARIS_ANSWER
        line = await worker.line("restarted: engine ready after", UP)
        assert "weights" in line  # they were loaded, and what of them came from the volume:
        assert read_from_disk(model) - before - first < 0.02 * WEIGHTS
        assert sum(start_report.PREFIX in line for line in worker.lines) == 1


def report(line: str) -> dict:
    return json.loads(json.loads(line)["message"].removeprefix(start_report.PREFIX))


async def test_packed_copies_are_what_is_read_and_answers_are_the_same(real_environ, model):
    packed = model.parent / "packed"
    files = sorted(str(path) for path in model.glob("*.safetensors"))
    made = packer.pack_all(files, str(packed), 2)
    assert made["made"] == len(files) == 2 and made["stored"] < 0.5 * made["bytes"]
    os.sync()
    slow_volume.forget(model)
    slow_volume.forget(packed)
    before = read_from_disk(model)
    chosen = {"MODEL_NAME": str(model), "PACKED_WEIGHTS": "on", "PACKED_WEIGHTS_DIR": str(packed)}
    async with started(real_environ, **chosen) as (platform, worker):
        await worker.connected()
        told = report(await worker.line(start_report.PREFIX))["weights"]
        assert told["taken"] >= len(files) and told["stored"] == made["stored"]
        assert read_from_disk(model) - before < 0.9 * WEIGHTS
        assert answered(await (await platform.submit(chat(PARIS))).finished(UP)) == PARIS_ANSWER
        with Tree(worker) as tree:
            os.kill(tree.pid("scheduler"), signal.SIGKILL)
        await worker.line("restarted: engine ready after", UP)
        assert answered(await (await platform.submit(chat(PARIS))).finished(UP)) == PARIS_ANSWER
        assert sum("unpacked from" in line for line in worker.lines) == 2
