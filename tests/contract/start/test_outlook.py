"""A worker that sees at its start that the model will not fit: it says so and starts all the same."""

import json

import pytest

from start import start_report
from tests.hub_folders import MODEL
from tests.support import ROOT
from tests.unit.fit import configs
from tests.worker import WorkerProcess, contract_environ

# A driver's library for one GPU of 24 GB.
LIBRARY = """\
from types import SimpleNamespace
nvmlInit = nvmlShutdown = lambda: None
nvmlDeviceGetCount = lambda: 1
nvmlDeviceGetHandleByIndex = lambda index: index
nvmlDeviceGetName = lambda device: "NVIDIA GeForce RTX 4090"
nvmlDeviceGetMemoryInfo = lambda device: SimpleNamespace(total=24564 << 20)
nvmlDeviceGetCudaComputeCapability = lambda device: (8, 9)
nvmlSystemGetDriverVersion = lambda: "580.1"
"""


@pytest.fixture
def environ(tmp_path):
    def made(config, **extra):
        (tmp_path / "pynvml.py").write_text(LIBRARY)
        folder = tmp_path / "model"
        folder.mkdir()
        for name, content in {**MODEL, "config.json": json.dumps(config).encode()}.items():
            (folder / name).write_bytes(content)
        (folder / "model.safetensors").unlink()
        (folder / "model.bin").write_bytes(b"x")
        given = contract_environ(HOME=str(tmp_path), MODEL_NAME=str(folder), PYTHONPATH=f"{tmp_path}:{ROOT}", **extra)
        given.pop("DEVICE")
        return given
    return made


async def one_start(platform, variables, until):
    """The output of a worker that gets as far as its first look for jobs, and as the line with `until`."""
    async with WorkerProcess(platform, {**variables, "WORKER_LOG_LEVEL": "debug"}) as worker:
        await worker.connected()
        await worker.line(until)
        await worker.line(start_report.PREFIX)
        return worker.output


async def test_a_context_that_is_cut_is_told_with_one_that_is_not(platform, environ):
    output = await one_start(platform, environ(configs.QWEN3_8B, LOAD_FORMAT="dummy"), "what fits: ")
    said = next(line for line in output.splitlines() if "CONTEXT_LENGTH=" in line)
    assert "WARN" in said and "less than the context of 40,960" in said


async def test_nothing_is_told_of_a_model_that_fits(platform, environ):
    output = await one_start(platform, environ(configs.QWEN3_4B, LOAD_FORMAT="dummy", CONTEXT_LENGTH="8192"),
                             "what fits: ")
    assert "KV cache will hold" not in output and "will not fit" not in output


async def test_a_configuration_that_cannot_be_understood_troubles_no_start(platform, environ):
    config = {**configs.QWEN3_4B, "linear_attn_config": {"kda_layers": [1]}}
    output = await one_start(platform, environ(config), "whether the model fits is not known: FitError")
    assert "engine ready after" in output
