"""The installer of the local environments: keys, locks, markers, failures and pins, without installing."""

import importlib.util
import json
import os
import re
import sys
import threading

import pytest

from local import environments
from settings import flags


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    for name in list(os.environ):
        if name.startswith("WORKER_SGLANG_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("WORKER_SGLANG_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def steps(monkeypatch):
    """Commands that would run; each leaves a Python behind, as making a virtual environment does."""
    commands = []

    def run(what, command, log, progress, environ=None):
        commands.append(command)
        if command[1:3] == ["-m", "venv"]:
            python = environments.Path(command[3]) / "bin" / "python"
            python.parent.mkdir(parents=True)
            python.touch()

    monkeypatch.setattr(environments, "run_step", run)
    return commands


def pins(path):
    lines = [line.partition("#")[0].strip() for line in path.read_text().splitlines()]
    lines = [line for line in lines if line and not line.startswith("-c ")]
    for line in lines:
        assert re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9.]+", line), f"{path.name}: {line} is not pinned"
    pairs = [line.split("==") for line in lines]
    return {re.sub(r"[-_.]+", "-", name).lower(): version for name, version in pairs}


def test_cache_folder(monkeypatch, tmp_path):
    assert environments.cache_root() == tmp_path / "cache"
    monkeypatch.setenv("WORKER_SGLANG_CACHE", "~/somewhere")
    assert environments.cache_root() == environments.Path.home() / "somewhere"
    monkeypatch.delenv("WORKER_SGLANG_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", "/xdg")
    assert str(environments.cache_root()) == "/xdg/worker-sglang"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert environments.cache_root() == environments.Path.home() / ".cache" / "worker-sglang"


def test_engine_environment_extends_the_given_one():
    base = {"PATH": "/bin", "PYTHONPATH": "/mine", "CUDA_VISIBLE_DEVICES": "0"}
    result = environments.engine_environ(base)
    shim = str(environments.LOCAL / "shim")
    assert result["PATH"] == "/bin" and result["PYTHONPATH"] == f"{shim}{os.pathsep}/mine"
    assert result["CUDA_VISIBLE_DEVICES"] == "" and result["SGLANG_USE_CPU_ENGINE"] == "1"
    assert base == {"PATH": "/bin", "PYTHONPATH": "/mine", "CUDA_VISIBLE_DEVICES": "0"}
    # An empty entry in PYTHONPATH would mean the current folder.
    assert environments.engine_environ({})["PYTHONPATH"] == environments.engine_environ({"PYTHONPATH": ""})[
        "PYTHONPATH"] == shim


def test_engine_variables_are_flags_of_the_pinned_sglang():
    snapshot = json.loads((environments.ROOT / "builder" / "flags.json").read_text())
    assert f"sglang=={snapshot['sglang']}" == environments.SGLANG
    variables = environments.CPU_ENGINE_ARGS | environments.TINY_MODEL_ARGS
    argv, _, problems = flags.argv_for(variables, snapshot)
    assert problems == []
    assert "--disable-overlap-schedule" in argv and argv[argv.index("--max-total-tokens") + 1] == "16384"
    assert argv[argv.index("--tool-call-parser") + 1] == "qwen25"


def test_key_follows_the_content_of_every_file(tmp_path):
    files = tmp_path / "a.txt", tmp_path / "b.txt"
    files[0].write_text("one")
    files[1].write_text("two")
    first = environments.key_of(files)
    assert environments.key_of(files) == first != environments.key_of(files, "Python 3.12")
    files[1].write_text("three")
    second = environments.key_of(files)
    files[0].write_text("onet")
    files[1].write_text("hree")
    assert len({first, second, environments.key_of(files)}) == 3


def test_made_once_and_found_again(cache):
    folder, lines = cache / "thing", []
    with environments.once(folder, lines.append) as missing:
        assert missing
        folder.mkdir()
    with environments.once(folder, lines.append) as missing:
        assert not missing
    assert lines == []


def test_interrupted_attempt_is_removed_and_made_again(cache):
    folder = cache / "thing"
    with pytest.raises(KeyboardInterrupt), environments.once(folder, print):
        folder.mkdir()
        (folder / "half").touch()
        raise KeyboardInterrupt
    with environments.once(folder, print) as missing:
        assert missing and not folder.exists()
        folder.mkdir()


