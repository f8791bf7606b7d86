"""What the image's download step fetches, and how it knows that a model is whole."""

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
