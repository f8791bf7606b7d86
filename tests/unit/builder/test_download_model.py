"""What the image's download step fetches, and how it knows that a model is whole."""

import argparse

import pytest

from builder import download_model


def test_files_that_the_server_loads():
    names = [".gitattributes", "README.md", "config.json", "tokenizer.json", "tokenizer.model", "merges.txt",
             "chat_template.jinja", "modeling_own.py", "model-00001-of-00002.safetensors",
             "model-00002-of-00002.safetensors", "model.safetensors.index.json", "consolidated.safetensors",
             "pytorch_model.bin", "pytorch_model-00001-of-00002.bin", "sparse_linear.pt",
             "tf_model.h5", "original/params.json", "onnx/model.onnx", "figures/a.png"]
    assert download_model.wanted(names) == [
        "README.md", "config.json", "tokenizer.json", "tokenizer.model", "merges.txt", "chat_template.jinja",
        "modeling_own.py", "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors",
        "model.safetensors.index.json", "sparse_linear.pt"]


@pytest.mark.parametrize("weights", ["pytorch_model.bin", "model.gguf", "consolidated.safetensors"])
def test_only_weights_are_kept_whatever_their_format(weights):
    assert weights in download_model.wanted(["config.json", weights])


def test_missing_and_short_files_are_named(tmp_path):
    (tmp_path / "whole").write_bytes(b"12345")
    (tmp_path / "short").write_bytes(b"123")
    sizes = {"whole": 5, "short": 5, "absent": 5, "of unknown size": None}
    (tmp_path / "of unknown size").touch()
    assert download_model.missing(tmp_path, sizes) == ["short", "absent"]


def test_token_comes_from_the_secrets_file(tmp_path):
    secret = tmp_path / "HF_TOKEN"
    assert download_model.read_token(None) is None
    assert download_model.read_token(secret) is None
    secret.write_text("\n", encoding="utf-8")
    assert download_model.read_token(secret) is None
    secret.write_text("hf_something\n", encoding="utf-8")
    assert download_model.read_token(secret) == "hf_something"


def test_a_tokenizer_comes_without_weights():
    names = ["config.json", "tokenizer.json", "tokenizer.model", "model.safetensors", "pytorch_model.bin", "head.pt"]
    assert download_model.without_weights(names) == ["config.json", "tokenizer.json", "tokenizer.model"]


@pytest.mark.parametrize("text, names", [
    ("", []), ("org/a", ["org/a"]), ("x=org/a org/b", ["org/a", "org/b"]), ("x=/models/a ./b/c", []),
    ('{"lora_name": "x", "lora_path": "org/a"} {"lora_name": "y", "lora_path": "org/b"}', ["org/a", "org/b"]),
    ('["x=org/a", {"lora_name": "y", "lora_path": "org/b"}]', ["org/a", "org/b"]),
    ("""'{"lora_name": "x", "lora_path": "org/a"}'""", ["org/a"]), ("x=org/a, y = org/b", ["org/a", "org/b"]),
    ('x=org/a {"lora_name": "y", "lora_path": "org/b"}', ["org/a", "org/b"]),
])
def test_adapters_are_read_as_the_worker_reads_them(text, names):
    assert download_model.adapters(text) == names


@pytest.mark.parametrize("text", ['{"lora_name": "x"}', "[1]", "{", "'"])
def test_adapters_that_cannot_be_read_fail_the_build(text):
    with pytest.raises(download_model.DownloadError, match="LORA_PATHS cannot be read"):
        download_model.adapters(text)


@pytest.mark.parametrize("more, expected", [
    ({}, [("o/m", "")]),
    ({"tokenizer": "o/m"}, [("o/m", "")]),
    ({"tokenizer": "o/t", "revision": "v2"}, [("o/m", "v2"), ("o/t", "v2")]),
    ({"tokenizer": "o/t", "revision": "0123abc"}, [("o/m", "0123abc"), ("o/t", "")]),
    ({"tokenizer_revision": "v1"}, [("o/m", ""), ("o/m", "v1")]),
    ({"draft": "o/m"}, [("o/m", "")]),
    ({"draft": "o/d", "draft_revision": "v3", "adapters": "a=o/a"}, [("o/m", ""), ("o/d", "v3"), ("o/a", "")]),
])
def test_what_belongs_to_a_model(more, expected):
    empty = dict.fromkeys(("revision", "tokenizer", "tokenizer_revision", "draft", "draft_revision", "adapters"), "")
    chosen = argparse.Namespace(**{**empty, "model": "o/m", **more})
    assert [(name, revision) for name, revision, _ in download_model.parts(chosen)] == expected