def test_made_again_when_the_interpreter_behind_it_is_gone(cache):
    folder = cache / "thing"
    interpreter = cache / "python3"
    for _ in range(2):
        with environments.once(folder, print, folder / "python") as missing:
            assert missing
            folder.mkdir()
            interpreter.touch()
            (folder / "python").symlink_to(interpreter)
        interpreter.unlink()


def test_second_caller_waits_for_the_first_and_makes_nothing(cache):
    folder, waiting, result = cache / "thing", threading.Event(), []

    def second():
        with environments.once(folder, lambda line: waiting.set()) as missing:
            result.append(missing)

    thread = threading.Thread(target=second)
    with environments.once(folder, print) as missing:
        assert missing
        thread.start()
        assert waiting.wait(10) and result == []
        folder.mkdir()
    thread.join(10)
    assert result == [False]


def test_worker_environment_installs_under_the_constraints(cache, steps):
    python = environments.worker_python()
    assert python.parent.parent.parent == cache and python.parent.parent.name.startswith("worker-")
    venv, install = steps
    assert venv[0] == sys.executable and install[0] == str(python)
    constraint = install[install.index("-c") + 1]
    assert constraint == str(environments.LOCAL / "constraints-worker.txt")
    assert install.count("-r") == 2
    assert environments.worker_python() == python and len(steps) == 2


def test_engine_environment_installs_sglang_without_its_dependencies(steps):
    python = environments.engine_python()
    _, packages, sglang, torchvision = steps
    assert "--no-deps" not in packages and packages[-2:] == ["-r", str(environments.ENGINE_FILES[0])]
    assert sglang[-2:] == ["--no-deps", "sglang==0.5.23"]
    assert torchvision[-1] == "torchvision==0.15.2" and "--no-deps" in torchvision
    site = environments.Path(torchvision[torchvision.index("--target") + 1])
    assert site.name == "site-packages" and python.parent.parent in site.parents


def test_the_router_has_an_environment_of_its_own(steps):
    python = environments.router_python()
    _, install = steps
    assert python.parent.parent.name.startswith("router-")
    assert install[-4:] == ["-r", str(environments.ROUTER_FILES[0]), "-c", str(environments.ROUTER_FILES[1])]
    router, all_of_it = (pins(path) for path in environments.ROUTER_FILES)
    assert list(router) == ["sglang-router"] and router.items() <= all_of_it.items()


def test_failed_installation_leaves_nothing_that_looks_whole(monkeypatch, steps):
    run = environments.run_step

    def fail(what, command, log, progress, environ=None):
        run(what, command, log, progress, environ)
        if "pip" in command:
            raise environments.SetupError("no network")

    monkeypatch.setattr(environments, "run_step", fail)
    with pytest.raises(environments.SetupError, match="no network"):
        environments.worker_python()
    monkeypatch.setattr(environments, "run_step", run)
    environments.worker_python()
    assert len(steps) == 4


def test_given_pythons_are_used_as_they_are(monkeypatch, steps):
    monkeypatch.setenv("WORKER_SGLANG_WORKER_PYTHON", "/opt/a/bin/python")
    monkeypatch.setenv("WORKER_SGLANG_ENGINE_PYTHON", "/opt/b/bin/python")
    assert str(environments.worker_python()) == "/opt/a/bin/python"
    assert str(environments.engine_python()) == "/opt/b/bin/python"
    monkeypatch.setenv("WORKER_SGLANG_ROUTER_PYTHON", "/opt/c/bin/python")
    assert str(environments.router_python()) == "/opt/c/bin/python"
    assert steps == []


def test_too_old_python_is_refused(monkeypatch, steps):
    monkeypatch.setattr(environments, "OLDEST_PYTHON", (99, 0))
    with pytest.raises(environments.SetupError, match="Python 99.0 or newer is needed"):
        environments.engine_python()
    assert steps == []


