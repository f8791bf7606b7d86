"""What compiled kernels depend on, to the letter: folders, flags, packages, GPUs. Archives of earlier workers are found
only while all of it stays as it is."""

import hashlib
import json
import os
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from start.kernels import compile_key

SNAPSHOT = json.loads((Path(__file__).parents[3] / "builder" / "flags.json").read_text(encoding="utf-8"))
FOLDERS = {
    "SGLANG_CACHE_DIR": "sglang", "SGLANG_JIT_CACHE_DIR": "sglang-jit", "SGLANG_DG_CACHE_DIR": "deep-gemm",
    "TRITON_CACHE_DIR": "triton", "TORCHINDUCTOR_CACHE_DIR": "inductor", "TORCH_EXTENSIONS_DIR": "torch-extensions",
    "PYTORCH_KERNEL_CACHE_PATH": "torch-kernels", "TVM_FFI_CACHE_DIR": "tvm-ffi",
    "FLASHINFER_WORKSPACE_BASE": "flashinfer", "CUDA_CACHE_PATH": "cuda", "TILELANG_CACHE_DIR": "tilelang",
    "CUTE_DSL_CACHE_DIR": "cute-dsl", "QUACK_CACHE_DIR": "quack",
    "FLASH_ATTENTION_CUTE_DSL_CACHE_DIR": "flash-attention", "TRTLLM_DG_CACHE_DIR": "trtllm-deep-gemm"}


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


# ------------------------------------------------------------------ folders
def test_the_root_is_below_the_home(home):
    assert compile_key.default_root() == f"{home}/.cache/worker-sglang/compile"


def test_every_library_has_its_folder():
    assert compile_key.variables("/r", {}) == {name: f"/r/{folder}" for name, folder in FOLDERS.items()}


@pytest.mark.parametrize(("chosen", "stay"), [
    *[(name, {name}) for name in FOLDERS if name != "SGLANG_CACHE_DIR"],
    ("TRITON_HOME", {"TRITON_CACHE_DIR"}), ("HOME", set()),
    ("SGLANG_CACHE_DIR", {"SGLANG_CACHE_DIR", "SGLANG_DG_CACHE_DIR", "TRITON_CACHE_DIR", "TORCHINDUCTOR_CACHE_DIR",
                          "FLASHINFER_WORKSPACE_BASE", "CUDA_CACHE_PATH", "TILELANG_CACHE_DIR"})])
def test_what_was_chosen_stays_where_it_is(chosen, stay):
    assert set(compile_key.variables("/r", {chosen: "/mine"})) == set(FOLDERS) - stay
    assert set(compile_key.variables("/r", {chosen: ""})) == set(FOLDERS)  # set to nothing is not chosen


def test_kernels_that_the_image_brought_are_still_found(home):
    brought = home / ".cache" / "flashinfer" / "cubins"
    assert "FLASHINFER_CUBIN_DIR" not in compile_key.variables("/r", {})
    brought.mkdir(parents=True)
    assert compile_key.variables("/r", {})["FLASHINFER_CUBIN_DIR"] == str(brought)
    for chosen in ("FLASHINFER_CUBIN_DIR", "FLASHINFER_WORKSPACE_BASE", "SGLANG_CACHE_DIR"):
        assert "FLASHINFER_CUBIN_DIR" not in compile_key.variables("/r", {chosen: "/mine"})


# ------------------------------------------------------------------ flags
def test_the_keyed_flags_are_those_of_this_sglang():
    # One is of older versions, which the CUDA 12.9 image may have.
    assert [flag for flag in compile_key.KEYED_FLAGS if flag not in SNAPSHOT["flags"]] == ["--torchao-config"]


def test_the_values_of_a_keyed_flag_are_the_last_ones():
    snapshot = {"sglang": "x", "flags": {
        name: {"names": [name], "kind": kind, "type": "str", "default": None} for name, kind in (
            ("--dtype", "value"), ("--enable-lora", "paired"), ("--port", "value"), ("--torchao-config", "list"),
            ("--config", "value"))}}

    def facts(*words):
        return compile_key.flag_facts(words, snapshot)

    assert facts("--dtype", "half", "--port", "1", "--dtype", "bfloat16") == {"--dtype": ["bfloat16"]}
    assert facts("--enable-lora") == {"--enable-lora": []}
    assert facts("--enable-lora", "--no-enable-lora") == {"--enable-lora": ["off"]}
    assert facts("--torchao-config", "a", "b") == {"--torchao-config": ["a", "b"]}
    assert facts("--config", "--dtype", "half") == {"--dtype": ["half"]}


# ------------------------------------------------------------------ versions
PACKAGES = ["sglang", "torch", "triton", "sglang-kernel", "sgl-kernel", "flashinfer-python", "apache-tvm-ffi",
            "nvidia-cutlass-dsl", "tilelang"]


