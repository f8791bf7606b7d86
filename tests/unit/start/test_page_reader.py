"""The process that reads ahead: its windows, what it finds in memory, what it proves, and how it ends."""

import ctypes
import json
import os
import subprocess
import sys
import threading
from types import SimpleNamespace

import pytest

from start.weights import page_reader
from start.weights.page_reader import Reader, Untold, Window, windows
from tests.pages import forget, resident, weights

MB = 10**6


def test_windows_split_files_and_keep_their_order():
    w = page_reader.WINDOW
    assert windows([("a", 2 * w + 5), ("b", 0), ("c", 1)], None) == [
        Window("a", 0, w), Window("a", w, w), Window("a", 2 * w, 5), Window("c", 0, 1)]


@pytest.mark.parametrize(("room", "count"), [(0, 0), (99, 0), (100, 1), (10**9, 2), (None, 2)])
def test_windows_end_where_the_room_does(room, count):
    assert len(windows([("a", 100), ("b", 100)], room)) == count


def read(*files, room=None, before=lambda reader: None):
    reader = Reader([str(file) for file in files], room)
    before(reader)
    reader.run()
    return reader.wait()


def test_what_is_read_is_in_memory_and_is_not_read_again(tmp_path):
    files = [weights(tmp_path / name, 40 * MB) for name in "ab"]
    told = read(*files)
    assert all(resident(file) > 0.99 for file in files)
    assert told["bytes"] == told["planned"] == told["there"] + told["read"] == 80 * MB and told["read"] > 76 * MB
    assert told["stopped"] is None and told["needed"] is None
    assert read(*files)["read"] == 0


def test_only_the_window_that_is_missing_is_read(tmp_path, monkeypatch):
    file = weights(tmp_path / "a", 40 * MB)
    read(file)
    fd = os.open(file, os.O_RDONLY)
    os.posix_fadvise(fd, page_reader.WINDOW, page_reader.WINDOW, os.POSIX_FADV_DONTNEED)
    os.close(fd)
    preadv, asked = os.preadv, []
    monkeypatch.setattr(page_reader.os, "preadv",
                        lambda fd, buffers, offset: asked.append(offset) or preadv(fd, buffers, offset))
    read(file)
    assert asked and all(page_reader.WINDOW <= offset < 2 * page_reader.WINDOW for offset in asked)
    assert resident(file) > 0.99


def test_no_more_than_the_room_is_read(tmp_path):
    files = [weights(tmp_path / name, 20 * MB) for name in "ab"]
    told = read(*files, room=25 * MB)
    assert told["planned"] <= 25 * MB < told["bytes"] and told["there"] + told["read"] == told["planned"]
    assert resident(files[1]) < 0.9


def test_what_was_in_memory_when_it_was_needed(tmp_path):
    file = weights(tmp_path / "a", 2 * MB)
    assert read(file, before=lambda reader: reader.needed())["needed"] == 0
    assert read(file, before=lambda reader: reader.needed())["needed"] == 2 * MB  # it was there already
    forget(file)
    reader = Reader([str(file)], None)
    reader.run()
    reader.needed()
    reader.needed()
    assert reader.wait()["needed"] == 2 * MB


def test_pages_that_do_not_stay_end_it(tmp_path, monkeypatch):
    class Dropped(page_reader.Pages):  # as a file system that drops a file's pages at each opening
        def __init__(self, path):
            forget(tmp_path / path)
            super().__init__(path)

    files = [weights(tmp_path / name, 100 * MB) for name in "ab"]
    monkeypatch.setattr(page_reader, "Pages", Dropped)
    told = read(*files)
    assert told["stopped"] == "pages do not stay in memory when a file is opened again"
    assert told["read"] <= page_reader._PROVEN * page_reader.WINDOW and resident(files[1]) == 0


