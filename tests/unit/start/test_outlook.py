"""What the worker says of the start before the weights are loaded, and when it says nothing."""

import json
import os
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

from settings import gpus
from settings.gpus import Device
from start import outlook
from tests.unit.fit import configs
from tests.unit.settings.test_tensors import file

SNAPSHOT = json.loads((Path(__file__).parents[3] / "builder" / "flags.json").read_text(encoding="utf-8"))
RTX4090, H100 = Device("RTX 4090", 24564, (8, 9)), Device("H100", 81559, (9, 0))


@pytest.fixture
def model(tmp_path):
    def made(config, name="model", **sizes):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
        if sizes:
            file(folder / "model.safetensors", **sizes)
        return str(folder)
    return made


def look(*words, devices=(RTX4090,)):
    return outlook.look(tuple(map(str, words)), SNAPSHOT, list(devices))


def test_nothing_is_said_of_a_model_that_fits(model):
    found = look("--model-path", model(configs.QWEN3_4B), "--context-length", "16384", devices=[H100])
    assert found.warnings == []
    assert found.facts["requests_of_context"] >= 4 and found.facts["context"] == 16384
    assert found.facts["weights_gib"] == pytest.approx(7.6, abs=0.2)


def test_a_model_that_does_not_fit_is_told_with_what_would(model):
    [line] = look("--model-path", model(configs.LLAMA_70B)).warnings
    assert "will not fit" in line
    other = model(configs.QWEN3_32B, "other")
    [line] = look("--model-path", other, "--tp-size", "2", devices=[RTX4090] * 2).warnings
    assert "each of 2 GPUs" in line and "4 GPUs a worker (with CONTEXT_LENGTH=5120 at most)" in line


def test_the_bytes_of_the_files_count(model):
    tiny = {**configs.LLAMA_1B, "num_hidden_layers": 1}
    facts = look("--model-path", model(tiny, model__layers__0__w=3 << 20, model__layers__1__mtp=9 << 20)).facts
    # 3 MiB, and 32 MiB of sines and cosines
    assert facts["weights_gib"] == pytest.approx((3 + 32) / 1024, abs=0.006)


def test_the_smallest_of_the_gpus_counts(model):
    path = model(configs.LLAMA_8B)
    assert look("--model-path", path, "--tp-size", "2", devices=[H100, RTX4090]).facts == look(
        "--model-path", path, "--tp-size", "2", devices=[RTX4090, RTX4090]).facts


def test_the_servers_arguments_count(model):
    path = model(configs.QWEN3_8B)
    plain = look("--model-path", path, devices=[H100]).facts
    assert look("--model-path", path, "--kv-cache-dtype", "fp8_e4m3", devices=[H100]).facts["cache_tokens"] == (
        pytest.approx(2 * plain["cache_tokens"], rel=0.001))
    assert look("--model-path", path, "--quantization", "fp8", devices=[H100]).facts["weights_gib"] < 10
    assert look("--model-path", path, "--json-model-override-args", '{"num_hidden_layers": 18}',
                devices=[H100]).facts["weights_gib"] < plain["weights_gib"]
    assert look("--model-path", path, "--max-total-tokens", "9000", devices=[H100]).facts["cache_tokens"] == 9000
    draft = model(configs.QWEN3_0_6B, "draft")
    assert look("--model-path", path, "--speculative-draft-model-path", draft, devices=[H100]).facts[
        "weights_gib"] == pytest.approx(plain["weights_gib"] + 1.15, abs=0.05)


@pytest.mark.parametrize("words", [("--device", "cpu"), ("--device=xpu",)])
def test_nothing_is_judged_without_a_gpu(model, words):
    path = model(configs.LLAMA_8B)
    assert look("--model-path", path, *words) is None
    assert look("--model-path", path, devices=[]) is None


def test_nothing_is_judged_that_is_not_on_this_machine(tmp_path):
    assert look("--model-path", "Qwen/Qwen3-8B") is None
    assert look("--model-path", tmp_path / "model.gguf") is None
    assert look() is None


def test_nothing_is_judged_of_a_folder_with_a_file_of_its_own_format(model):
    assert look("--model-path", model(configs.LLAMA_70B), "--load-format", "gguf") is None


def test_prompts_in_one_piece_that_leave_no_memory_are_told_as_that(model):
    """As of a cross-encoder with the settings that SGLang asks for, but for the length of a prompt."""
    path = model({**configs.QWEN3_0_6B, "max_position_embeddings": 8192})
    alone = ("--model-path", path, "--chunked-prefill-size", "-1", "--disable-radix-cache")
    [line] = look(*alone).warnings
    assert "SGLang gives 0.0 to weights and KV cache" in line and "would do: MAX_PREFILL_TOKENS=8192 (" in line
    assert look(*alone, "--max-prefill-tokens", "8192").warnings == []


@pytest.fixture
def nvml(monkeypatch):
    """A library with three GPUs, the last of which is smaller."""
    library = ModuleType("pynvml")
    library.nvmlInit = library.nvmlShutdown = lambda: None
    library.nvmlDeviceGetCount = lambda: 3
    library.nvmlDeviceGetHandleByIndex = lambda index: index
    library.nvmlDeviceGetName = lambda index: f"GPU {index}".encode()
    library.nvmlDeviceGetMemoryInfo = lambda index: SimpleNamespace(total=(81559 if index < 2 else 24564) << 20)
    library.nvmlDeviceGetCudaComputeCapability = lambda index: (9, 0)
    monkeypatch.setitem(sys.modules, "pynvml", library)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    return library


@pytest.mark.parametrize(("visible", "names"), [
    (None, ["GPU 0", "GPU 1", "GPU 2"]), ("2", ["GPU 2"]), ("1, 0", ["GPU 1", "GPU 0"]),
    ("GPU-8f2c", ["GPU 0", "GPU 1", "GPU 2"]), ("7", ["GPU 0", "GPU 1", "GPU 2"])])
def test_devices_are_those_that_are_visible(nvml, monkeypatch, visible, names):
    if visible is not None:
        monkeypatch.setitem(os.environ, "CUDA_VISIBLE_DEVICES", visible)
    found = gpus.devices()
    assert [device.name for device in found] == names
    assert found[-1].mib == (24564 if names[-1] == "GPU 2" else 81559) and found[0].capability == (9, 0)


def test_there_are_no_devices_without_a_driver(nvml):
    def absent():
        raise RuntimeError("driver not loaded")
    nvml.nvmlInit = absent
    assert gpus.devices() == []
