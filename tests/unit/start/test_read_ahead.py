"""The worker's side of reading ahead: when it begins, what it is told, how it ends, and its one line."""

import json
import os
import stat
import sys
import time
from types import SimpleNamespace

import pytest

from start.start_report import Timeline
from start.weights import read_ahead
from start.weights.read_ahead import Plan, ReadAhead, sentence
from tests.pages import resident, weights

MB, GB = 10**6, 10**9
IMPORTED, LOADING, LOADED = "Init parallel begin", "Load weight begin", "Load weight end"


@pytest.fixture
def said(monkeypatch):
    lines = []
    monkeypatch.setattr(read_ahead.utils, "log", lambda line, level="info": lines.append((level, line)))
    return lines


def ahead(*files, beside=False, **more):
    one = ReadAhead(lambda: Plan([str(file) for file in files], beside), **more)
    one.begin()
    return one


def heard(one, *lines):
    timeline = Timeline()
    for at, line in enumerate(("server_args=x", *lines)):
        timeline.feed(line, float(at))
        one.hear(timeline)
    return one


def until(condition):
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_it_reads_at_once_and_says_so_in_one_line(tmp_path, said):
    file = weights(tmp_path / "a", 150 * MB)
    one = ahead(file)
    until(lambda: said)
    [(level, line)] = said
    assert level == "info" and line.startswith("weights: 0.1 GB in ") and line.endswith("100 % before they were needed")
    assert resident(file) > 0.99 and one.span[0] < one.span[1]
    assert one.facts == {"bytes": 150 * MB, "read": one.facts["read"], "seconds": one.facts["seconds"], "in_time": 1.0}
    heard(one, IMPORTED, LOADING, LOADED).kill()
    assert len(said) == 1


def test_on_the_disk_of_the_libraries_it_waits_for_the_imports(tmp_path, said):
    file = weights(tmp_path / "a", 20 * MB)
    one = ahead(file, beside=True)
    heard(one)
    assert not one._turn.is_set() and one._process is None
    heard(one, IMPORTED)  # its models are imported after that
    assert not one._turn.is_set() and one._process is None
    heard(one, IMPORTED, LOADING)
    until(lambda: said)
    assert resident(file) > 0.99
    assert said[0][1].endswith(" 0 % before they were needed; the libraries came first, from the same disk")


def test_once_they_are_loaded_nothing_is_begun(tmp_path, said):
    file = weights(tmp_path / "a", 20 * MB)
    one = ReadAhead(lambda: Plan([str(file)], True))
    heard(one, IMPORTED, LOADING, LOADED)
    one._run()
    assert one._process is None and said == [] and resident(file) == 0 and one.span is None


def stand_in(folder, code):
    """A program in place of the Python that would run the reader."""
    path = folder / "python"
    path.write_text(f"#!{sys.executable} -S\nimport json, signal, sys, time\n{code}")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return str(path)


def test_its_process_hears_each_word_once(tmp_path, said):
    python = stand_in(tmp_path, "words = [line.strip() for line in iter(sys.stdin.readline, 'enough\\n')]\n"
                      "print(json.dumps({'bytes': 10, 'planned': 10, 'there': 0, 'read': 8, 'seconds': 1.0, "
                      "'needed': 5, 'stopped': ' '.join(words) + ' heard'}))")
    one = ahead("x", python=python)
    until(lambda: one._process)
    heard(one, IMPORTED, LOADING, "Loading shards", "Loading shards", LOADED)
    until(lambda: said)
    assert "no more: needed heard" in said[0][1] and one.facts["in_time"] == 0.5


def test_a_process_that_does_not_end_is_killed_without_waiting(tmp_path, said):
    python = stand_in(tmp_path, "signal.signal(signal.SIGTERM, signal.SIG_IGN)\nprint('begun', file=open(sys.argv[0] + "
                      "'.ran', 'w'))\ntime.sleep(600)")
    one = ahead("x", python=python)
    until(lambda: os.path.exists(python + ".ran"))
    began = time.monotonic()
    one.kill()
    assert time.monotonic() - began < 30  # not the 600 s of the process
    until(lambda: one._process.poll() is not None)
    assert said == [] and one.span is None


