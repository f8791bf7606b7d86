"""The worker's side of compiled kernels: when archives are restored, saved, doubted, and where they lie."""

import os
import subprocess
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest

from start.kernels import compile_cache
from start.kernels.compile_cache import CompileCache
from tests.unit.start.kernel_folders import BASE, FACTS, damaged, emptied, write


def test_a_place_needs_a_mounted_volume_or_a_choice(tmp_path):
    assert compile_cache.place(None, volume=str(tmp_path)) is None
    assert compile_cache.place(None, volume="/nowhere") is None
    assert compile_cache.place("/x/y") == "/x/y"
    assert compile_cache.place(None, volume="/dev/shm") == "/dev/shm/.cache/worker-sglang/compile"


@pytest.fixture
def said(monkeypatch):
    lines = []
    monkeypatch.setattr(compile_cache.utils, "log", lambda line, level="info": lines.append((level, line)))
    return lines


def cache(root, folder, facts=FACTS, baked="/nowhere"):
    return CompileCache(root, str(folder) if folder else None, 10**9, lambda: facts, str(baked))


def restored(one):
    one.begin()
    one._restoring.join(30)
    return one


def test_one_worker_saves_and_the_next_restores(tmp_path, root, said):
    first = restored(cache(root, tmp_path / "volume"))
    first.close(30)
    assert "none yet" in said[0][1] and "saved 2 files" in said[1][1]
    second = restored(cache(emptied(root), tmp_path / "volume"))
    assert Path(root, "triton/k.cubin").read_text() == "kernel" and "2 files" in said[2][1]
    assert second.span[0] < second.span[1]
    second.close(30)
    assert len(said) == 3  # nothing new, nothing said
    write(root, triton__newDOTcubin="x")
    second.close(30)
    assert "saved 3 files" in said[3][1]


def test_another_drivers_archive_is_second_best(tmp_path, root, said):
    restored(cache(root, tmp_path / "volume")).close(30)
    newer = {**FACTS, "driver": "590.2"}
    other = restored(cache(emptied(root), tmp_path / "volume", newer))
    assert Path(root, "triton/k.cubin").exists()
    write(root, triton__newDOTcubin="x")
    other.close(30)
    assert sorted(os.listdir(tmp_path / "volume")) == [f"{BASE}-580.1.tar.gz", f"{BASE}-590.2.tar.gz"]


def test_a_damaged_archive_is_dropped_with_one_line(tmp_path, root, said):
    restored(cache(root, tmp_path / "volume")).close(30)
    [archive] = (tmp_path / "volume").iterdir()
    damaged(archive, "cut")
    said.clear()
    restored(cache(emptied(root), tmp_path / "volume"))
    assert [level for level, _ in said] == ["warn", "info"] and "dropped" in said[0][1] and "none yet" in said[1][1]
    assert not archive.exists()


def test_the_images_archive_comes_after_the_volumes_and_stays(tmp_path, root, said):
    restored(cache(root, tmp_path / "baked")).close(30)
    restored(cache(emptied(root), tmp_path / "volume", baked=tmp_path / "baked"))
    assert Path(root, "triton/k.cubin").exists()
    [archive] = (tmp_path / "baked").iterdir()
    damaged(archive, "one byte")
    said.clear()
    restored(cache(emptied(root), None, baked=tmp_path / "baked")).keep()
    assert archive.exists() and said[0][0] == "warn" and os.listdir(root) == ["torch-kernels"]


def test_what_a_server_did_not_start_with_is_set_aside(tmp_path, root, said):
    restored(cache(root, tmp_path / "volume")).close(30)
    [archive] = (tmp_path / "volume").iterdir()
    content = archive.read_bytes()
    restored(cache(emptied(root), tmp_path / "volume")).doubt()
    [doubted] = (tmp_path / "volume").iterdir()
    assert doubted.name == archive.name + ".doubted" and doubted.read_bytes() == content
    assert said[-1][0] == "warn" and "did not start" in said[-1][1] and str(archive) in said[-1][1]
    count = len(said)
    third = restored(cache(emptied(root), tmp_path / "volume"))
    assert "none yet" in said[-1][1] and len(said) == count + 1
    third.doubt()  # it has nothing to doubt
    assert [doubted] == list((tmp_path / "volume").iterdir()) and len(said) == count + 1


