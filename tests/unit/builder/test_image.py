"""The Dockerfile and what reaches it: linted, pinned, without secrets, and consistent with the rest."""

import fnmatch
import json
import os
import re
import shutil
import subprocess
import sys

import pytest

from settings import flags
from tests.dockerfile import DOCKERFILE, ROOT, WORKER_PYTHON, every, step

SNAPSHOT = json.loads((ROOT / "builder/flags.json").read_text(encoding="utf-8"))


def in_context(path: str) -> bool:
    """Whether .dockerignore lets `path` reach the builder: the last pattern that matches it or a parent decides."""
    inside = True
    for line in (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines():
        pattern = line.strip().removeprefix("!").rstrip("/")
        if not pattern or line.startswith("#"):
            continue
        parts = path.split("/")
        parents = ["/".join(parts[:count]) for count in range(1, len(parts) + 1)]
        if pattern.startswith("**/"):
            matched = any(fnmatch.fnmatch(part, pattern[3:]) for part in parts)
        else:
            matched = any(fnmatch.fnmatch(parent, pattern) and parent.count("/") == pattern.count("/")
                          for parent in parents)
        if matched:
            inside = line.startswith("!")
    return inside


def test_hadolint_finds_nothing():
    hadolint = shutil.which("hadolint", path=os.pathsep.join([os.path.dirname(sys.executable), os.environ["PATH"]]))
    if hadolint is None:
        pytest.skip("hadolint is not installed")
    done = subprocess.run([hadolint, "--no-color", str(ROOT / "Dockerfile")], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_default_base_is_the_sglang_of_the_snapshot():
    assert every("ARG")[0] == f"BASE_IMAGE=lmsysorg/sglang:v{SNAPSHOT['sglang']}"
    assert every("FROM") == ["${BASE_IMAGE}"]


def test_process_1_reaps_and_signals_the_worker_alone():
    assert json.loads(every("ENTRYPOINT")[0]) == ["/usr/bin/tini", "--"]      # -g would signal the server too
    assert re.search(r"apt-get install .*\"tini=\d+\.\d+\.\d+-\*\"", step("apt-get"))
    assert json.loads(every("CMD")[0]) == [WORKER_PYTHON, "-E", "-u", "handler.py"]
    assert not every("STOPSIGNAL")


def test_no_secret_stays_in_the_image():
    names = [name for arguments in every("ARG") + every("ENV") for name in re.findall(r"(\w+)=", arguments)]
    assert {"BASE_IMAGE", "MODEL_NAME"} <= set(names)
    assert [name for name in names if flags.is_secret(name) or re.search("TOKEN(?!IZER)", name)] == []
    assert "--mount=type=secret,id=HF_TOKEN,required=false" in step("download_model")
    assert not any("HF_TOKEN" in arguments for word, arguments in DOCKERFILE if word != "RUN")


def test_nothing_is_installed_beside_sglang():
    pips = [command for arguments in every("RUN") for command in re.split(r"&&|;", arguments) if "-m pip" in command]
    assert pips
    assert all(f"-m pip --python {WORKER_PYTHON} " in command for command in pips)
    assert "unset PYTHONPATH" in step("-m venv")


def test_worker_python_ignores_what_the_base_sets():
    uses = re.findall(rf"{WORKER_PYTHON} (\S+)", " ".join(every("RUN")).replace(f"--python {WORKER_PYTHON}", ""))
    assert uses and set(uses) == {"-E"}


def test_server_runs_on_the_base_images_python():
    assert 'SGLANG_LAUNCH_COMMAND="python3 -m sglang.launch_server"' in " ".join(every("ENV"))


def test_the_servers_python_compiles_what_it_imports_in_a_layer_of_its_own():
    places = [number for number, (word, arguments) in enumerate(DOCKERFILE)
              if (word, arguments) == ("RUN", "python3 -m builder.compile_bytecode")]
    code = [number for number, (word, arguments) in enumerate(DOCKERFILE) if word == "COPY" and "*.py" in arguments]
    assert len(places) == 1 and places < code, "a change of the worker's code must not compile SGLang again"


def test_every_pin_is_exact():
    lines = [line.split("#")[0].strip() for name in ("requirements.txt", "builder/requirements-image.txt")
             for line in (ROOT / name).read_text(encoding="utf-8").splitlines()]
    packages = [line for line in lines if line and not line.startswith("-")]
    assert {re.split("[=<>~!]", package)[0] for package in packages} >= {"runpod", "nvidia-ml-py"}
    assert all(re.fullmatch(r"[\w.-]+==[\w.]+", package) for package in packages)
    for option, path in (line.split() for line in lines if line.startswith("-")):
        assert option in ("-c", "-r") and (ROOT / "builder" / path).is_file()


def test_constraints_cover_what_the_image_installs():
    text = (ROOT / "local/constraints-worker.txt").read_text(encoding="utf-8")
    pins = {line.split("==")[0].lower(): line for line in text.splitlines() if "==" in line}
    for name in ("requirements.txt", "builder/requirements-image.txt"):
        for package in re.findall(r"^[\w.-]+==[\w.]+", (ROOT / name).read_text(encoding="utf-8"), re.MULTILINE):
            assert pins[package.split("==")[0].lower()] == package


@pytest.mark.parametrize("arguments", every("COPY"))
def test_copied_files_exist_and_reach_the_builder(arguments):
    sources = [word for word in arguments.split()[:-1] if not word.startswith("--")]
    for source in sources:
        found = list(ROOT.glob(source.rstrip("/")))
        assert found, source
        assert all(in_context(str(path.relative_to(ROOT))) for path in found)


@pytest.mark.parametrize("path", [
    ".env", "local/.env", ".env.production", ".git/config", "tests/unit/builder/test_image.py", "docs/deploying.md",
    ".scratch/site.tar", "test_input.json",
    "builder/__pycache__/x.pyc", "local/.ruff_cache/x", "models/model.safetensors",
])
def test_builder_never_sees(path):
    assert not in_context(path)


@pytest.mark.parametrize("path", ["handler.py", "settings/config.py", "settings/flags/values.py", "server/guard.py",
                                  "start/kernels/cache_archive.py", "job/routes.py", "answer/upstream.py",
                                  "front/queue/loop.py", "front/http/page/files/page.html",
                                  "front/http/page/files/page.js", "front/http/page/files/page.css",
                                  "front/http/page/files/icon.svg", "builder/flags.json", "local/runpod_platform.py",
                                  "local/constraints-worker.txt", "LICENSE", "requirements.txt"])
def test_builder_sees(path):
    assert (ROOT / path).is_file()
    assert in_context(path)
