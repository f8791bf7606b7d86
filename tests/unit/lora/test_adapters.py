"""What a worker does with an adapter before it is loaded."""

import asyncio
import json
import sys
import threading
from pathlib import Path

import pytest

from engine import Engine
from lora import fit
from lora.adapters import Adapters
from settings import config
from utils import JobError

SNAPSHOT = json.loads((Path(__file__).parents[3] / "builder" / "flags.json").read_text(encoding="utf-8"))


async def post(path, body, limit):
    return 200, {}


def made(folder: Path) -> Adapters:
    settings = config.load({"MODEL_NAME": "org/tiny", "LORA_SOURCES": str(folder)}, SNAPSHOT, None, sys.executable)
    return Adapters(settings, Engine([], {}, port=1), post, {})


async def test_adapters_that_are_read_slowly_hold_up_nothing_else(tmp_path, monkeypatch):
    """A network volume may take minutes; other work beside the event loop has threads of its own."""
    names = [f"a{number}" for number in range(60)]  # more than there are threads by default
    for name in names:
        (tmp_path / name).mkdir()
        (tmp_path / name / fit.CONFIG).write_text("{}")
    adapters = made(tmp_path)
    volume, reads = threading.Event(), []
    monkeypatch.setattr(fit, "check", lambda name, *_: reads.append(name) or volume.wait(60))

    try:
        loads = [asyncio.create_task(adapters._prepare(adapters.sources.meant(name))) for name in names]
        assert await asyncio.wait_for(asyncio.to_thread(lambda: "read"), 20) == "read"
        assert await asyncio.wait_for(adapters.absent(["none"]), 20) == "none"
        assert reads
    finally:
        volume.set()
    assert len(await asyncio.gather(*loads)) == len(names) == len(reads)
    await adapters.close()


async def test_an_adapter_of_the_start_comes_back_whatever_it_is_made_of(tmp_path):
    for name in ("old", "new"):
        (tmp_path / name).mkdir()
        (tmp_path / name / fit.CONFIG).write_text("{}")
        (tmp_path / name / "adapter_model.bin").write_bytes(b"a pickle, which the engine takes")
    adapters = made(tmp_path)
    adapters.learn({}, {"data": [{"id": "tiny"}, {"id": "start", "root": str(tmp_path / "old"), "parent": "tiny"}]}, {})
    for name in ("start", "old"):
        assert await adapters._prepare(adapters.sources.meant(name)) == str(tmp_path / "old")
    with pytest.raises(JobError) as raised:
        await adapters._prepare(adapters.sources.meant("new"))
    assert raised.value.code == 400
    await adapters.close()