class Compiling:
    """In place of the event that ends the waiting: a compiler that writes one file during each of the first waits."""

    def __init__(self, root, files, clock):
        self.root, self.files, self.clock, self.waits, self.ends = root, files, clock, 0, False

    def wait(self, seconds):
        self.waits += 1
        self.clock.now += seconds
        if self.waits <= self.files:
            write(self.root, **{f"triton__late{self.waits}": "x"})
        return self.ends


class Clock:
    now = 1000.0


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(compile_cache, "awake", lambda: clock.now)
    return clock


@pytest.mark.parametrize(("files", "waits"), [(0, 1), (5, 6), (10**6, 30)])
def test_a_save_waits_until_nothing_more_is_compiled_but_not_for_ever(tmp_path, root, said, clock, files, waits):
    one = restored(cache(root, tmp_path / "volume"))
    one._closing = Compiling(root, files, clock)
    began = clock.now
    one._keep()
    assert one._closing.waits == waits and clock.now - began == 2 * waits  # looked at every 2 s, for a minute at most
    assert f"saved {2 + min(files, waits)} files" in said[-1][1]


def test_what_is_new_is_saved_once_at_the_end(tmp_path, root, said, clock):
    one = restored(cache(root, tmp_path / "volume"))
    one._closing = Compiling(root, 1, clock)
    one._closing.ends = True  # the worker ends while nothing has been saved: `close` does it
    one._keep()
    assert one._closing.waits == 1 and not (tmp_path / "volume").exists()


def test_it_is_kept_in_a_thread_of_its_own(tmp_path, root, said):
    one = restored(cache(root, tmp_path / "volume"))
    assert one._restoring.daemon
    before = set(threading.enumerate())
    one.keep()
    [thread] = set(threading.enumerate()) - before
    assert thread.daemon
    one._closing.set()
    thread.join(30)
    assert not thread.is_alive()
    before = set(threading.enumerate())
    cache(root, None).keep()  # nowhere to keep it
    assert set(threading.enumerate()) == before


def test_the_worker_waits_for_no_child_longer_than_it_may(tmp_path, root, said, monkeypatch):
    limits = []

    def run(command, timeout, **options):
        assert command[1:3] == ["-I", "-S"]  # nothing of the worker's environment slows it down
        limits.append((command[4], timeout))
        if command[4] == "save":
            raise subprocess.TimeoutExpired(command, timeout)
        return subprocess.CompletedProcess(command, 0, b"no JSON")

    monkeypatch.setattr(compile_cache.subprocess, "run", run)
    (tmp_path / "volume").mkdir()
    archive = tmp_path / "volume" / f"{BASE}-580.1.tar.gz"
    archive.touch()
    one = restored(cache(root, tmp_path / "volume"))
    assert limits == [("restore", 600.0)] and archive.exists()  # not its fault
    assert "cannot read" in said[0][1] and "JSONDecodeError" in said[0][1] and said[0][0] == "warn"
    one.close(3)
    assert limits[1:] == [("save", 3)] and said[-1] == (
        "warn", f"compile cache: not saved to {archive}: it took more than 3 s")
    one._closing = Compiling(root, 0, Clock())
    one._keep()
    assert limits[2:] == [("save", 600.0)]


def test_two_saves_are_made_one_after_the_other(tmp_path, root, said):
    one = restored(cache(root, tmp_path / "volume"))
    one._saving.acquire()
    one.close(0.01)  # another thread is at it, and there is no more time
    assert not (tmp_path / "volume").exists()
    one._saving.release()
    one.close(30)
    assert len(list((tmp_path / "volume").iterdir())) == 1 and not one._saving.locked()


