"""What Python itself says of a package's bytecode: none, some, stale, elsewhere; and how the image gets it."""

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from start import bytecode
from start.bytecode import Bytecode

ROOT = Path(__file__).parents[3]
MODULES = ("__init__", "srt/__init__", "srt/server_args", "srt/managers/scheduler", "srt/layers/linear", "lang/x")
COUNTED = len(MODULES) - 1  # lang is not what the server imports


@pytest.fixture
def packages(tmp_path):
    """A folder with a package sglang that has no bytecode."""
    for name in MODULES:
        path = tmp_path / "packages" / "sglang" / f"{name}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"NAME = {name!r}\n")
    return tmp_path / "packages"


def environ(packages, **extra):
    # PYTHONPATH brings this repository for builder, and the package.
    kept = {name: value for name, value in os.environ.items() if name in ("PATH", "HOME")}
    return {**kept, "PYTHONPATH": os.pathsep.join(map(str, (packages, ROOT))), **extra}


def look(packages, **extra):
    return bytecode.look((sys.executable, "-m", "sglang.launch_server"), environ(packages, **extra))


def python(packages, *arguments, **extra):
    return subprocess.run([sys.executable, *arguments], env=environ(packages, **extra), cwd=packages, timeout=120,
                          capture_output=True, text=True, check=False)


def test_none_all_and_stale(packages):
    assert look(packages) == Bytecode(COUNTED, 0) and look(packages).missing
    done = python(packages, "-m", "compileall", "-q", "sglang")
    assert done.returncode == 0 and look(packages) == Bytecode(COUNTED, COUNTED) and not look(packages).missing
    (packages / "sglang/srt/server_args.py").write_text("NAME = 'longer than before'\n")
    os.utime(packages / "sglang/srt/managers/scheduler.py", (1, 1))
    assert look(packages) == Bytecode(COUNTED, COUNTED - 2)


def test_bytecode_that_is_checked_by_its_content_counts(packages):
    python(packages, "-m", "compileall", "-q", "--invalidation-mode", "unchecked-hash", "sglang")
    assert look(packages).compiled == COUNTED


def test_bytecode_is_looked_for_where_python_looks(packages, tmp_path):
    elsewhere = {"PYTHONPYCACHEPREFIX": str(tmp_path / "elsewhere")}
    python(packages, "-m", "compileall", "-q", "sglang", **elsewhere)
    assert look(packages, **elsewhere).compiled == COUNTED and look(packages).compiled == 0


def test_of_another_python_is_none(packages):
    python(packages, "-m", "compileall", "-q", "sglang")
    for path in (packages / "sglang").rglob("*.pyc"):
        path.write_bytes(b"\0\0\r\n" + path.read_bytes()[4:])
    assert look(packages).compiled == 0


@pytest.mark.parametrize("command", [("/nowhere/python3",), ("sh",), (sys.executable, "-m", "local.scripted_engine")])
def test_where_nothing_can_be_said(tmp_path, command):
    assert bytecode.look(command, environ(tmp_path)) is None


def test_the_line_says_how_many_and_what_helps():
    assert "(3 of 250 modules looked at have some)" in bytecode.sentence(Bytecode(250, 3))
    assert "builder.compile_bytecode" in bytecode.sentence(Bytecode(250, 3))
    assert Bytecode(250, 124).missing and not Bytecode(250, 125).missing


def test_a_python_that_hangs_or_talks_nonsense_is_no_reason_to_fail(packages, monkeypatch):
    for outcome in (subprocess.TimeoutExpired("x", 1), OSError("no")):
        def run(*_, outcome=outcome, **__):
            raise outcome
        monkeypatch.setattr(bytecode.subprocess, "run", run)
        assert look(packages) is None
    monkeypatch.setattr(bytecode.subprocess, "run", lambda *_, **__: subprocess.CompletedProcess([], 0, b"nonsense"))
    assert look(packages) is None


# ------------------------------------------------------------------ while the image is built
def build(packages):
    """builder.compile_bytecode, held to the package: this environment's own folders are many."""
    code = ("import sys\nfrom builder import compile_bytecode as c\nreal = c.folders\n"
            "c.folders = lambda: (real()[0], [])\nsys.exit(c.main())")
    return python(packages, "-c", code, PYTHONDONTWRITEBYTECODE="1")


def test_the_image_compiles_sglang_wherever_it_lies(packages):
    (packages / "sglang/lang/other.py").write_text("print 'for another Python'\n")
    done = build(packages)
    assert done.returncode == 0, done.stderr
    assert str(packages / "sglang") in done.stdout and look(packages).compiled == COUNTED
    # What Python reports of a module that it imported.
    code = ("import json, sglang.srt.server_args as m, importlib.util as u; "
            "print(json.dumps([m.__cached__, u.cache_from_source(m.__file__)]))")
    imported, expected = json.loads(python(packages, "-c", code, PYTHONDONTWRITEBYTECODE="1").stdout)
    assert imported == expected and os.path.exists(imported)


def test_an_install_in_place_is_found(packages, tmp_path):
    site = tmp_path / "site"
    site.mkdir()
    shutil.move(packages / "sglang", tmp_path / "checkout")
    (site / "editable.py").write_text(
        "import importlib.util, sys\nclass Finder:\n @classmethod\n def find_spec(cls, name, path=None, target=None):\n"
        f"  if name == 'sglang': return importlib.util.spec_from_file_location(name, {str(tmp_path / 'checkout')!r} + "
        f"'/__init__.py', submodule_search_locations=[{str(tmp_path / 'checkout')!r}])\nsys.meta_path.append(Finder)\n")
    (site / "sitecustomize.py").write_text("import editable\n")
    assert look(site) == Bytecode(COUNTED, 0)
    assert build(site).returncode == 0 and look(site) == Bytecode(COUNTED, COUNTED)


def test_a_build_that_cannot_compile_the_server_fails(packages):
    (packages / "sglang/srt/broken.py").write_text("def :\n")
    done = build(packages)
    assert done.returncode == 1 and "no bytecode for 1 modules of SGLang" in done.stderr and "broken.py" in done.stderr
    shutil.rmtree(packages / "sglang")
    done = build(packages)
    assert done.returncode == 1 and "no sglang" in done.stderr


def test_all_that_python_imports_from_is_compiled():
    from builder import compile_bytecode

    _, folders = compile_bytecode.folders()
    for file in (importlib.util.find_spec("pytest").origin, os.__file__):
        assert any(os.path.realpath(file).startswith(folder + os.sep) for folder in folders)
