"""When packed copies are used, and when and how they are made."""

import json
import os
import stat
import sys
import threading
from importlib import metadata

import pytest

from settings import snapshots
from start.weights import files
from start.weights.packed import copies, packer, supply
from start.weights.packed.plugin import worker_sglang_weights as redirect
from start.weights.packed.supply import NAME, PLUGIN, Supply
from tests.unit.start.packed.conftest import HEADER

SNAPSHOT = snapshots.read(snapshots.DEFAULT)


@pytest.fixture
def said(monkeypatch):
    lines = []
    monkeypatch.setattr(supply.utils, "log", lambda line, level="info": lines.append((level, line)))
    return lines


@pytest.fixture
def model(tmp_path, bfloat16):
    (tmp_path / "model.safetensors").write_bytes(HEADER + bfloat16)
    return [str(tmp_path / "model.safetensors")]


@pytest.fixture
def folder(model, tmp_path):
    packer.pack_all(model, str(tmp_path / "packed"), 1)
    return str(tmp_path / "packed")


def made(folder, wanted="auto", cores=8, **more):
    one = Supply(folder, wanted, cores, **more)
    one.environ({})
    return one


def test_the_server_is_told_where_to_ask_and_finds_the_plugin(folder):
    one = Supply(folder, "auto", 4)
    environ = one.environ({"PATH": "/bin", "PYTHONPATH": "/x"})
    assert environ["PYTHONPATH"] == f"/x{os.pathsep}{PLUGIN}" and environ["PATH"] == "/bin"
    assert os.stat(os.path.dirname(environ[redirect.ADDRESS])).st_mode & 0o777 == 0o700
    assert "SGLANG_PLUGINS" not in environ
    found = [entry for one in metadata.distributions(path=[PLUGIN]) for entry in one.entry_points]
    assert [(entry.group, entry.name, entry.value) for entry in found] == [
        ("sglang.srt.plugins", NAME, "worker_sglang_weights:activate")]
    one.close()
    assert not os.path.exists(os.path.dirname(environ[redirect.ADDRESS]))


def test_a_list_of_plugins_that_may_be_loaded_gets_one_more(folder):
    one = Supply(folder, "auto", 4)
    assert one.environ({"SGLANG_PLUGINS": "theirs"})["SGLANG_PLUGINS"] == f"theirs,{NAME}"
    one.close()


@pytest.mark.parametrize(("wanted", "cores", "used"), [
    ("auto", 4, True), ("auto", 3, False), ("on", 1, True), ("keep", 1, True)])
def test_few_cores_have_better_things_to_do(folder, model, wanted, cores, used):
    one = made(folder, wanted, cores)
    assert (one.command(model, None) is not None) is used
    one.close()


def test_without_a_folder_nothing_changes(tmp_path, model):
    one = Supply(str(tmp_path / "none"), "on", 8)
    assert one.environ({"A": "b"}) == {"A": "b"} and one.command(model, None) is None
    one.close()


def test_most_of_the_weights_must_have_copies(folder, model, tmp_path, bfloat16):
    small, large = tmp_path / "adapter.safetensors", tmp_path / "draft.safetensors"
    small.write_bytes(HEADER + bfloat16[:4000])
    large.write_bytes(HEADER + bfloat16)
    one = made(folder)
    assert one.command([str(small), *model], None) is not None
    assert one.command([str(large), *model], None) is None and one.command([], None) is None
    one.close()


def test_they_must_find_room_in_memory(folder, model, said):
    one = made(folder)
    size = os.stat(model[0]).st_size
    assert one.command(model, size) is not None and said == []
    assert one.command(model, size - 1) is None
    assert said[0][1].startswith("weights: packed copies are not used, which need 0.0 GB of memory")
    one.close()


def test_what_stays_in_the_containers_memory_needs_it_twice(folder, model):
    """With originals the kernel would take back what was read; what is unpacked it cannot."""
    one, size = made(folder, stays=True), os.stat(model[0]).st_size
    assert one.command(model, 2 * size) is not None and one.command(model, 2 * size - 1) is None
    one.close()


