"""The browser for the tests of the page: found, installed where it may be, and otherwise said to be missing."""

from types import SimpleNamespace

import pytest

from local import browser


@pytest.fixture
def machine(monkeypatch):
    """A machine whose programs are `machine.programs`; `ran` holds what would have been run."""
    state = SimpleNamespace(programs={}, ran=[], root=True, works=True, said=[])

    def run(command, **_):
        state.ran.append(command)
        if state.works and "install" in command:
            state.programs["chromium"] = "/usr/bin/chromium"
        return SimpleNamespace(returncode=0 if state.works else 100, stdout="", stderr="E: no network\n")

    for name in ("WORKER_SGLANG_CHROMIUM", "WORKER_SGLANG_NOTHING_SKIPPED", "CI"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(browser.shutil, "which", state.programs.get)
    monkeypatch.setattr(browser.os, "geteuid", lambda: 0 if state.root else 1000)
    monkeypatch.setattr(browser.subprocess, "run", run)
    return state


def test_one_that_is_there_is_taken(machine, monkeypatch):
    machine.programs.update({"google-chrome": "/opt/chrome", "apt-get": "/usr/bin/apt-get"})
    assert str(browser.install(machine.said.append)) == "/opt/chrome" and not machine.ran and not machine.said
    monkeypatch.setenv("WORKER_SGLANG_CHROMIUM", "/mine/chromium")
    assert str(browser.chromium()) == "/mine/chromium" and browser.required()


def test_one_that_is_missing_is_installed_by_root(machine):
    machine.programs["apt-get"] = "/usr/bin/apt-get"
    assert str(browser.install(machine.said.append)) == "/usr/bin/chromium"
    update, install = machine.ran
    assert update[-1] == "update" and {"install", "--yes", "chromium"} <= set(install)


@pytest.mark.parametrize(("root", "apt", "works", "ran"), [(False, True, True, 0), (True, False, True, 0),
                                                          (True, True, False, 2)])
def test_where_it_cannot_be_the_reason_is_said(machine, root, apt, works, ran):
    machine.root, machine.works = root, works
    if apt:
        machine.programs["apt-get"] = "/usr/bin/apt-get"
    assert browser.install(machine.said.append) is None and len(machine.ran) == ran
    assert "apt-get install chromium" in machine.said[-1] and works or "no network" in "".join(machine.said)


@pytest.mark.parametrize("name", ["WORKER_SGLANG_NOTHING_SKIPPED", "CI"])
def test_it_is_required_where_nothing_may_be_left_out(machine, monkeypatch, name):
    assert not browser.required()
    monkeypatch.setenv(name, "1")
    assert browser.required()