def test_every_package_that_compiles_counts(tmp_path):
    for number, name in enumerate(PACKAGES):
        folder = tmp_path / f"{name.replace('-', '_')}-1.{number}.dist-info"
        folder.mkdir()
        (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.{number}\n")
    found = compile_key.engine_facts([sys.executable, "-m", "x"], {"PYTHONPATH": str(tmp_path)})
    assert found == {"python": sys.version.split()[0]} | {name: f"1.{i}" for i, name in enumerate(PACKAGES)}


def test_an_interpreter_that_does_not_say_is_known_by_its_command(tmp_path):
    for name, text in (("python-fails", "echo '{}'; exit 1"), ("python-babbles", "echo hello"),
                       ("sglang", "echo '{}'")):
        command = tmp_path / name
        command.write_text(f"#!/bin/sh\n{text}\n")
        command.chmod(0o755)
        [(fact, digest)] = compile_key.engine_facts([str(command), "-m", "x"], {}).items()
        assert fact == "command" and len(digest) == 64
    assert compile_key.engine_facts(["a", "b"], {}) != compile_key.engine_facts(["ab"], {})


def test_the_servers_versions_are_read_from_its_own_interpreter():
    found = compile_key.engine_facts([sys.executable, "-m", "x"], os.environ)
    assert found["python"].startswith("3.")
    others = [compile_key.engine_facts(command, {}) for command in (
        ["/opt/start.sh", "sesame"], ["/opt/start.sh", "other"], ["/nowhere/python3", "-m", "x"])]
    assert all(list(facts) == ["command"] for facts in others) and len({str(facts) for facts in others}) == 3
    assert "sesame" not in str(others)


# ------------------------------------------------------------------ GPUs
class Nvml(SimpleNamespace):
    """The calls of pynvml, for GPUs of these names and compute capabilities."""

    def __init__(self, gpus, driver):
        super().__init__(open=0)
        self.nvmlDeviceGetCount = lambda: len(gpus)
        self.nvmlDeviceGetHandleByIndex = lambda index: gpus[index]
        self.nvmlDeviceGetName = lambda gpu: gpu[0]
        self.nvmlDeviceGetCudaComputeCapability = lambda gpu: gpu[1]
        self.nvmlSystemGetDriverVersion = lambda: driver

    def nvmlInit(self):
        self.open += 1

    def nvmlShutdown(self):
        self.open -= 1


def test_each_kind_of_gpu_counts_once(monkeypatch):
    nvml = Nvml([("NVIDIA L4", (8, 9)), (b"NVIDIA H200", (9, 0)), ("NVIDIA L4", (8, 9))], b"580.1")
    monkeypatch.setitem(sys.modules, "pynvml", nvml)
    assert compile_key.gpu_facts() == (["NVIDIA H200 9.0", "NVIDIA L4 8.9"], "580.1")
    assert nvml.open == 0


def test_a_machine_without_a_gpu_is_a_cpu(monkeypatch):
    nvml = Nvml([("NVIDIA L4", None)], "580.1")
    monkeypatch.setitem(sys.modules, "pynvml", nvml)
    assert compile_key.gpu_facts() == ([], "cpu")  # whatever goes wrong
    assert nvml.open == 0
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert compile_key.gpu_facts() == ([], "cpu")


# ------------------------------------------------------------------ the key
FACTS = {"gpus": ["NVIDIA H200 9.0"], "driver": "580.1", "model": "a/b", "revision": None, "flags": {}}
BASE = compile_key.base_key(FACTS)


def facts_of(*server_args):
    return {**FACTS, "flags": compile_key.flag_facts(server_args, SNAPSHOT)}


def test_the_key_follows_what_decides_the_kernels():
    base = compile_key.base_key(facts_of("--model-path", "a/b"))
    assert base == compile_key.base_key(facts_of("--model-path", "a/b", "--port", "1", "--served-model-name", "x"))
    # Graphs are captured anew at every start, and the kernels in them are the same: both profiles share an archive.
    assert base == compile_key.base_key(facts_of("--model-path", "a/b", "--disable-prefill-cuda-graph",
                                                 "--cuda-graph-bs-decode", "1", "2"))
    assert compile_key.base_key(facts_of("--tp", "2")) == compile_key.base_key(facts_of("--tensor-parallel-size=2"))
    others = [facts_of("--tp-size", "2"), facts_of("--kv-cache-dtype", "fp8_e5m2"),
              facts_of("--enable-torch-compile"), facts_of("--page-size", "64"),
              {**FACTS, "model": "a/c"}, {**FACTS, "revision": "v2"}, {**FACTS, "gpus": ["NVIDIA L4 8.9"]}]
    keys = {compile_key.base_key(facts) for facts in others}
    assert len(keys) == len(others) and base not in keys


def test_the_driver_is_in_the_name_alone():
    other = {**FACTS, "driver": "590.2"}
    assert compile_key.base_key(other) == BASE
    assert compile_key.archive_name(FACTS) == f"{BASE}-580.1.tar.gz" != compile_key.archive_name(other)


def test_a_configuration_file_counts_by_its_contents(tmp_path):
    file = tmp_path / "x.yaml"
    keys = set()
    for text in ("tp-size: 1", "tp-size: 2"):
        file.write_text(text)
        digest = hashlib.sha256(text.encode()).hexdigest()
        assert facts_of("--config", str(file), "--port", "1")["flags"] == {"--config": [digest]}
        keys.add(compile_key.base_key(facts_of("--config", str(file))))
    assert len(keys | {compile_key.base_key(facts_of())}) == 3
    assert facts_of("--config", "/nowhere.yaml")["flags"] == {}


def test_the_key_is_that_of_the_contents():
    facts = {"gpus": ["NVIDIA L4 8.9"], "model": "a/b", "driver": "580.1"}
    key = compile_key.base_key(facts)
    assert key == compile_key.base_key(dict(reversed(facts.items()))) == compile_key.base_key({**facts, "driver": "1"})
    assert key == "2793bd982762613b"  # of earlier workers too
    assert compile_key.archive_name(facts) == f"{key}-580.1.tar.gz"