def test_model_is_trained_by_the_engine_python_and_cached(monkeypatch, steps):
    monkeypatch.setenv("WORKER_SGLANG_ENGINE_PYTHON", "/opt/b/bin/python")
    folder = environments.cache_root() / f"tiny-model-{environments.key_of(environments.MODEL_FILES)}"
    monkeypatch.setattr(environments, "run_step",
                        lambda what, command, *rest: (steps.append(command), folder.mkdir()))
    assert environments.tiny_model() == environments.tiny_model() == folder
    assert len(steps) == 1 and steps[0][0] == "/opt/b/bin/python"
    assert steps[0][-2:] == ["local.tiny_model", str(folder)]


def test_step_reports_its_time_and_keeps_its_output(tmp_path):
    lines = []
    environments.run_step("a step", [sys.executable, "-c", "print('said')"], tmp_path / "log", lines.append)
    assert lines[0] == "a step ..." and re.fullmatch(r"a step: done in \d+\.\d s", lines[1])
    assert (tmp_path / "log").read_text() == "said\n"


def test_long_step_shows_its_last_line(tmp_path, monkeypatch):
    monkeypatch.setattr(environments, "HEARTBEAT", 0.02)
    go = tmp_path / "go"
    os.mkfifo(go)
    program = ("print('Collecting torch', 'WARNING: no such index', '', sep='\\n', flush=True);"
               f"open({str(go)!r}).read()")
    lines, released = [], []

    def progress(line):
        lines.append(line)
        if "Collecting torch" in line and not released:  # once: on a busy machine there may be more such lines
            released.append(line)
            go.write_text("on")

    environments.run_step("a step", [sys.executable, "-c", program], tmp_path / "log", progress)
    assert re.fullmatch(r"  \d+ s: Collecting torch", lines[-2])


def test_failing_step_shows_the_end_of_its_output(tmp_path):
    program = "import sys; print(*range(100), sep='\\n'); print('No matching distribution'); sys.exit(3)"
    with pytest.raises(environments.SetupError) as caught:
        environments.run_step("a step", [sys.executable, "-c", program], tmp_path / "log", print)
    lines = str(caught.value).splitlines()
    assert lines[0] == f"a step failed with status 3; the end of {tmp_path / 'log'}:"
    assert lines[-1] == "No matching distribution" and lines[1] == "71"


def test_missing_venv_module_is_explained(tmp_path):
    program = "print('ensurepip is not available.'); raise SystemExit(1)"
    with pytest.raises(environments.SetupError, match="apt-get install python3-venv"):
        environments.run_step("a step", [sys.executable, "-c", program], tmp_path / "log", print)


def test_step_is_stopped_when_its_progress_fails(tmp_path, monkeypatch):
    monkeypatch.setattr(environments, "HEARTBEAT", 0.02)
    started = []
    popen = environments.subprocess.Popen
    monkeypatch.setattr(environments.subprocess, "Popen",
                        lambda *args, **kwargs: started.append(popen(*args, **kwargs)) or started[-1])

    def progress(line):
        if not line.endswith("..."):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        environments.run_step("a step", [sys.executable, "-c", "import signal; signal.pause()"],
                          tmp_path / "log", progress)
    assert started[0].returncode == -9


def test_every_package_is_pinned_and_the_files_agree():
    constraints = pins(environments.LOCAL / "constraints-worker.txt")
    wanted = pins(environments.ROOT / "requirements.txt") | pins(environments.LOCAL / "requirements-dev.txt")
    assert wanted.items() <= constraints.items()
    engine, cuda = (pins(path) for path in environments.ENGINE_FILES)
    assert engine["torch"] == "2.13.0" and "sglang" not in engine and "torchvision" not in engine
    assert not engine.keys() & cuda.keys()


def test_shim_has_every_kernel_and_none_works():
    path = environments.LOCAL / "shim" / "sgl_kernel" / "__init__.py"
    spec = importlib.util.spec_from_file_location("shim_of_sgl_kernel", path)
    shim = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(shim)
    with pytest.raises(NotImplementedError, match="sgl_kernel.some_kernel_cpu"):
        shim.some_kernel_cpu(1, out=None)
    assert not hasattr(shim, "__wrapped__")
