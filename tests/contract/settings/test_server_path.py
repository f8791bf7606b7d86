"""A model's code that says `import utils` never gets the worker's: real processes of every kind that a server has."""

import json
import os
import shlex
import subprocess
import sys

import pytest

from tests.support import ROOT, free_port

pytestmark = pytest.mark.timeout(120)

SERVER = '''
import json, multiprocessing, os, sys


def facts():
    try:
        import utils
        found = utils.__file__
    except ImportError:
        found = None
    with open("/proc/self/cmdline") as f:
        head_start = "headstart.py" in f.read()
    return {"utils": found, "folder": os.getcwd(), "head start": head_start}


def tell(queue):
    queue.put(facts())


if __name__ == "__main__":
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    child = context.Process(target=tell, args=(queue,))
    child.start()
    told = {"server": facts(), "child": queue.get()}
    child.join()
    with open(os.environ["TOLD"], "w") as f:
        json.dump(told, f)
'''


@pytest.fixture
def site(tmp_path):
    """A folder of packages in which `sglang.launch_server` says what it finds, and ends."""
    (tmp_path / "site" / "sglang").mkdir(parents=True)
    (tmp_path / "site" / "sglang" / "__init__.py").touch()
    (tmp_path / "site" / "sglang" / "launch_server.py").write_text(SERVER)
    return tmp_path / "site"


def told(site, *, path=None, cwd=ROOT, **environ) -> dict:
    """What the server's processes said under a real worker, which ends when its server does."""
    report = site.parent / "told.json"
    kept = {k: v for k, v in os.environ.items() if k in ("PATH", "HOME", "LANG", "TMPDIR")}
    ended = subprocess.run(
        [sys.executable, str(ROOT / "handler.py"), "--test_input", '{"input": {"text": "Hello"}}'], cwd=cwd,
        capture_output=True, text=True, timeout=100,
        env={**kept, "PYTHONPATH": path or str(site), "MODEL_NAME": "org/tiny", "DEVICE": "cpu", "TOLD": str(report),
             "SGLANG_PORT": str(free_port()), "HEAD_START": "off", **environ})
    assert report.exists(), ended.stdout + ended.stderr
    return json.loads(report.read_text())


def custom(site) -> dict[str, dict[str, str]]:
    python = shlex.quote(sys.executable)
    return {
        "plain": {}, "head start": {"HEAD_START": "on"},
        "another module": {"SGLANG_LAUNCH_COMMAND": f"{python} -m sglang.launch_server"},
        "a script": {"SGLANG_LAUNCH_COMMAND": f"{python} {site / 'sglang' / 'launch_server.py'}"},
        "a shell": {"SGLANG_LAUNCH_COMMAND": f"sh -c 'exec {python} -m sglang.launch_server \"$@\"' server"},
        "an empty element": {"path": f":{site}:"},
    }


WAYS = ["plain", "head start", "another module", "a script", "a shell", "an empty element"]


@pytest.mark.parametrize("way", WAYS)
def test_the_workers_modules_are_out_of_the_servers_reach(site, way):
    report = told(site, **custom(site)[way])
    assert [process["utils"] for process in report.values()] == [None, None]
    assert [process["folder"] for process in report.values()] == [str(ROOT)] * 2
    assert report["child"]["head start"] is (way == "head start")


@pytest.mark.parametrize("way", WAYS)
def test_a_models_own_module_of_that_name_is_found(site, way):
    theirs = site / "utils.py"
    theirs.write_text("")
    report = told(site, **custom(site)[way])
    assert [process["utils"] for process in report.values()] == [str(theirs)] * 2


def test_who_wants_the_working_folder_on_the_path_says_so(site, tmp_path):
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "utils.py").write_text("")
    report = told(site, cwd=tmp_path / "own", PYTHONSAFEPATH="")
    assert report["server"]["utils"] == str(tmp_path / "own" / "utils.py")