def test_a_restore_into_what_is_left_of_an_earlier_one(tmp_path, root, said):
    restored(cache(root, tmp_path / "volume")).close(30)
    (Path(emptied(root)) / "torch-kernels").mkdir(parents=True)
    restored(cache(root, tmp_path / "volume"))
    assert Path(root, "triton/k.cubin").exists() and said[-1][0] == "info"


def test_the_own_drivers_archive_is_tried_first_and_then_the_newest(tmp_path, root):
    ages = {f"{BASE}-1.tar.gz": 30, f"{BASE}-580.1.tar.gz": 40, f"{BASE}-2.tar.gz": 10, f"{BASE}-3.tar.gz": 20}
    for name, age in {**ages, f"{BASE}-4.tar.gz.doubted": 1, f"{'0' * 16}-580.1.tar.gz": 1, "x.txt": 1}.items():
        (tmp_path / name).touch()
        os.utime(tmp_path / name, (10**9 - age, 10**9 - age))
    found = cache(root, tmp_path)._candidates(FACTS)
    assert [os.path.basename(path) for path in found] == [f"{BASE}-{driver}.tar.gz" for driver in ("580.1", 2, 3, 1)]


def test_a_save_waits_for_the_restore(tmp_path, root, said, clock):
    one = restored(cache(root, tmp_path / "volume"))
    joined = []
    one._restoring = SimpleNamespace(join=lambda: joined.append(clock.now))
    one._closing = Compiling(root, 0, clock)
    one._keep()
    assert joined == [1000.0] and clock.now > 1000.0


def test_without_a_volume_nothing_is_saved_and_nothing_said(tmp_path, root, said):
    restored(cache(root, tmp_path / "baked")).close(30)
    said.clear()
    one = restored(cache(emptied(root), None, baked=tmp_path / "baked"))
    write(root, triton__newDOTcubin="x")
    one.close(30)
    assert [level for level, _ in said] == ["info"] and "2 files" in said[0][1]


def test_what_had_to_go_for_a_save_is_told(tmp_path, root, said):
    old = tmp_path / "volume" / "old.tar.gz"
    old.parent.mkdir()
    old.write_bytes(bytes(2000))
    os.utime(old, (10**9, 10**9))
    one = restored(CompileCache(root, str(old.parent), 2000, lambda: FACTS, "/nowhere"))
    one.close(30)
    assert said[-1][1].endswith("; 1 older ones removed (COMPILE_CACHE_MAX_MB)") and not old.exists()
    write(root, triton__newDOTcubin="x")
    one.close(30)
    assert "saved 3 files" in said[-1][1] and "removed" not in said[-1][1]


def test_the_usual_places(monkeypatch):
    assert CompileCache("/r", None, 1, dict).baked == "/opt/compile-cache"
    monkeypatch.setattr(compile_cache.os.path, "ismount", lambda path: path == "/runpod-volume")
    monkeypatch.setattr(compile_cache.os, "access", lambda path, mode: (path, mode) == ("/runpod-volume", os.W_OK))
    assert compile_cache.place(None) == "/runpod-volume/.cache/worker-sglang/compile"
    monkeypatch.setattr(compile_cache.os, "access", lambda path, mode: False)
    assert compile_cache.place(None) is None
    assert compile_cache.place("x") == os.path.abspath("x")


@pytest.mark.parametrize("fault", ["facts", "folder", "root"])
def test_no_fault_reaches_the_worker(tmp_path, root, said, fault):
    blocked = tmp_path / "file"
    blocked.touch()
    one = CompileCache(str(blocked / "root") if fault == "root" else root,
                       str(blocked / "volume") if fault == "folder" else str(tmp_path / "volume"), 10**9,
                       (lambda: 1 / 0) if fault == "facts" else (lambda: FACTS))
    restored(one)
    one.close(30)
    assert any(level == "warn" for level, _ in said)
