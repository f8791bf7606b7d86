"""What a worker does with an adapter before it is loaded."""

import asyncio
import json
import sys
import threading
from pathlib import Path

from engine import Engine
from lora import fit
from lora.adapters import Adapters
from settings import config

SNAPSHOT = json.loads((Path(__file__).parents[3] / "builder" / "flags.json").read_text(encoding="utf-8"))


async def test_adapters_that_are_read_slowly_hold_up_nothing_else(tmp_path, monkeypatch):
    """A network volume may take minutes; other work beside the event loop has threads of its own."""
    names = [f"a{number}" for number in range(60)]  # more than there are threads by default
    for name in names:
        (tmp_path / name).mkdir()
        (tmp_path / name / fit.CONFIG).write_text("{}")
    settings = config.load({"MODEL_NAME": "org/tiny", "LORA_SOURCES": str(tmp_path)}, SNAPSHOT, None, sys.executable)
    volume, reads = threading.Event(), []
    monkeypatch.setattr(fit, "check", lambda name, *_: reads.append(name) or volume.wait(60))

    async def post(path, body, limit):
        return 200, {}

    adapters = Adapters(settings, Engine([], {}, port=1), post, {})
    try:
        loads = [asyncio.create_task(adapters._prepare(adapters.sources.meant(name))) for name in names]
        assert await asyncio.wait_for(asyncio.to_thread(lambda: "read"), 20) == "read"
        assert await asyncio.wait_for(adapters.absent(["none"]), 20) == "none"
        assert reads
    finally:
        volume.set()
    assert len(await asyncio.gather(*loads)) == len(names) == len(reads)
    await adapters.close()
