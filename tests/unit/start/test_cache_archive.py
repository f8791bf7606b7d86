"""Archives of compiled kernels: whole and broken, what is in them, eviction, savers that meet, and the program."""

import errno
import gzip
import hashlib
import io
import json
import os
import signal
import subprocess
import sys
import tarfile
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from start.kernels import cache_archive, compile_key
from start.kernels.cache_archive import Unusable, changed, evict, listing, restore, save
from tests.unit.start.kernel_folders import BASE, FACTS, damaged, emptied, write


@pytest.fixture
def archive(tmp_path, root):
    path = str(tmp_path / "volume" / compile_key.archive_name(FACTS))
    save(root, path, FACTS, BASE, 10**9)
    return path


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
    ("../outside", tarfile.REGTYPE), ("{tmp}/outside", tarfile.REGTYPE), ("//{tmp}/outside", tarfile.REGTYPE),
    ("a/../../outside", tarfile.REGTYPE), ("..", tarfile.REGTYPE), ("a/./b", tarfile.REGTYPE),
    ("link", tarfile.SYMTYPE), ("hard", tarfile.LNKTYPE), ("device", tarfile.CHRTYPE), ("block", tarfile.BLKTYPE),
    ("folder", tarfile.DIRTYPE), ("pipe", tarfile.FIFOTYPE), ("unlisted", tarfile.REGTYPE)])
def test_members_that_no_cache_has_are_refused(tmp_path, root, name, kind):
    why = "its files are not those of its manifest" if name == "unlisted" else "it holds "
    with pytest.raises(Unusable, match=why):
        restore(made(tmp_path / "x.tar.gz", emptied(root), (name.format(tmp=tmp_path), kind)), root, BASE)
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


# ------------------------------------------------------------------ what is in them
@pytest.mark.parametrize("path", [
    "a/x.lock", "a/lock", "x.log", "x.tmp", "a/tmp.1", "a/tmp/x", "a/.staging-1", "a/locks/x", "a/__pycache__/x",
    "torch-kernels/k_tmp_1", "sglang/gpu_p2p_access_cache_0.json", "sglang/ple/x", "sglang/model_streamer/x"])
def test_what_another_container_must_not_find_is_left_out(root, path):
    Path(root, path).parent.mkdir(parents=True, exist_ok=True)
    Path(root, path).touch()
    assert sorted(listing(root)) == ["flashinfer/op.so", "triton/k.cubin"]


@pytest.mark.parametrize("path", ["a/locked", "log/x", "tmpx/x", "a/staging-1", "torch-kernels/k", "other/ple/x"])
def test_what_only_looks_like_it_is_kept(root, path):
    Path(root, path).parent.mkdir(parents=True, exist_ok=True)
    Path(root, path).write_text("1234")
    assert listing(root) == {"flashinfer/op.so": 700, "triton/k.cubin": 6, path: 4}


def test_no_kernel_is_as_large_as_that(root):
    for name, size in (("largest", 512 * 2**20), ("larger", 512 * 2**20 + 1)):
        with open(os.path.join(root, name), "wb") as f:
            f.truncate(size)
    assert "largest" in listing(root) and "larger" not in listing(root)


def test_what_a_restore_is_unpacking_is_none_of_it(root):
    write(root, DOTincoming_1__x="half", a__incoming_1="whole")
    Path(root, ".incoming_1").rename(Path(root, ".incoming-1"))
    assert sorted(listing(root)) == ["a/incoming_1", "flashinfer/op.so", "triton/k.cubin"]


@pytest.mark.parametrize("name", [".ninja_log", ".ninja_deps", "index"])
def test_a_file_that_every_look_rewrites_is_no_change(name):
    assert not changed({f"a/{name}": 2, name: 3}, {f"a/{name}": 1})
    assert changed({f"a/{name}x": 1}, {})


