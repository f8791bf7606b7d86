"""A volume that takes no more: what is half written goes, one line says so, and it is not asked again."""

import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from start.kernels import cache_archive, compile_cache
from start.kernels.compile_cache import CompileCache
from tests.small_disk import small_disk
from tests.unit.start.kernel_folders import BASE, FACTS, emptied, write

QUOTA = OSError(errno.EDQUOT, "Disk quota exceeded")


@pytest.fixture
def said(monkeypatch):
    lines = []
    monkeypatch.setattr(compile_cache.utils, "log", lambda line, level="info": lines.append((level, line)))
    return lines


def restored(root, folder):
    one = CompileCache(str(root), str(folder), 10**9, lambda: FACTS, "/nowhere")
    one.begin()
    one._restoring.join(60)
    return one


def noise(root, count):
    """What no packing makes smaller."""
    (Path(root) / "triton").mkdir(parents=True, exist_ok=True)
    (Path(root) / "triton" / "noise").write_bytes(os.urandom(count))


def test_a_full_volume_is_one_line_and_nothing_is_left(tmp_path, root, said):
    with small_disk(tmp_path / "volume", 64 * 1024) as volume:
        noise(root, 300_000)
        one = restored(root, volume)
        one.close(60)
        [(level, line)] = said[1:]
        assert level == "warn" and "not saved" in line and "takes no more" in line and "No space left" in line
        assert os.listdir(volume) == []
        write(root, triton__newDOTcubin="x")  # something new, but the volume is as full as before
        one.close(60)
        one._save(60)
        assert len(said) == 2 and os.listdir(volume) == []


def test_the_archive_of_before_outlives_a_full_volume(tmp_path, root, said):
    with small_disk(tmp_path / "volume", 64 * 1024) as volume:
        restored(root, volume).close(60)
        [archive] = volume.iterdir()
        content = archive.read_bytes()
        one = restored(emptied(root), volume)
        noise(root, 300_000)
        one.close(60)
        assert "takes no more" in said[-1][1] and [path.read_bytes() for path in volume.iterdir()] == [content]


def test_a_full_disk_of_the_container_is_one_line_and_nothing_half_is_left(tmp_path, said):
    volume = tmp_path / "volume"
    with small_disk(tmp_path / "disk", 512 * 1024) as disk:
        place = disk / "root"
        noise(place, 300_000)
        for driver in ("580.1", "580.2"):
            one = CompileCache(str(place), str(volume), 10**9, dict, "/nowhere")
            one._facts = {**FACTS, "driver": driver}
            one.close(60)
        emptied(place)
        (disk / "filling").write_bytes(bytes(300_000))
        said.clear()
        restored(place, volume)
        assert [level for level, _ in said] == ["warn"] and "no room below" in said[0][1]
        assert os.listdir(place) == ["torch-kernels"]
    assert len(list(volume.iterdir())) == 2  # it is not the archives' fault


@pytest.mark.parametrize("step", ["write", "fsync", "replace"])
def test_a_quota_that_is_reached_at_any_step_leaves_nothing(tmp_path, root, monkeypatch, step):
    def failing(*_):
        raise QUOTA

    if step == "write":
        monkeypatch.setattr(cache_archive, "_add", failing)
    else:
        monkeypatch.setattr(cache_archive.os, step, failing)
    with pytest.raises(OSError, match="Disk quota exceeded"):
        cache_archive.save(root, str(tmp_path / "volume" / "x.tar.gz"), FACTS, BASE, 10**9)
    assert os.listdir(tmp_path / "volume") == []


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO])
def test_the_program_says_that_it_is_full(tmp_path, root, monkeypatch, capsys, number):
    def failing(**_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(cache_archive, "save", failing)
    monkeypatch.setattr(cache_archive.os, "nice", lambda by: 0)
    monkeypatch.setattr(cache_archive.signal, "signal", lambda *_: None)
    monkeypatch.setattr(cache_archive.ctypes, "CDLL", lambda _: type("C", (), {"prctl": staticmethod(lambda *_: 0)}))
    monkeypatch.setattr(sys, "argv", ["cache_archive.py", "save", "{}"])
    cache_archive.main()
    assert json.loads(capsys.readouterr().out).get("full", False) is (number != errno.EIO)


def test_what_a_killed_saver_left_is_removed_at_once(tmp_path, root, said, monkeypatch):
    one = restored(root, tmp_path / "volume")
    left = []

    def run(command, timeout, **_):
        arguments = compile_cache.json.loads(command[5])
        part = cache_archive.part_of(arguments["archive"], arguments["mark"])
        os.makedirs(os.path.dirname(part), exist_ok=True)
        Path(part).write_bytes(b"half")
        left.append(part)
        raise subprocess.TimeoutExpired(command, timeout)

    monkeypatch.setattr(compile_cache.subprocess, "run", run)
    one.close(1)
    assert left and not os.path.exists(left[0]) and "more than 1 s" in said[-1][1]
