"""Files of KV cache: a folder for each configuration whose bytes differ, a bound, and a word about volumes."""

import json
import os
from pathlib import Path

import pytest

from start import kv_files
from tests.flag_samples import SNAPSHOTS

SNAPSHOT = SNAPSHOTS["0.5.23"]
COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def model(tmp_path):
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(b"weights")
    return folder


@pytest.fixture
def added(model, capsys):
    def added(*words, environ=None, place="/var/kv", at=model, snapshot=SNAPSHOT):
        words = ("--model-path", str(at), "--hicache-storage-backend", "file", *words)
        found = kv_files.variables(words, snapshot, {kv_files.PLACE: place} if environ is None else environ)
        return {**found, "log": capsys.readouterr().out}
    return added


def test_other_servers_are_left_alone(model, capsys):
    for words in ([], ["--hicache-storage-backend", "mooncake"], ["--hicache-size", "8"]):
        assert kv_files.variables(["--model-path", str(model), *words], SNAPSHOT, {}) == {}
    assert capsys.readouterr().out == ""


def test_the_folder_lies_below_the_place_that_was_chosen(added, monkeypatch, tmp_path):
    folder = added()[kv_files.PLACE]
    assert Path(folder).parent == Path("/var/kv") and len(Path(folder).name) == 16
    extra = json.dumps({"file_storage_path": "/var/extra"})
    assert added("--hicache-storage-backend-extra-config", extra, environ={})[kv_files.PLACE].startswith("/var/extra/")
    settings = tmp_path / "extra.json"
    settings.write_text(extra)
    named = added("--hicache-storage-backend-extra-config", f"@{settings}", environ={})
    assert named[kv_files.PLACE].startswith("/var/extra/")
    assert added("--file-storage-path", "/var/other", environ={})[kv_files.PLACE].startswith("/var/other/")
    monkeypatch.chdir(tmp_path)
    relative = added("--file-storage-path", "sglang_storage", environ={})[kv_files.PLACE]
    assert Path(relative).parent == tmp_path / "sglang_storage"
    assert Path(added(environ={})[kv_files.PLACE]).parent == Path("/tmp/hicache")


def test_the_last_of_an_argument_counts_as_it_does_for_sglang(added, model):
    twice = ("--file-storage-path", "/var/first", "--file-storage-path", "/var/last")
    assert added(*twice, environ={})[kv_files.PLACE].startswith("/var/last/")
    assert added("--hicache-storage-backend", "mooncake") == {"log": ""}


def test_a_configuration_file_counts_too(added, model, tmp_path, capsys):
    file = tmp_path / "server.yaml"
    file.write_text("hicache-storage-backend: file\nkv-cache-dtype: fp8_e4m3\n")
    words = ["--config", str(file), "--model-path", str(model)]
    one = kv_files.variables(words, SNAPSHOT, {})[kv_files.PLACE]
    file.write_text("hicache-storage-backend: file\nkv-cache-dtype: fp8_e5m2\n")
    assert kv_files.variables(words, SNAPSHOT, {})[kv_files.PLACE] != one
    file.unlink()
    assert kv_files.variables(words, SNAPSHOT, {}) == {}


@pytest.mark.parametrize("words", [
    ["--kv-cache-dtype", "fp8_e4m3"], ["--hicache-mem-layout", "layer_first"], ["--page-size", "64"],
    ["--dtype", "float16"], ["--quantization", "fp8"], ["--tp-size", "2"], ["--json-model-override-args", "{}"],
    ["--enable-dp-attention"], ["--attention-backend", "triton"]])
def test_what_may_shape_the_bytes_has_a_folder_of_its_own(added, words):
    assert added(*words)[kv_files.PLACE] != added()[kv_files.PLACE]


def test_another_sglang_and_other_weights_have_too(added, model):
    one = added()[kv_files.PLACE]
    assert added(snapshot={**SNAPSHOT, "sglang": "0.5.24"})[kv_files.PLACE] != one
    (model / "model.safetensors").write_bytes(b"others!")
    os.utime(model / "model.safetensors", ns=(1, 1))
    assert added()[kv_files.PLACE] != one


def test_the_same_again_finds_its_files_whatever_key_or_port_it_has(added):
    assert added()[kv_files.PLACE] == added("--api-key", "secret", "--port", "4", "--log-level=debug")[kv_files.PLACE]
    assert "secret" not in added("--api-key", "secret")["log"]


def test_a_snapshot_of_the_hub_is_known_by_its_commit(added, tmp_path):
    folders = [tmp_path / name / "snapshots" / COMMIT for name in "ab"]
    for number, folder in enumerate(folders):
        folder.mkdir(parents=True)
        (folder / "config.json").write_text("{}" + " " * number)
    one, two = folders
    before = added(at=one)[kv_files.PLACE]
    os.utime(one / "config.json", ns=(1, 1))
    assert added(at=one)[kv_files.PLACE] == before != added(at=two)[kv_files.PLACE]


def test_what_the_server_will_download_is_known_by_a_commit_or_not_at_all(added):
    assert added(at="org/name")[kv_files.PLACE] != added(at="org/name")[kv_files.PLACE]
    pinned = ("--revision", COMMIT)
    assert added(*pinned, at="org/name")[kv_files.PLACE] == added(*pinned, at="org/name")[kv_files.PLACE]


def test_files_have_a_bound_unless_there_is_one(added):
    assert added()[kv_files.BOUND] == "10G" and "at most 10G for each rank" in added()["log"]
    chosen = added(environ={kv_files.PLACE: "/var/kv", kv_files.BOUND: "1G"})
    assert kv_files.BOUND not in chosen and "at most 1G" in chosen["log"]
    assert kv_files.BOUND not in added("--hicache-storage-backend-extra-config", '{"max_size": "2G"}')
    assert kv_files.BOUND in added("--hicache-storage-backend-extra-config", "not json")


@pytest.mark.parametrize(("place", "warns"), [
    ("/runpod-volume/kv", True), ("/workspace", True), ("/runpod-volumes", False), ("/var/kv", False)])
def test_a_volume_is_warned_of_with_the_figure(added, place, warns):
    assert ("2,300 tokens a second come back at 0.3 GB/s" in added(place=place)["log"]) is warns


def test_the_figure_is_that_of_an_8b_model():
    layers, kv_heads, head, values, bytes_each = 32, 8, 128, 2, 2  # Llama 3.1 8B
    token = layers * kv_heads * head * values * bytes_each
    assert token == 128 * 1024 and round(0.3e9 / token, -2) == 2300