@pytest.mark.parametrize("beginning", [b"PK\x03\x04", b"GGUF\x03\0\0\0\x01\0\0\0", b"\x80\x02}q", b"", b"{" * 9])
def test_files_that_no_server_opens_by_safetensors_have_no_copies(tmp_path, bfloat16, beginning, said):
    """Whatever they are called: unpacking would take from the volume what the server reads of them."""
    path = str(tmp_path / "blob")
    with open(path, "wb") as f:
        f.write(beginning + bfloat16 if beginning else b"")
    folder = str(tmp_path / "packed")
    packer.pack_all([path], folder, 1)
    assert copies.find([path], folder)
    one = made(folder, "keep")
    assert one.command([path], None) is None
    one._pack([path])
    assert said == [("warn", f"packed weights: none are made: no start would use copies in {folder}")]
    one.close()


def test_no_copies_are_made_that_no_start_would_use(model, tmp_path, said, monkeypatch):
    """A model in the image, copies on a volume."""
    folder, real = tmp_path / "packed", supply._device
    monkeypatch.setattr(supply, "_device", lambda path: real(path) + 1)
    made(str(folder), "keep")._pack(model)
    assert not folder.exists() and "no start would use copies" in said[0][1]


def test_a_copy_on_another_volume_is_left_alone(folder, model, monkeypatch):
    one, real = made(folder), os.stat
    monkeypatch.setattr(supply.os, "stat", lambda path: os.stat_result(
        [*real(path)[:2], 7 if str(path).endswith(".packed") else 8, *real(path)[3:]]))
    assert one.command(model, None) is None
    monkeypatch.undo()
    one.close()


def test_those_that_are_missing_are_made_once_the_server_is_up(model, tmp_path, said):
    folder = str(tmp_path / "new")
    for wanted in ("auto", "on"):
        made(folder, wanted).keep(model)
    one = made(folder, "keep")
    one._pack(model)
    [(level, line)] = said
    assert level == "info" and line.startswith("packed weights: 0.0 GB are now 0.0 GB in ")
    assert len(copies.find(model, folder)) == 1
    one._pack(model)
    assert len(said) == 1  # there is nothing to do


def test_a_folder_that_takes_nothing_is_one_line(model, tmp_path, said):
    blocked = tmp_path / "file"
    blocked.write_text("")
    made(str(blocked / "below"), "keep")._pack(model)
    assert [level for level, _ in said] == ["warn"] and "not all were made" in said[0][1]


def test_a_full_volume_is_told_as_such(model, tmp_path, said):
    python = tmp_path / "python"
    told = {"files": 1, "made": 0, "bytes": 0, "stored": 0, "seconds": 1, "error": "Disk quota exceeded", "full": True}
    python.write_text(f"#!{sys.executable} -S\nprint({json.dumps(told)!r})")
    python.chmod(python.stat().st_mode | stat.S_IXUSR)
    made(str(tmp_path / "p"), "keep", python=str(python))._pack(model)
    assert said[0][0] == "warn" and "df does not show" in said[0][1] and "does not try again" in said[0][1]


def test_the_end_of_the_worker_does_not_wait_for_it(model, tmp_path, said):
    python = tmp_path / "python"
    python.write_text(f"#!{sys.executable} -S\nimport time\ntime.sleep(600)")
    python.chmod(python.stat().st_mode | stat.S_IXUSR)
    one = made(str(tmp_path / "p"), "keep", python=str(python))
    thread = threading.Thread(target=one._quietly, args=(model,))
    thread.start()
    while not one._packing:
        pass
    one.close()
    thread.join(60)
    assert not thread.is_alive() and said == []
    one._pack(model)  # not after the end
    assert one._packing.returncode == -9


@pytest.mark.parametrize(("arguments", "so"), [
    ((), True), (("--load-format", "safetensors"), True), (("--load-format", "dummy"), False),
    (("--load-format", "instanttensor"), False), (("--weight-loader-disable-mmap",), False),
    (("--weight-loader-prefetch-checkpoints",), False), (("--weight-cache-mode", "client"), False),
    (("--startup-weight-load-mode", "overlap"), False)])
def test_only_servers_that_open_files_by_safetensors_are_supplied(arguments, so):
    assert files.opened_by_safetensors(("--model-path", "m", *arguments), SNAPSHOT) is so


@pytest.mark.parametrize(("arguments", "so"), [
    ((), False), (("--device", "cuda"), False), (("--device", "cpu"), True), (("--cpu-offload-gb", "8"), True),
    (("--cpu-offload-gb", "0", "--offload-group-size", "-1"), False), (("--offload-group-size", "4"), True),
    (("--enable-weights-cpu-backup",), True), (("--config", "/x.yaml"), True)])
def test_what_a_server_keeps_in_the_containers_memory(arguments, so):
    assert files.stay_in_memory(("--model-path", "m", *arguments), SNAPSHOT) is so
