"""Processes that had a head start are the server's children like any other: headstart.py with real processes."""

import contextlib
import json
import os
import select
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import ROOT

pytestmark = pytest.mark.timeout(120)
SPARES = 4


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


@pytest.mark.parametrize("spares", [0, 1])
def test_what_has_no_head_start_starts_as_usual(launcher, spares):
    ours = told(launcher, spares, "tests.contract.spawning")
    assert [child.get("preloaded") for child in ours["told"]][:3] == [True] * spares + [False] * (3 - spares)
    assert [child["exit"] for child in ours["told"]] == [0, 0, 0, 7, -9]


def test_variables_that_libraries_have_read_by_now_rule_it_out(launcher):
    ours = told(launcher, 1, "tests.contract.spawning", "--other-gpu")
    assert [child.get("preloaded") for child in ours["told"]][:3] == [False] * 3


def test_a_dead_interpreter_is_no_loss(launcher):
    text = launcher.read_text()
    launcher.write_text(text.replace("    order = json.loads", "    os._exit(1)\n    order = json.loads"))
    ours = told(launcher, 2, "tests.contract.spawning")
    assert [child["exit"] for child in ours["told"]] == [0, 0, 0, 7, -9]
    assert not any(child.get("preloaded") for child in ours["told"])


def test_unused_interpreters_end_with_the_server(launcher):
    module = launcher.parent / "idle_server.py"
    module.write_text(IDLE_SERVER)
    ended = subprocess.run([sys.executable, str(launcher), "2", "idle_server"], cwd=launcher.parent, text=True,
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
