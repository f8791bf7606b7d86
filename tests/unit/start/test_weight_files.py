"""Which files the server will load its weights from, and whether its libraries lie beside them."""

import json
import os
import sys
from pathlib import Path

import pytest

from start.weights import files
from tests.hub_folders import MODEL, repository, safetensors

SNAPSHOT = json.loads((Path(__file__).parents[3] / "builder/flags.json").read_text(encoding="utf-8"))
SHARDS = [f"model-0000{number}-of-00002.safetensors" for number in (1, 2)]


def folder(path, *names, index=None):
    path.mkdir(parents=True)
    for name in names:
        (path / name).write_bytes(safetensors())
    if index:
        (path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": dict(enumerate(index))}))
    return path


def found(*words):
    return [os.path.basename(path) for path in files.of(tuple(map(str, words)), SNAPSHOT)]


def test_the_files_of_the_index_count(tmp_path):
    model = folder(tmp_path / "m", *SHARDS, "consolidated.safetensors", "extra.safetensors", "x.bin", index=SHARDS)
    assert found("--model-path", model) == SHARDS


def test_without_an_index_all_files_of_the_first_format_count(tmp_path):
    assert found("--model-path", folder(tmp_path / "m", "b.safetensors", "a.safetensors", "x.bin")) == [
        "a.safetensors", "b.safetensors"]
    assert found("--model-path", folder(tmp_path / "n", "x.bin", "optimizer.bin")) == ["x.bin"]


def test_a_snapshots_links_are_followed_once(tmp_path):
    blob = tmp_path / "blob"
    blob.write_bytes(safetensors())
    model = repository(tmp_path, "org/m", {**MODEL, "model.safetensors": blob})
    assert files.of(("--model-path", str(model), "--lora-paths", f"a={model}"), SNAPSHOT) == [str(blob)]


def test_adapters_and_the_draft_model_come_first(tmp_path):
    for name in ("model", "draft", "one", "two"):
        folder(tmp_path / name, f"{name}.safetensors")
    assert found("--model-path", tmp_path / "model", "--speculative-draft-model-path", tmp_path / "draft",
                 "--lora-paths", f"a={tmp_path / 'one'}", json.dumps({"lora_name": "b", "lora_path": str(
                     tmp_path / "two")})) == ["one.safetensors", "two.safetensors", "draft.safetensors",
                                              "model.safetensors"]
    assert found("--model-path", tmp_path / "model", "--speculative-draft-model-path", tmp_path / "draft",
                 "--load-format", "dummy", "--speculative-draft-load-format", "auto") == ["draft.safetensors"]


def test_every_part_of_a_gguf(tmp_path):
    folder(tmp_path / "m", "q-00001-of-00002.gguf", "q-00002-of-00002.gguf", "other.gguf")
    assert found("--model-path", tmp_path / "m" / "q-00001-of-00002.gguf", "--load-format", "gguf") == [
        "q-00001-of-00002.gguf", "q-00002-of-00002.gguf"]
    assert found("--model-path", tmp_path / "m" / "other.gguf") == ["other.gguf"]


@pytest.mark.parametrize(("words", "read"), [
    ((), True), (("--load-format", "safetensors"), True), (("--load-format", "bitsandbytes"), True),
    *((("--load-format", name), False) for name in (
        "dummy", "fastsafetensors", "instanttensor", "runai_streamer", "remote", "remote_instance", "npcache",
        "private", "presharded", "expert_pack", "flash_rl", "something_new")),
    (("--weight-cache-mode", "client"), False), (("--weight-cache-mode", "off"), True)])
def test_only_loaders_that_use_the_page_cache(tmp_path, words, read):
    model = folder(tmp_path / "m", "model.safetensors")
    assert found("--model-path", model, *words) == (["model.safetensors"] if read else [])


@pytest.mark.parametrize("place", ["org/name", "/nowhere", "s3://bucket/model", "", "{broken"])
def test_what_is_not_here_is_not_read(place):
    assert found("--model-path", place, "--lora-paths", place) == []
    assert found() == []


def test_a_load_that_cannot_succeed_is_not_read_for(tmp_path):
    model = folder(tmp_path / "m", SHARDS[0], index=SHARDS)
    assert found("--model-path", model) == [SHARDS[0]]  # what is there
    (model / "model.safetensors.index.json").write_text("{")
    assert found("--model-path", model) == []


def test_libraries_beside_the_weights(tmp_path, monkeypatch):
    devices = {str(tmp_path / name): number for number, name in enumerate(("weights", "python", "more"))}
    monkeypatch.setattr(files, "_device", lambda folder: devices.get(folder, 99))
    beside = files.beside_libraries
    weights, python = [str(tmp_path / "weights" / "a")], (str(tmp_path / "python" / "python3"),)
    assert not beside(weights, python, "")
    assert not beside(weights, python, f":{tmp_path / 'more'}")
    assert beside(weights, python, f"{tmp_path / 'more'}:{tmp_path / 'weights'}")
    devices[str(tmp_path / "python")] = 0
    assert beside(weights, python, "") and not beside([], python, "")


def test_a_python_by_name_and_links_to_it(tmp_path):
    assert files.beside_libraries([sys.executable], ("python3",), os.path.dirname(sys.executable))
    assert files._device("/nowhere") is None
