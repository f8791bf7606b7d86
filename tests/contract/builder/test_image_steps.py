"""The Dockerfile's own RUN steps, run in a folder that holds exactly what its COPY steps put into the image."""

import json
import re
import shutil
import subprocess
import sys

import pytest

from tests.dockerfile import ROOT, WORKER_PYTHON, every, step

SNAPSHOT = json.loads((ROOT / "builder/flags.json").read_text(encoding="utf-8"))

# A stand-in for the base image's SGLang: its parser is the committed snapshot, less one flag, as an older one.
_STUB = """
import argparse, json, os
class ServerArgs:
    @staticmethod
    def add_cli_args(parser):
        for name, flag in json.load(open(os.environ["STUB_FLAGS"]))["flags"].items():
            if name == "--tool-call-parser":
                continue
            if flag["kind"] == "paired":
                parser.add_argument(*flag["names"], action=argparse.BooleanOptionalAction, default=flag["default"])
            elif flag["kind"] in ("switch", "removed"):
                parser.add_argument(*flag["names"], action="store_true", default=flag["default"])
            else:
                types = {"int": int, "float": float}
                parser.add_argument(*flag["names"], type=types.get(flag["type"], str), default=flag["default"],
                                    nargs=flag.get("nargs"), choices=flag.get("choices"))
"""


@pytest.fixture
def build(tmp_path):
    """Runs a RUN step in a folder that holds exactly what the COPY steps put there."""
    app, base, programs = tmp_path / "app", tmp_path / "base", tmp_path / "bin"
    for arguments in every("COPY"):
        *sources, target = [word for word in arguments.split() if not word.startswith("--")]
        for source in sources:
            for path in ROOT.glob(source.rstrip("/")):
                name = "" if source.endswith("/") else path.name
                copy = shutil.copytree if path.is_dir() else shutil.copy2
                (app / target).mkdir(parents=True, exist_ok=True)
                copy(path, app / target / name, **({"dirs_exist_ok": True} if path.is_dir() else {}))
    for package in ("sglang", "sglang/srt"):
        (base / package).mkdir(parents=True)
        (base / package / "__init__.py").touch()
    (base / "sglang/srt/server_args.py").write_text(_STUB, encoding="utf-8")
    (base / "sglang-0.5.1.dist-info").mkdir()
    (base / "sglang-0.5.1.dist-info/METADATA").write_text("Metadata-Version: 2.1\nName: sglang\nVersion: 0.5.1\n",
                                                          encoding="utf-8")
    programs.mkdir()
    python3 = programs / "python3"
    python3.write_text(f'#!/bin/sh\nPYTHONPATH="{base}" exec "{sys.executable}" "$@"\n', encoding="utf-8")
    python3.chmod(0o755)

    def run(command: str, **environ: str) -> subprocess.CompletedProcess:
        script = re.sub(r"--mount=\S+ ", "", command).replace(WORKER_PYTHON, sys.executable)
        return subprocess.run(["/bin/sh", "-c", script], cwd=app, capture_output=True, text=True, timeout=60,
                              env={"PATH": f"{programs}:/usr/bin:/bin", "HOME": str(tmp_path),
                                   "STUB_FLAGS": str(ROOT / "builder/flags.json"), **environ})
    run.app = app
    return run


def test_image_without_a_model_downloads_nothing(build):
    done = build(step("download_model"), MODEL_NAME="", MODEL_REVISION="")
    assert done.returncode == 0, done.stderr
    assert "no weights" in done.stdout


def test_last_step_gives_another_base_its_own_snapshot_and_starts_the_worker(build):
    done = build(step("flag_snapshot"), MODEL_NAME="org/model", TOOL_CALL_PARSER="qwen25",
                 SGLANG_LAUNCH_COMMAND="python3 -m sglang.launch_server")
    assert done.returncode == 0, done.stderr
    assert "- --tool-call-parser is gone" in done.stdout
    written = json.loads((build.app / "builder/flags.json").read_text(encoding="utf-8"))
    assert written["sglang"] == "0.5.1"
    assert len(written["flags"]) == len(SNAPSHOT["flags"]) - 1
    assert "python3 -m sglang.launch_server" in done.stdout and "--model-path org/model" in done.stdout
    assert "--tool-call-parser qwen25" not in done.stdout, "the worker must go by the snapshot of its image"
    assert list((build.app / "__pycache__").glob("handler.*.pyc"))


def test_last_step_fails_where_sglang_cannot_be_read(build):
    done = build(step("flag_snapshot"), STUB_FLAGS="/nowhere")
    assert done.returncode != 0
    assert "command:" not in done.stdout