def test_a_file_of_nobody_known_is_not_judged(tmp_path, monkeypatch):
    file = weights(tmp_path / "a", 2 * MB)
    monkeypatch.setattr(page_reader.os, "geteuid", lambda: 12345)
    monkeypatch.setattr(page_reader.os, "access", lambda path, mode: False)
    assert "another user's" in read(file)["stopped"]
    monkeypatch.setattr(page_reader.os, "access", lambda path, mode: True)
    assert read(file)["stopped"] is None


def test_a_file_system_that_maps_nothing_is_not_judged(tmp_path, monkeypatch):
    file = weights(tmp_path / "a", 2 * MB)
    monkeypatch.setattr(page_reader, "libc", SimpleNamespace(mmap=lambda *_: ctypes.c_void_p(-1).value))
    with pytest.raises(Untold, match="maps no files"):
        page_reader.Pages(str(file))


@pytest.mark.parametrize("fault", ["gone", "shorter", "unreadable"])
def test_a_file_that_cannot_be_read_ends_it(tmp_path, monkeypatch, fault):
    file = weights(tmp_path / "a", 2 * MB)

    def failing(*_):
        raise OSError(5, "Input/output error")

    if fault == "unreadable":
        monkeypatch.setattr(page_reader.os, "preadv", failing)
    reader = Reader([str(file)], None)
    if fault == "gone":
        file.unlink()
    elif fault == "shorter":
        os.truncate(file, 4096)
    reader.run()
    why = {"gone": "No such file", "shorter": "became shorter", "unreadable": "Input/output error"}
    assert why[fault] in reader.wait()["stopped"]
    assert "No such file" in read(tmp_path / "nowhere")["stopped"]


def test_nothing_to_read_is_over_at_once(tmp_path):
    (tmp_path / "empty").touch()
    for files in ([], [tmp_path / "empty"]):
        assert read(*files) | {"seconds": 0} == {"bytes": 0, "planned": 0, "there": 0, "read": 0, "seconds": 0,
                                                 "needed": None, "stopped": None}


# ------------------------------------------------------------------ the program
def program(*files, room=None):
    arguments = json.dumps({"files": [str(file) for file in files], "room": room})
    return subprocess.Popen([sys.executable, "-I", "-S", page_reader.__file__, arguments], text=True,
                            stdin=subprocess.PIPE, stdout=subprocess.PIPE)


def test_the_program_reads_and_ends(tmp_path):
    file = weights(tmp_path / "a", 40 * MB)
    process = program(file)
    told = json.loads(process.stdout.readline())
    assert process.wait(60) == 0 and told["planned"] == 40 * MB and resident(file) > 0.99


@pytest.mark.parametrize("order", ["enough", ""])
def test_the_program_ends_when_it_is_told_to_or_left(tmp_path, order):
    os.mkfifo(tmp_path / "hangs")  # its opening waits for a writer, for ever
    reader = Reader([], None)
    reader._windows = [Window(str(tmp_path / "hangs"), 0, 1)]
    thread = threading.Thread(target=reader.run, daemon=True)
    thread.start()
    reader.end()
    assert reader.wait()["read"] == 0 and thread.is_alive()
    process = program()
    process.stdin.write(order)
    process.stdin.close()
    assert process.wait(60) == 0


def test_its_priority_is_the_lowest_until_it_is_needed(tmp_path, monkeypatch):
    given = []
    monkeypatch.setattr(page_reader, "for_the_disk", given.append)
    file = weights(tmp_path / "a", 2 * MB)
    read(file)
    assert given == []  # the process as a whole has the idle class
    forget(file)
    read(file, before=lambda reader: reader.needed())
    assert set(given) == {page_reader.ORDINARY}


def test_the_kernel_takes_the_priority():
    code = ("import ctypes, os; from start.weights import page_reader as p; p.for_the_disk(p.IDLE); "
            "print(ctypes.CDLL(None).syscall(ctypes.c_long({'x86_64': 252, 'aarch64': 31}[os.uname().machine]), 1, 0))")
    if os.uname().machine not in page_reader._IOPRIO_SET:
        pytest.skip("the number of the system call is not known here")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert int(done.stdout) >> 13 == 3  # IOPRIO_CLASS_IDLE