def test_an_archive_is_laid_out_as_earlier_workers_left_it(root, archive):
    with open(archive, "rb") as f:
        assert f.read(8)[4:] == bytes(4)  # no time in gzip's header
    with tarfile.open(archive) as tar:
        members = tar.getmembers()
        assert [member.name for member in members] == ["flashinfer/op.so", "triton/k.cubin",
                                                       "worker-sglang-manifest.json"]
        status = os.stat(os.path.join(root, "triton/k.cubin"))
        assert members[1].pax_headers["WORKER.mtime"] == str(status.st_mtime_ns)
        assert (members[1].mtime, members[1].mode) == (status.st_mtime_ns // 10**9, status.st_mode & 0o777)
        assert members[2].mode == 0o644
        manifest = json.load(tar.extractfile(members[2]))
    digest = hashlib.sha256(b"kernel").hexdigest()
    assert manifest.pop("files")["triton/k.cubin"] == [6, digest]
    assert manifest == {"format": 1, "root": root, "base": BASE, "facts": FACTS}


@pytest.mark.parametrize("how", ["longer", "rewritten", "replaced", "gone"])
def test_a_file_that_changes_while_it_is_read_is_left_to_the_next_save(tmp_path, root, monkeypatch, how):
    victim, usual = os.path.join(root, "flashinfer/op.so"), os.stat  # the first of two

    def stat(path, *arguments, **options):
        if path == victim:
            before = usual(path)
            if how == "longer":
                with open(path, "a") as f:
                    f.write("more")
                os.utime(path, ns=(before.st_mtime_ns, before.st_mtime_ns))
            elif how == "rewritten":
                os.utime(path, ns=(before.st_mtime_ns, before.st_mtime_ns + 1))
            elif how == "replaced":
                Path(path + ".new").write_text("library" * 100)
                os.utime(path + ".new", ns=(before.st_mtime_ns, before.st_mtime_ns))
                os.replace(path + ".new", path)
            else:
                os.unlink(path)
        return usual(path, *arguments, **options)

    monkeypatch.setattr(cache_archive.os, "stat", stat)
    told = save(root, str(tmp_path / "volume" / "x.tar.gz"), FACTS, BASE, 10**9)
    assert told["contents"] == {"triton/k.cubin": 6} and told["files"] == 1


def test_what_a_save_tells(root, archive):
    told = save(root, archive, FACTS, BASE, 10**9)
    assert told == {"files": 2, "bytes": os.path.getsize(archive), "evicted": [],
                    "contents": {"triton/k.cubin": 6, "flashinfer/op.so": 700}}


def test_the_limit_is_the_size_that_just_fits(tmp_path):
    root = tmp_path / "noise"
    root.mkdir()
    (root / "kernel").write_bytes(os.urandom(300_000))
    archive = str(tmp_path / "volume" / "x.tar.gz")
    save(str(root), archive, FACTS, BASE, 310_000)
    with pytest.raises(Unusable, match=r"larger than 0 MB \(COMPILE_CACHE_MAX_MB\)"):
        save(str(root), archive, FACTS, BASE, 250_000)
    with pytest.raises(Unusable, match="nothing was compiled"):
        save(str(tmp_path / "nowhere"), archive, FACTS, BASE, 1)


# ------------------------------------------------------------------ what comes out of them
def test_what_a_restore_tells(root, archive):
    os.unlink(os.path.join(root, "triton/k.cubin"))
    assert restore(archive, root, BASE) == {
        "files": 1, "bytes": os.path.getsize(archive), "facts": FACTS,
        "contents": {"triton/k.cubin": 6, "flashinfer/op.so": 700}}


def test_times_come_back_to_the_nanosecond(root, archive):
    status = os.stat(os.path.join(root, "triton/k.cubin"))
    restore(archive, emptied(root), BASE)
    assert os.stat(os.path.join(root, "triton/k.cubin")).st_mtime_ns == status.st_mtime_ns


def one_file(path, root, **header):
    """An archive of one file with this header and a manifest that fits."""
    with tarfile.open(path, "w:gz") as tar:
        info = tarfile.TarInfo("triton/k.cubin")
        info.size = 6
        for name, value in header.items():
            setattr(info, name, value)
        tar.addfile(info, io.BytesIO(b"kernel"))
        content = json.dumps({"format": 1, "root": root, "base": BASE, "files": {
            "triton/k.cubin": [6, hashlib.sha256(b"kernel").hexdigest()]}}).encode()
        info = tarfile.TarInfo("worker-sglang-manifest.json")
        info.size = len(content)
        tar.addfile(info, io.BytesIO(content))
    return str(path)


def test_no_file_comes_back_with_more_rights_than_these(tmp_path, root):
    told = restore(one_file(tmp_path / "x.tar.gz", emptied(root), mode=0o6755, mtime=10**9), root, BASE)
    status = os.stat(os.path.join(root, "triton/k.cubin"))
    assert status.st_mode & 0o7777 == 0o755 and status.st_mtime_ns == 10**18
    assert told["facts"] is None


@pytest.mark.parametrize(("size", "why"), [(512 * 2**20 + 1, "it holds 'triton/k.cubin'"), (512 * 2**20, "damaged")])
def test_a_member_that_says_it_is_larger_than_any_kernel(tmp_path, root, size, why):
    path = one_file(tmp_path / "x.tar.gz", emptied(root))
    content = bytearray(gzip.decompress(Path(path).read_bytes()))
    content[124:136] = b"%011o\0" % size
    content[148:156] = b"        "
    content[148:156] = b"%06o\0 " % sum(content[:512])
    Path(path).write_bytes(gzip.compress(content))
    with pytest.raises(Unusable, match=why):
        restore(path, root, BASE)


def test_nothing_may_follow_the_manifest(tmp_path, root):
    path = one_file(tmp_path / "x.tar.gz", emptied(root))
    tar = gzip.decompress(Path(path).read_bytes()).rstrip(b"\0")
    tar += bytes(-len(tar) % 512)
    again = io.BytesIO()
    with tarfile.open(fileobj=again, mode="w") as more:
        info = tarfile.TarInfo("late")
        info.size = 4
        more.addfile(info, io.BytesIO(b"evil"))
    Path(path).write_bytes(gzip.compress(tar + again.getvalue()))
    with pytest.raises(Unusable, match="it holds 'late'"):
        restore(path, root, BASE)


@pytest.mark.parametrize(("key", "value"), [("format", 2), ("format", 0), ("root", "/elsewhere"), ("base", "0" * 16)])
def test_an_archive_of_another_kind_is_refused(tmp_path, root, key, value):
    manifest = {"format": 1, "root": root, "base": BASE, "files": {}}
    path = made(tmp_path / "x.tar.gz", root, manifest=manifest)
    assert restore(path, root, BASE)["files"] == 0
    with pytest.raises(Unusable, match="another"):
        restore(made(tmp_path / "x.tar.gz", root, manifest={**manifest, key: value}), root, BASE)


def test_a_disk_that_is_full_is_not_the_archives_fault(root, archive, monkeypatch):
    def full(*_arguments, **_options):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(cache_archive.os, "chmod", full)
    with pytest.raises(OSError, match="No space left"):
        restore(archive, emptied(root), BASE)
    assert os.listdir(root) == []


def test_errors_of_the_packing_are_damage_whatever_they_are_called(root, archive, monkeypatch):
    for error in (OSError("CRC check failed"), OSError(5, "zlib: invalid distance")):
        def broken(*_arguments, error=error, **_options):
            raise error

        monkeypatch.setattr(cache_archive.os, "chmod", broken)
        with pytest.raises(Unusable, match="damaged"):
            restore(archive, emptied(root), BASE)


# ------------------------------------------------------------------ what is left behind
@pytest.mark.parametrize(("name", "age", "left"), [
    (".x.1.part", 3600, True), (".x.1.part", 3601, False), (".incoming-1", 3600, True), (".incoming-1", 3601, False),
    ("x.tar.gz", 10**6, True), ("incoming-1", 10**6, True), (".x.part.1", 10**6, True)])
def test_half_made_files_belong_to_nobody_after_an_hour(tmp_path, root, monkeypatch, name, age, left):
    folder = tmp_path / "volume"
    path = folder / name
    if "incoming" in name:
        (path / "below").mkdir(parents=True)
    else:
        folder.mkdir()
        path.touch()
    os.utime(path, (10**9, 10**9))
    monkeypatch.setattr(cache_archive.time, "time", lambda: 10**9 + age)
    save(root, str(folder / "mine.tar.gz"), FACTS, BASE, 10**9)
    assert path.exists() is left


def test_what_cannot_be_removed_is_left(tmp_path, root, monkeypatch):
    archive = tmp_path / "volume" / "old.tar.gz"
    archive.parent.mkdir()
    archive.write_bytes(bytes(1000))
    monkeypatch.setattr(cache_archive.os, "unlink", lambda path: (_ for _ in ()).throw(PermissionError(path)))
    assert evict(str(archive.parent), "mine.tar.gz", 10) == ["old.tar.gz"] and archive.exists()


# ------------------------------------------------------------------ the program
@pytest.fixture
def program(monkeypatch, capsys):
    """What the program prints for an action, and what it asked the system for."""
    asked = []
    library = SimpleNamespace(prctl=lambda *arguments: asked.append(("prctl", *arguments)))
    monkeypatch.setattr(cache_archive.ctypes, "CDLL", lambda name: library if name is None else None)
    monkeypatch.setattr(cache_archive.signal, "signal", lambda *arguments: asked.append(("signal", *arguments)))
    monkeypatch.setattr(cache_archive.os, "nice", lambda by: asked.append(("nice", by)))

    def run(action, **arguments):
        asked.clear()
        monkeypatch.setattr(sys, "argv", ["cache_archive.py", action, json.dumps(arguments)])
        assert cache_archive.main() == 0
        return json.loads(capsys.readouterr().out), list(asked)

    return run


ENDS_WITH_THE_WORKER = [("prctl", 1, signal.SIGKILL, 0, 0, 0), ("signal", signal.SIGINT, signal.SIG_IGN)]


def test_a_save_is_gentle_and_ends_with_the_worker(program, root, archive):
    told, asked = program("save", root=root, archive=archive, facts=FACTS, base=BASE, limit=10**9)
    assert told["files"] == 2 and asked == [*ENDS_WITH_THE_WORKER, ("nice", 19)]


def test_a_restore_is_not_gentle(program, root, archive):
    told, asked = program("restore", root=emptied(root), archive=archive, base=BASE)
    assert told["files"] == 2 and asked == ENDS_WITH_THE_WORKER


def test_why_nothing_was_done_is_told(program, tmp_path, root, archive):
    assert program("restore", root=root, archive=archive, base="0" * 16)[0] == {
        "error": "made by another version, for another place, or for other settings", "unusable": True}
    told, _ = program("restore", root=root, archive=str(tmp_path / "nowhere"), base=BASE)
    assert told["error"].startswith("FileNotFoundError: ") and "unusable" not in told
