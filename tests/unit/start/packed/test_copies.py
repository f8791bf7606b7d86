"""Copies are found by what a file is, made once, and never taken for those of another."""

import errno
import os
import shutil

import pytest

from start.weights.packed import codec, copies, packer

DAY = 86400


@pytest.fixture
def model(tmp_path, bfloat16):
    folder = tmp_path / "model"
    folder.mkdir()
    for number in (1, 2):
        (folder / f"model-{number}.safetensors").write_bytes(bytes([number]) * 100 + bfloat16)
    return folder


def files(model):
    return sorted(str(path) for path in model.iterdir())


@pytest.fixture
def packed(model, tmp_path):
    """The folder with copies of both files."""
    folder = str(tmp_path / "packed")
    told = packer.pack_all(files(model), folder, 2)
    stored = sum(copy.stored for copy in copies.find(files(model), folder))
    assert told | {"seconds": 0} == {"files": 2, "made": 2, "bytes": 200_200, "stored": stored, "seconds": 0,
                                     "error": None, "full": False}
    return folder


def unpacked(copy) -> bytes:
    into, at, stored = bytearray(copy.size), 0, 0
    with open(copy.packed, "rb") as f:
        data = f.read()
    for window in copy.windows:
        codec.unpack(window, memoryview(data)[stored:stored + window.stored], into, at)
        stored, at = stored + window.stored, at + window.length
    return bytes(into)


def test_a_copy_is_the_file(model, packed, monkeypatch):
    found = copies.find(files(model), packed)
    assert [copy.original for copy in found] == files(model) and all(copy.stored < 0.7 * copy.size for copy in found)
    for copy in found:
        with open(copy.original, "rb") as f:
            assert unpacked(copy) == f.read()
    assert sorted(name.partition(".")[2] for name in os.listdir(packed)) == ["json", "json", "packed", "packed"]


def test_several_windows_make_one_file(model, tmp_path, monkeypatch):
    monkeypatch.setattr(codec, "WINDOW", 30_000)
    packer.pack_all(files(model), str(tmp_path / "p"), 3)
    found = copies.find(files(model), str(tmp_path / "p"))
    assert [len(copy.windows) for copy in found] == [4, 4]
    with open(found[0].original, "rb") as f:
        assert unpacked(found[0]) == f.read()


def test_what_there_is_is_not_made_again(model, packed):
    assert packer.pack_all(files(model), packed, 2)["made"] == 0


@pytest.mark.parametrize("change", ["written anew", "other bytes at the beginning", "other bytes, the same time",
                                    "longer", "another name"])
def test_another_file_is_another_file(model, packed, change):
    path = model / "model-1.safetensors"
    data, status = path.read_bytes(), path.stat()
    if change == "written anew":  # the same size and beginning, as a model that was trained further
        path.write_bytes(data[:5000] + bytes(len(data) - 5000))
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns + 1000))
    elif change == "other bytes at the beginning":
        path.write_bytes(b"x" + data[1:])
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    elif change == "other bytes, the same time":  # another model of the family, from an archive
        path.write_bytes(data[:5000] + bytes(byte ^ 1 for byte in data[5000:]))
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    elif change == "longer":
        path.write_bytes(data + b"x")
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    else:
        path = path.rename(model / "other.safetensors")
    assert copies.find([str(path)], packed) == []


def test_the_folder_of_a_file_is_no_part_of_it(model, packed, tmp_path):
    """A Pod has the volume elsewhere than a worker."""
    moved = tmp_path / "elsewhere"
    shutil.move(model, moved)
    assert len(copies.find(files(moved), packed)) == 2


@pytest.mark.parametrize("damage", ["no index", "cut", "index cut", "index of another size", "another format"])
def test_half_a_copy_is_none(model, packed, damage):
    path = files(model)[0]
    base = os.path.join(packed, copies.identity(path))
    index = open(base + ".json", encoding="utf-8").read()  # noqa: SIM115
    if damage == "no index":
        os.unlink(base + ".json")
    elif damage == "cut":
        os.truncate(base + ".packed", 1000)
    else:
        text = {"index cut": index[:-5], "index of another size": index.replace("100100", "100099"),
                "another format": index.replace('"format": 1', '"format": 2')}[damage]
        assert text != index
        with open(base + ".json", "w", encoding="utf-8") as f:
            f.write(text)
    assert [copy.original for copy in copies.find(files(model), packed)] == files(model)[1:]
    assert packer.pack_all(files(model), packed, 1)["made"] == 1 and len(copies.find(files(model), packed)) == 2


