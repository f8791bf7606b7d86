"""Bytes of weights by the headers of the files."""

import json

import pytest

from settings import tensors


def file(path, **sizes):
    """A safetensors file with tensors of these sizes, by names with dots for underscores of two."""
    header, at = {"__metadata__": {"format": "pt"}}, 0
    for name, size in sizes.items():
        header[name.replace("__", ".")] = {"dtype": "U8", "shape": [size], "data_offsets": [at, at + size]}
        at += size
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + bytes(at))
    return path


def test_the_tensors_of_all_files_count(tmp_path):
    files = [file(tmp_path / "a.safetensors", model__layers__0__w=100),
             file(tmp_path / "b.safetensors", model__layers__1__w=50, lm_head__weight=7)]
    assert tensors.loaded_bytes(files, 2, tied=False) == 157


def test_a_copy_of_the_embedding_is_not_loaded(tmp_path):
    files = [file(tmp_path / "a.safetensors", model__embed_tokens__weight=7, lm_head__weight=7)]
    assert tensors.loaded_bytes(files, 2, tied=True) == 7


def test_layers_for_multi_token_prediction_count_only_when_drafting(tmp_path):
    files = [file(tmp_path / "a.safetensors", model__layers__1__w=10, model__layers__2__w=4, mtp__layers__0__w=3,
                  language_model__model__layers__2__w=5, vision_tower__layers__9__w=20, x__rotary_emb__inv_freq=1)]
    assert tensors.loaded_bytes(files, 2, tied=False) == 30
    assert tensors.loaded_bytes(files, 2, tied=False, drafting=True) == 43


def test_files_of_other_formats_count_whole(tmp_path):
    (tmp_path / "model.bin").write_bytes(bytes(33))
    assert tensors.loaded_bytes([tmp_path / "model.bin"], 2, tied=False) == 33


@pytest.mark.parametrize("content", [b"", b"\x05\0\0\0\0\0\0\0{nope", b'\x02\0\0\0\0\0\0\0[]', b"\xff" * 16])
def test_a_damaged_file_tells_nothing(tmp_path, content):
    (tmp_path / "a.safetensors").write_bytes(content)
    assert tensors.loaded_bytes([tmp_path / "a.safetensors"], 2, tied=False) is None


def test_no_file_tells_nothing(tmp_path):
    assert tensors.loaded_bytes([], 2, tied=False) is None
    assert tensors.loaded_bytes([tmp_path / "missing.safetensors"], 2, tied=False) is None


def test_the_files_of_a_folder_are_those_that_the_server_takes(tmp_path):
    file(tmp_path / "model.safetensors", w=12)
    (tmp_path / "training_args.bin").write_bytes(bytes(5))
    assert tensors.of_folder(tmp_path, ("*.safetensors", "*.bin"), 2, tied=False) == 12
    assert tensors.of_folder(tmp_path / "none", ("*.safetensors",), 2, tied=False) is None