@pytest.mark.parametrize("fault", ["find", "python", "output"])
def test_no_fault_is_more_than_a_line(tmp_path, said, fault):
    python = {"python": "/nowhere", "output": stand_in(tmp_path, "print('no JSON')")}.get(fault, sys.executable)
    one = ReadAhead(lambda: 1 / 0 if fault == "find" else Plan(["/x"], False), python)
    one._quietly()
    [(level, line)] = said
    assert level == "warn" and line.startswith("weights: not read ahead: ")


@pytest.mark.parametrize("unpacker", ["raise SystemExit(1)", "print(json.dumps({'warm': True}))"])
def test_where_nothing_is_unpacked_the_files_are_read(tmp_path, said, unpacker):
    """On a system without memfd_create, for instance; or where they are in memory already."""
    file = weights(tmp_path / "a", 20 * MB)
    python = stand_in(tmp_path, unpacker)
    one = ahead(file, packed=SimpleNamespace(command=lambda files, allowed: [python]))
    until(lambda: said)
    assert said[0][1].startswith("weights: 20.0 MB in ") and resident(file) > 0.99 and not one.unpacked


def test_nothing_to_read_is_nothing_to_say(said):
    one = ReadAhead(lambda: Plan([], True))
    one._run()  # does not wait for the imports
    assert said == [] and one._process is None


def test_it_keeps_to_its_share_of_the_memory(tmp_path, said, monkeypatch):
    monkeypatch.setattr(read_ahead.room, "left", lambda: 60 * MB)
    files = [weights(tmp_path / name, 30 * MB) for name in "ab"]
    ahead(*files)
    until(lambda: said)
    assert said[0][1].endswith("; no more than 42.0 MB, 70 % of the memory that is left, is read ahead")
    assert resident(files[1]) < 0.9


def told(**more):
    return {"bytes": 14_500_000_000, "planned": 14_500_000_000, "there": 0, "read": 14_500_000_000, "seconds": 38.2,
            "needed": None, "stopped": None, **more}


@pytest.mark.parametrize(("more", "line"), [
    ({}, "weights: 14.5 GB in 38 s (0.38 GB/s), 100 % before they were needed"),
    ({"needed": 9_000_000_000}, "weights: 14.5 GB in 38 s (0.38 GB/s), 62 % before they were needed"),
    ({"needed": 14_499_000_000}, "weights: 14.5 GB in 38 s (0.38 GB/s), 99 % before they were needed"),
    ({"read": 9_000_000_000, "needed": 5_000_000_000, "seconds": 30.0},
     "weights: 9.0 GB of 14.5 GB in 30 s (0.30 GB/s), 34 % before they were needed"),
    ({"there": 14_500_000_000, "read": 0, "seconds": 0.2}, "weights: 14.5 GB, in memory already"),
    ({"there": 0, "read": 0, "seconds": 0.2, "needed": 0},
     "weights: 0.0 MB of 14.5 GB in 0.2 s (0.00 GB/s), 0 % before they were needed"),
    ({"there": 14_499_000_000, "read": 1_000_000}, "weights: 14.5 GB, in memory already"),
    ({"there": 4_500_000_000, "read": 10_000_000_000, "seconds": 5.04},
     "weights: 14.5 GB, 4.5 GB of it in memory already, the rest in 5.0 s (1.98 GB/s), 100 % before they were needed"),
    ({"there": 400_000_000, "read": 14_100_000_000}, "weights: 14.5 GB in 38 s (0.37 GB/s), 100 % before they were "
                                                     "needed"),
    ({"planned": 10_000_000_000, "read": 10_000_000_000, "seconds": 10.0},
     "weights: 10.0 GB of 14.5 GB in 10 s (1.00 GB/s), 68 % before they were needed; no more than 10.5 GB, 70 % of the "
     "memory that is left, is read ahead"),
    ({"read": 64_000_000, "stopped": "pages do not stay"},
     "weights: 64.0 MB of 14.5 GB read ahead, then no more: pages do not stay"),
    ({"read": 0, "stopped": "no such file"}, "weights: nothing read ahead, then no more: no such file"),
])
def test_the_line(more, line):
    assert sentence(told(**more), 10_500_000_000) == line


def test_the_report_of_a_process_is_what_the_line_needs(tmp_path):
    from start.weights import page_reader

    reader = page_reader.Reader([str(weights(tmp_path / "a", 2 * MB))], None)
    reader.run()
    assert set(reader.wait()) == set(told()) and json.dumps(reader.wait())
