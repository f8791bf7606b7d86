"""Starts that differ in how their weights come, and the slow disk for them. Nothing about times."""

import json
import os
from pathlib import Path

import pytest

from bench import cold_start, slow_volume
from tests.hub_folders import MODEL
from tests.pages import resident, weights

MB = 10**6


@pytest.fixture
def model(tmp_path):
    folder = tmp_path / "model"
    folder.mkdir()
    for name, content in MODEL.items():
        (folder / name).write_bytes(content)
    weights(folder / "model.safetensors", 20 * MB)
    return folder


@pytest.mark.timeout(150)
def test_starts_with_weights_in_memory_and_not(model, tmp_path, capsys):
    status = cold_start.main(["--engine", "scripted", "--profiles", "default", "--weights", str(model), "--quiet",
                              "--rows", "none,off,warm,fast:ahead", "--out", str(tmp_path / "out"),
                              "--scratch", str(tmp_path / "scratch"), "--logs", str(tmp_path / "logs")])
    text = capsys.readouterr().out
    assert status == 0, text
    starts = json.loads((tmp_path / "out" / "results.json").read_text())["starts"]
    assert [(one["profile"], one["kernels"], one["weights"], one["read_ahead"]) for one in starts] == [
        ("default", "none", "warm", "auto"), ("default", "restored", "cold", "off"),
        ("default", "restored", "warm", "auto"), ("fast", "restored", "cold", "auto")]
    assert starts[1]["line"] == "" and "| default | restored | in memory, read ahead |" in text
    logs = sorted((tmp_path / "logs").iterdir())
    assert all("weights: " not in path.read_text() for path in logs[1].iterdir())


@pytest.mark.parametrize(("options", "told"), [
    (["--volume-rate", "1"], "needs --weights"), (["--weights", "x", "--rows", "fast"], "no such row: fast"),
    (["--weights", "x", "--rows", "bare"], "needs --bare")])
def test_what_makes_no_sense_is_refused(options, told, capsys):
    assert cold_start.main(options) == 2 and told in capsys.readouterr().err


def test_no_start_begins_after_the_limit(model, capsys):
    status = cold_start.main(["--engine", "scripted", "--profiles", "default", "--weights", str(model), "--quiet",
                              "--rows", "off,warm", "--limit", "0.001"])
    assert status == 1 and "starts were not made within 0.001 s" in capsys.readouterr().err


def test_pages_are_forgotten_and_remembered(model):
    file = model / "model.safetensors"
    slow_volume.remember(model)
    assert resident(file) > 0.99
    slow_volume.forget(model)
    assert resident(file) < 0.5


def test_a_volume_is_there_and_gone_again(model, tmp_path):
    groups = Path("/proc/self/cgroup").read_text()
    try:
        with slow_volume.volume(model, 50 * MB, tmp_path) as copy:
            assert os.stat(copy).st_dev != os.stat(model).st_dev and "slow-" in Path("/proc/self/cgroup").read_text()
            assert (copy / "model.safetensors").stat().st_size == 20 * MB
            slow_volume.forget(copy)
            slow_volume.remember(copy)
            assert resident(copy / "model.safetensors") > 0.99
    except slow_volume.Impossible as why:
        pytest.skip(f"this machine has none to offer: {why}")
    assert Path("/proc/self/cgroup").read_text() == groups and [path.name for path in tmp_path.iterdir()] == ["model"]


def test_where_there_can_be_none_it_says_why(model, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(slow_volume.Impossible, match="mkfs.ext4"), slow_volume.volume(model, 1.0, tmp_path):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
