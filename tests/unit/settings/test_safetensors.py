import json
import struct

import pytest

from local import tiny_adapters
from settings import safetensors
from settings.safetensors import Tensor


def test_what_a_file_holds(tmp_path):
    folder = tiny_adapters.make(tmp_path / "a", 1, 4, modules=("q_proj",))
    found = dict(safetensors.of_folder(folder))
    assert found["base_model.model.model.layers.1.self_attn.q_proj.lora_A.weight"] == Tensor("F32", (4, 64))
    assert len(found) == 4
    file = folder / tiny_adapters.WEIGHTS
    start, about = safetensors.header(file)
    assert start + max(entry["data_offsets"][1] for entry in about.values()) == file.stat().st_size


@pytest.mark.parametrize("head", [b"", b"[]", b"{", b"\xff\xff", b"[" * 5000, b"7"])
def test_what_is_no_such_file(tmp_path, head):
    (tmp_path / "x.safetensors").write_bytes(struct.pack("<Q", len(head)) + head)
    with pytest.raises(ValueError, match=r"x\.safetensors is no safetensors file"):
        safetensors.header(tmp_path / "x.safetensors")


@pytest.mark.parametrize("entry", [7, {}, {"dtype": "F32"}, {"dtype": "F32", "shape": 4},
                                   {"dtype": "F32", "shape": ["x"]}])
def test_a_tensor_without_a_shape(tmp_path, entry):
    head = json.dumps({"__metadata__": {}, "w": entry}).encode()
    (tmp_path / "x.safetensors").write_bytes(struct.pack("<Q", len(head)) + head)
    with pytest.raises(ValueError):
        safetensors.tensors(tmp_path / "x.safetensors")


def test_a_head_is_not_read_beyond_the_formats_own_limit(tmp_path):
    (tmp_path / "x.safetensors").write_bytes(struct.pack("<Q", 2**60) + b"{}")
    with pytest.raises(ValueError):
        safetensors.header(tmp_path / "x.safetensors")