def test_a_file_that_is_written_meanwhile_gets_no_copy(model, tmp_path, monkeypatch):
    path, told = files(model)[0], iter(["a" * 32, "b" * 32])
    monkeypatch.setattr(copies, "find", lambda *_: [])
    monkeypatch.setattr(copies, "expire", lambda *_: [])
    real, seen = copies.identity, []
    monkeypatch.setattr(copies, "identity", lambda path: next(told) if seen else seen.append(1) or real(path))
    found = packer.pack_all([path], str(tmp_path / "p"), 1)
    assert "was written while it was packed" in found["error"] and os.listdir(tmp_path / "p") == []


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_volume_leaves_nothing_half_written(model, tmp_path, monkeypatch, code):
    """RunPod's volumes tell their quota at the write alone."""
    written = []

    def write(f, data):
        written.append(data)
        if len(written) > 3:
            raise OSError(code, os.strerror(code))
        f.write(data)

    monkeypatch.setattr(packer, "_write", write)
    found = packer.pack_all(files(model), str(tmp_path / "p"), 1)
    assert found["full"] and os.strerror(code) in found["error"]
    assert all(not name.partition(".")[2].startswith("part") for name in os.listdir(tmp_path / "p"))


def test_what_nobody_used_goes_and_what_is_used_stays(model, packed):
    first, second = (os.path.join(packed, copies.identity(path)) for path in files(model))
    now = os.stat(first + ".json").st_mtime
    part = os.path.join(packed, "c" * 32 + ".part-1")
    open(part, "w").close()
    os.utime(first + ".packed", (now - 90 * DAY, now - 90 * DAY))  # its index was used since
    assert copies.expire(packed, now + 1, []) == []
    for name in (".json", ".packed"):
        os.utime(second + name, (now - 31 * DAY, now - 31 * DAY))
    os.utime(part, (now - 2 * DAY, now - 2 * DAY))
    kept = [copies.identity(files(model)[1])]
    assert copies.expire(packed, now, kept) == [os.path.basename(part)]
    assert len(copies.expire(packed, now, [])) == 2 and len(copies.find(files(model), packed)) == 1


def test_what_workers_left_of_the_same_file_goes_once_nobody_writes_it(model, packed):
    """Each worker that ends while it packs leaves one; they would fill the volume."""
    base = os.path.join(packed, copies.identity(files(model)[0]))
    now = os.stat(base + ".packed").st_mtime
    for name, age in (("left", 2 * copies.ABANDONED), ("written", 60)):
        path = f"{base}.part-{name}"
        open(path, "w").close()
        os.utime(path, (now - age, now - age))
    packer.pack_all(files(model), packed, 1)
    assert sorted(name for name in os.listdir(packed) if "part" in name) == [os.path.basename(f"{base}.part-written")]


def test_workers_that_start_at_once_share_the_work(model, tmp_path):
    folder = tmp_path / "p"
    folder.mkdir()
    first, second = (copies.identity(path) for path in files(model))
    part = folder / f"{first}.part-others"
    part.touch()
    assert packer.pack_all(files(model), str(folder), 1, humble=True)["made"] == 1
    assert sorted(path.name for path in folder.iterdir()) == sorted([part.name, f"{second}.json", f"{second}.packed"])
    os.utime(part, (part.stat().st_mtime - 2 * copies.BUSY,) * 2)  # it ended
    assert packer.pack_all(files(model), str(folder), 1, humble=True)["made"] == 1


def test_who_was_told_to_pack_waits_for_nobody(model, tmp_path):
    folder = tmp_path / "p"
    folder.mkdir()
    (folder / f"{copies.identity(files(model)[0])}.part-left").touch()
    assert packer.pack_all(files(model), str(folder), 1)["made"] == 2


def test_use_is_noted(model, packed):
    found = copies.find(files(model), packed)
    index = found[0].packed.removesuffix(".packed") + ".json"
    os.utime(index, (0, 0))
    copies.used(found)
    assert os.stat(index).st_mtime > 10 * DAY


def test_where_copies_lie(tmp_path):
    assert copies.place("x", "/nowhere") == os.path.abspath("x")
    assert copies.place(None, str(tmp_path)) is None  # a folder of the container, not a volume
    assert copies.place(None, "/proc") == "/proc/.cache/worker-sglang/packed"
