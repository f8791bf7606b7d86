"""The test command: what it runs, in which order, and where it stops."""

import sys
from pathlib import Path

import pytest

from local import __main__ as local_main
from local import browser, environments

PYTHON = "/env/bin/python"
CHECKS = [[PYTHON, "-m", "ruff", "check", "."], [PYTHON, "-m", "mypy"], ["/env/bin/lint-imports"]]


@pytest.fixture
def ran(monkeypatch):
    """Commands that would run; `ran.failing` names one of them that fails."""
    class Commands(list):
        failing = None

        def call(self, command, cwd):
            assert cwd == local_main.ROOT
            self.append(command)
            return 3 if self.failing in command else 0

    commands = Commands()
    monkeypatch.setattr(environments, "worker_python", lambda: Path(PYTHON))
    monkeypatch.setattr(environments, "engine_python", lambda: None)
    monkeypatch.setattr(environments, "tiny_model", lambda: None)
    monkeypatch.setattr(environments, "router_python", lambda: None)
    monkeypatch.setattr(browser, "install", lambda: None)
    monkeypatch.setattr(local_main.subprocess, "call", commands.call)
    monkeypatch.setattr(local_main, "_side_by_side",
                        lambda *halves: max([commands.call(half, local_main.ROOT) for half in halves]))
    return commands


def test_the_code_is_checked_before_its_tests_run(ran):
    assert local_main.main(["test"]) == 0
    assert ran == [*CHECKS, [PYTHON, "-m", "pytest", "tests/unit", "tests/contract"],
                   [PYTHON, "-m", "pytest", "tests/e2e"]]


@pytest.mark.parametrize(("failing", "count"), [("ruff", 1), ("mypy", 2), ("/env/bin/lint-imports", 3),
                                               ("tests/unit", 5), ("tests/e2e", 5)])
def test_the_first_that_fails_is_the_last_that_runs(ran, failing, count):
    ran.failing = failing
    assert local_main.main(["test"]) == 3
    assert len(ran) == count


@pytest.mark.parametrize(("failing", "status"), [(None, 0), ("mypy", 3)])
def test_the_checks_run_alone(ran, failing, status):
    ran.failing = failing
    assert local_main.main(["check"]) == status
    assert ran == (CHECKS if failing is None else CHECKS[:2])


def test_a_part_of_the_tests_is_run_alone(ran):
    assert local_main.main(["test", "tests/unit", "-q"]) == 0
    assert ran == [[PYTHON, "-m", "pytest", "tests/unit", "-q"]]


@pytest.mark.parametrize(("one", "other", "status"), [(0, 0, 0), (1, 0, 1), (0, 2, 2), (0, -9, 9)])
def test_both_halves_run_whatever_becomes_of_the_other(capfdbinary, monkeypatch, tmp_path, one, other, status):
    def half(name, code):
        end = "os.kill(os.getpid(), 9)" if code < 0 else f"sys.exit({code})"
        return [sys.executable, "-c", f"import os, sys; print({name!r}, flush=True); {end}"]

    with monkeypatch.context() as patched, open(tmp_path / "out", "w+") as out:
        patched.setattr(local_main.sys, "stdout", out)
        assert local_main._side_by_side(half("one", one), half("other", other)) == status
        out.seek(0)
        assert (capfdbinary.readouterr().out, out.read()) == (b"one\n", "other\n")  # never mixed
