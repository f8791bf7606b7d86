"""Compile caches: archives whole and broken, eviction, savers that meet, and the worker's side of it."""

import gzip
import io
import json
import os
import subprocess
import sys
import tarfile
import threading
import time
from pathlib import Path

import pytest

from start.kernels import cache_archive, compile_cache, compile_key
from start.kernels.cache_archive import Unusable, changed, evict, listing, restore, save
from start.kernels.compile_cache import CompileCache

FACTS = {"gpus": ["NVIDIA H200 9.0"], "driver": "580.1", "model": "a/b", "revision": None, "flags": {}}
BASE = compile_key.base_key(FACTS)


def write(root, **files):
    for name, text in files.items():
        path = Path(root) / name.replace("__", "/").replace("DOT", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


@pytest.fixture
def root(tmp_path):
    write(tmp_path / "root", triton__kDOTcubin="kernel", flashinfer__opDOTso="library" * 100)
    return str(tmp_path / "root")


@pytest.fixture
def archive(tmp_path, root):
    path = str(tmp_path / "volume" / compile_key.archive_name(FACTS))
    save(root, path, FACTS, BASE, 10**9)
    return path


def emptied(root):
    subprocess.run(["rm", "-rf", root], check=True)
    return root


# ------------------------------------------------------------------ where archives lie
def test_a_place_needs_a_mounted_volume_or_a_choice(tmp_path):
    assert compile_cache.place(None, volume=str(tmp_path)) is None
    assert compile_cache.place(None, volume="/nowhere") is None
    assert compile_cache.place("/x/y") == "/x/y"
    assert compile_cache.place(None, volume="/dev/shm") == "/dev/shm/.cache/worker-sglang/compile"


# ------------------------------------------------------------------ archives
def test_what_is_saved_comes_back_whole_with_its_times(root, archive):
    library = Path(root, "flashinfer/op.so")
    os.utime(library, ns=(10**18, 10**18 + 123_456_000))
    library.chmod(0o755)
    save(root, archive, FACTS, BASE, 10**9)
    told = restore(archive, emptied(root), BASE)
    assert told["files"] == 2 and told["contents"] == {"triton/k.cubin": 6, "flashinfer/op.so": 700}
    assert library.read_text() == "library" * 100 and library.stat().st_mode & 0o777 == 0o755
    assert abs(library.stat().st_mtime_ns - (10**18 + 123_456_000)) < 10_000
    assert sorted(os.listdir(root)) == ["flashinfer", "triton"]


def test_a_file_that_is_there_stays(root, archive):
    Path(root, "triton/k.cubin").write_text("newer one")
    Path(root, "flashinfer/op.so").unlink()
    assert restore(archive, root, BASE)["files"] == 1
    assert Path(root, "triton/k.cubin").read_text() == "newer one"


def test_what_belongs_to_one_container_is_left_out(root):
    write(root, **{"triton__lock": "", "a__xDOTlock": "", "sglang__gpu_p2p_access_cache_for_0DOTjson": "{}",
                   "sglang__model_streamer__w": "weights", "a__tmp__xDOTninja": "", "triton__tmpDOTpid_1__k": "half",
                   "flashinfer__jitDOTlog": "", "jit__DOTstaging-1__x": ""})
    os.symlink("/etc/passwd", Path(root, "triton/link"))
    assert sorted(listing(root)) == ["flashinfer/op.so", "triton/k.cubin"]


def test_only_new_contents_are_a_change():
    known = {"a/x.so": 1, "a/.ninja_log": 10}
    assert not changed(known, known) and not changed({}, known)
    assert not changed({"a/x.so": 1, "a/.ninja_log": 11}, known)
    assert changed({"a/x.so": 2}, known) and changed({"a/y.so": 1}, known)


def damaged(archive, how):
    content = Path(archive).read_bytes()
    if how == "cut":
        content = content[:len(content) // 2]
    elif how == "cut at the end":
        content = content[:-4]
    elif how == "empty":
        content = b""
    elif how == "one byte":
        content = content[:60] + bytes([content[60] ^ 0xFF]) + content[61:]
    elif how == "no archive":
        content = b"hello" * 100
    elif how == "gzip of nothing":
        content = gzip.compress(b"")
    elif how == "gzip of noise":
        content = gzip.compress(os.urandom(2000))
    Path(archive).write_bytes(content)


@pytest.mark.parametrize("how", ["cut", "cut at the end", "empty", "one byte", "no archive", "gzip of nothing",
                                 "gzip of noise"])
def test_a_damaged_archive_is_refused_and_leaves_nothing(root, archive, how):
    damaged(archive, how)
    with pytest.raises(Unusable):
        restore(archive, emptied(root), BASE)
    assert os.listdir(root) == []


def test_every_cut_is_refused(root, archive):
    content = Path(archive).read_bytes()
    emptied(root)
    for length in range(0, len(content), 7):
        Path(archive).write_bytes(content[:length])
        with pytest.raises(Unusable):
            restore(archive, root, BASE)
    assert os.listdir(root) == []


def test_a_foreign_archive_is_refused(tmp_path, root, archive):
    with pytest.raises(Unusable, match="other settings"):
        restore(archive, root, "0" * 16)
    with pytest.raises(Unusable, match="another place"):
        restore(archive, str(tmp_path / "elsewhere"), BASE)


def made(path, root, *members, manifest=None):
    with tarfile.open(path, "w:gz") as tar:
        for name, kind in members:
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, "/etc/passwd"
            info.size = 4 if kind == tarfile.REGTYPE else 0
            tar.addfile(info, io.BytesIO(b"evil"))
        content = json.dumps(manifest if manifest is not None else {
            "format": cache_archive.FORMAT, "root": root, "base": BASE, "files": {}}).encode()
        info = tarfile.TarInfo(cache_archive.MANIFEST)
        info.size = len(content)
        tar.addfile(info, io.BytesIO(content))
    return str(path)


@pytest.mark.parametrize(("name", "kind"), [
    ("../outside", tarfile.REGTYPE), ("/tmp/outside", tarfile.REGTYPE), ("a/../../outside", tarfile.REGTYPE),
    ("a/./b", tarfile.REGTYPE), ("link", tarfile.SYMTYPE), ("hard", tarfile.LNKTYPE), ("device", tarfile.CHRTYPE),
    ("pipe", tarfile.FIFOTYPE), ("unlisted", tarfile.REGTYPE)])
def test_members_that_no_cache_has_are_refused(tmp_path, root, name, kind):
    with pytest.raises(Unusable):
        restore(made(tmp_path / "x.tar.gz", emptied(root), (name, kind)), root, BASE)
    assert os.listdir(root) == [] and sorted(os.listdir(tmp_path)) == ["root", "x.tar.gz"]


@pytest.mark.parametrize("manifest", [[], {}, {"files": []}, {"files": {"a": 1}}, "text", 1,
                                      {"format": 1, "root": 1, "base": BASE, "files": {"../x": [1, "a"]}}])
def test_a_manifest_of_any_shape_is_harmless(tmp_path, root, manifest):
    with pytest.raises(Unusable):
        restore(made(tmp_path / "x.tar.gz", root, manifest=manifest), root, BASE)


def test_a_cache_above_the_limit_is_not_kept_and_the_old_one_stays(root, archive):
    before = Path(archive).read_bytes()
    Path(root, "big").write_bytes(os.urandom(300_000))
    with pytest.raises(Unusable, match="COMPILE_CACHE_MAX_MB"):
        save(root, archive, FACTS, BASE, 100_000)
    assert Path(archive).read_bytes() == before and os.listdir(os.path.dirname(archive)) == [os.path.basename(archive)]


def test_nothing_compiled_is_nothing_to_keep(tmp_path, root, archive):
    with pytest.raises(Unusable):
        save(emptied(root), str(tmp_path / "new" / "x.tar.gz"), FACTS, BASE, 10**9)


def test_the_longest_unused_go_first(tmp_path):
    for age, name in enumerate(["newest", "newer", "older", "mine"]):
        path = tmp_path / f"{name}.tar.gz"
        path.write_bytes(b"x" * 100)
        os.utime(path, (10**9 - age, 10**9 - age))
    (tmp_path / "not an archive").write_bytes(b"x" * 10**4)
    (tmp_path / "a.tar.gz.doubted").write_bytes(b"x" * 100)  # the youngest, and of least worth
    assert evict(str(tmp_path), str(tmp_path / "mine.tar.gz"), 500) == []
    assert evict(str(tmp_path), str(tmp_path / "mine.tar.gz"), 499) == ["a.tar.gz.doubted"]
    assert evict(str(tmp_path), str(tmp_path / "mine.tar.gz"), 400) == []
    assert evict(str(tmp_path), str(tmp_path / "mine.tar.gz"), 250) == ["older.tar.gz", "newer.tar.gz"]
    assert evict(str(tmp_path), str(tmp_path / "mine.tar.gz"), 1) == ["newest.tar.gz"]
    assert sorted(os.listdir(tmp_path)) == ["mine.tar.gz", "not an archive"]


def test_a_restore_counts_as_use(root, archive):
    os.utime(archive, (10**9, 10**9))
    restore(archive, root, BASE)
    assert time.time() - os.stat(archive).st_mtime < 60


def test_what_a_dead_saver_left_is_swept_once_it_is_old(root, archive):
    folder = Path(archive).parent
    old, fresh = folder / ".x.1.part", folder / ".x.2.part"
    old.touch()
    fresh.touch()
    os.utime(old, (10**9, 10**9))
    save(root, archive, FACTS, BASE, 10**9)
    assert not old.exists() and fresh.exists()


def test_savers_and_readers_that_meet_see_whole_archives_only(tmp_path, root, archive):
    arguments = {"root": root, "archive": archive, "facts": FACTS, "base": BASE, "limit": 10**9}
    write(root, **{f"triton__{i}DOTcubin": str(i) * 5000 for i in range(50)})
    subprocess.run([sys.executable, "-I", "-S", cache_archive.__file__, "save", json.dumps(arguments)], check=True)
    savers = [subprocess.Popen([sys.executable, "-I", "-S", cache_archive.__file__, "save", json.dumps(arguments)],
                               stdout=subprocess.PIPE) for _ in range(6)]
    results = []

    def read():
        while any(saver.poll() is None for saver in savers):
            results.append(restore(archive, root, BASE)["files"])  # raises when it sees half of one

    readers = [threading.Thread(target=read) for _ in range(3)]
    for reader in readers:
        reader.start()
    for saver in savers:
        assert json.loads(saver.communicate(timeout=60)[0])["files"] == 52
    for reader in readers:
        reader.join()
    assert set(results) <= {0}
    assert restore(archive, emptied(root), BASE)["files"] == 52
    assert os.listdir(os.path.dirname(archive)) == [os.path.basename(archive)]


def test_two_restores_at_once_give_one_whole_tree(root, archive):
    emptied(root)
    told, threads = [], []
    for _ in range(8):
        threads.append(threading.Thread(target=lambda: told.append(restore(archive, root, BASE)["files"])))
        threads[-1].start()
    for thread in threads:
        thread.join()
    assert sum(told) == 2 and len(told) == 8 and Path(root, "triton/k.cubin").read_text() == "kernel"


# ------------------------------------------------------------------ the worker's side
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

    def monotonic(self):
        return self.now


@pytest.fixture
def clock(monkeypatch):
    monkeypatch.setattr(compile_cache, "time", Clock())
    return compile_cache.time


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
