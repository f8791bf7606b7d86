"""Processes that had a head start are the server's children like any other: headstart.py with real processes."""

import contextlib
import json
import os
import select
import subprocess
import sys
import time
from pathlib import Path

import pytest

from server.guard import descendants
from tests.support import ROOT, free_port

pytestmark = pytest.mark.timeout(120)
SPARES = "0,0,0,0"


@pytest.fixture
def launcher(tmp_path):
    """headstart.py with a library that is here in place of those that are not."""
    text = (ROOT / "server" / "headstart.py").read_text(encoding="utf-8")
    head, rest = text.split("PRELOADED = (", 1)
    path = tmp_path / "headstart.py"
    path.write_text(head + 'PRELOADED = ("xml.dom.minidom", "no.such.library")\n_REST = (' + rest, encoding="utf-8")
    return path


# Prints the ids of its children; others on the machine end while it looks.
IDLE_SERVER = """\
import contextlib, os
children = []
for pid in filter(str.isdigit, os.listdir("/proc")):
    with contextlib.suppress(OSError), open(f"/proc/{pid}/stat") as f:
        if f.read().rpartition(")")[2].split()[1] == str(os.getpid()):
            children.append(int(pid))
print(children)
"""


# Spawns one child and, when it is told to, listens.
LATE_SERVER = """\
import multiprocessing, socket, sys, time

if __name__ == "__main__":
    multiprocessing.set_start_method("spawn")
    child = multiprocessing.Process(target=time.sleep, args=(600,), daemon=True)
    child.start()
    print(child.pid, flush=True)
    sys.stdin.readline()
    listener = socket.create_server(("127.0.0.1", int(sys.argv[sys.argv.index("--port") + 1])))
    sys.stdin.readline()
"""


def living(pid: int) -> bool:
    with contextlib.suppress(OSError), open(f"/proc/{pid}/stat") as f:
        return f.read().rpartition(")")[2].split()[0] != "Z"
    return False


def told(*command, **environ) -> dict:
    ended = subprocess.run([sys.executable, *map(str, command)], cwd=ROOT, capture_output=True, text=True, timeout=60,
                           env={**os.environ, "UNSET_LATER": "1", **environ})
    assert ended.returncode == 0, ended.stderr
    assert ended.stderr == ""
    return json.loads(ended.stdout)


def test_a_child_with_a_head_start_is_like_any_other(launcher):
    usual = told("-m", "tests.contract.spawning", "--one", "2")
    ours = told(launcher, SPARES, "tests.contract.spawning", "--one", "2")
    assert [child.pop("preloaded", None) for child in usual["told"]] == [False] * 3 + [None] * 2
    assert [child.pop("preloaded", None) for child in ours["told"]] == [True] * 3 + [None] * 2
    for told_by, report in ((usual, "usual"), (ours, "ours")):
        for child in told_by["told"][:3]:
            assert child.pop("parent") == told_by["pid"], report
            assert child.pop("pid") == child.pop("started"), report
        del told_by["pid"]
    assert Path(ours["argv"][0]).name == "spawning.py" and ours["argv"][1:] == ["--one", "2"]
    assert ours == usual
    assert [child["exit"] for child in ours["told"]] == [0, 0, 0, 7, -9] and ours["value"] == 3


@pytest.mark.parametrize(("children", "spares"), [("", 0), ("0", 1)])
def test_what_has_no_head_start_starts_as_usual(launcher, children, spares):
    ours = told(launcher, children, "tests.contract.spawning")
    assert [child.get("preloaded") for child in ours["told"]][:3] == [True] * spares + [False] * (3 - spares)
    assert [child["exit"] for child in ours["told"]] == [0, 0, 0, 7, -9]


def test_variables_that_libraries_have_read_by_now_rule_it_out(launcher):
    ours = told(launcher, "0", "tests.contract.spawning", "--other-gpu")
    assert [child.get("preloaded") for child in ours["told"]][:3] == [False] * 3


def test_a_dead_interpreter_is_no_loss(launcher):
    text = launcher.read_text()
    launcher.write_text(text.replace("    order = json.loads", "    os._exit(1)\n    order = json.loads"))
    ours = told(launcher, "0,0", "tests.contract.spawning")
    assert [child["exit"] for child in ours["told"]] == [0, 0, 0, 7, -9]
    assert not any(child.get("preloaded") for child in ours["told"])


@pytest.mark.parametrize(("children", "with_one"), [("", [False] * 3), ("2,0", [True, True, False]),
                                                    ("3", [True] * 3), ("4,0", [True] * 3)])
def test_children_of_a_child_have_a_head_start_too(launcher, children, with_one):
    ours = told(launcher, children, "tests.contract.spawning", "--controller")
    assert ours["parent"] == ours["server"] and ours["preloaded"] is bool(children)
    assert [child["preloaded"] for child in ours["told"]] == with_one
    for child in ours["told"]:
        assert child["parent"] == ours["pid"] and child["pid"] == child["started"] and child["exit"] == 3
        assert (child["folder"], child["set"], child["argv"][1:]) == ("/tmp", "yes", ["--controller"])


def test_what_nothing_was_spawned_for_ends_when_the_server_listens(launcher):
    """Three were expected, two of them with children of their own; the server spawns one, and that one none."""
    (launcher.parent / "late_server.py").write_text(LATE_SERVER)
    port = free_port()
    with subprocess.Popen([sys.executable, str(launcher), "2,0,1", "late_server", "--port", str(port)], text=True,
                          cwd=launcher.parent, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as server:
        child = int(server.stdout.readline())
        # And multiprocessing's own process that looks after semaphores.
        while len(before := descendants(server.pid)) < 6 + 1:
            time.sleep(0.01)
        assert len(descendants(child)) == 2
        server.stdin.write("listen\n")
        server.stdin.flush()
        while len(left := [pid for pid in before if living(pid)]) > 1 + 1:
            time.sleep(0.01)
        assert child in left and server.poll() is None
        server.stdin.close()


def test_unused_interpreters_end_with_the_server(launcher):
    module = launcher.parent / "idle_server.py"
    module.write_text(IDLE_SERVER)
    ended = subprocess.run([sys.executable, str(launcher), "0,0", "idle_server"], cwd=launcher.parent, text=True,
                           capture_output=True, timeout=60)
    children = json.loads(ended.stdout)
    assert len(children) == 2 and ended.returncode == 0
    for pid in children:  # their output is at its end, which comes a moment before their own
        with contextlib.suppress(ProcessLookupError):
            descriptor = os.pidfd_open(pid)
            try:
                poller = select.poll()
                poller.register(descriptor, select.POLLIN)
                assert poller.poll(60_000), f"{pid} is still there"
            finally:
                os.close(descriptor)
