"""RunPod on your own machine, in one command each.

    python3 -m local demo [--serve]   install what is needed, start platform, worker and engine, ask one question
                          [--http]    the same without the platform: the worker serves over HTTP itself
    python3 -m local test [ARG ...]   install what is needed, check the code, and run the tests (ARGs go to pytest, and
                                      then it is pytest alone that runs)
    python3 -m local check            only check the code: style, types, and which part may import which
    python3 -m local clients [...]    install clients as their users run them, and run each through both fronts
    python3 -m local platform [...]   the stand-in for RunPod's platform alone; see --help behind it
    python3 -m local engine [...]     a scripted engine in place of SGLang, for faults and benchmarks
    python3 -m local install          only install, and build the demo model

Needs Python 3.11 or newer and nothing else; what it installs goes to a cache folder outside this checkout
($WORKER_SGLANG_CACHE, by default ~/.cache/worker-sglang). One thing does not: for the tests of the page `test` and
`install` take Debian's Chromium, where they run as root and there is none (browser.py).
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from local import browser, environments

ROOT = Path(__file__).resolve().parent.parent


def _module(name: str, arguments: list[str]) -> int:
    python = environments.worker_python()
    os.chdir(ROOT)
    os.execv(python, [str(python), "-m", name, *arguments])


def _checks(python: Path) -> list[list[str]]:
    """What the code has to pass before its tests run: style, types, and who may import whom (pyproject.toml)."""
    return [[str(python), "-m", "ruff", "check", "."],
            [str(python), "-m", "mypy"],
            [str(python.with_name("lint-imports"))]]


def _check(python: Path) -> int:
    return next((status for step in _checks(python) if (status := subprocess.call(step, cwd=ROOT))), 0)


def _test(arguments: list[str]) -> int:
    python = environments.worker_python()
    # Built before the tests, so that a slow first installation shows its progress and no test waits for it.
    environments.engine_python()
    environments.tiny_model()
    environments.router_python()
    browser.install()
    tests = [str(python), "-m", "pytest"]
    if arguments:
        return subprocess.call([*tests, *arguments], cwd=ROOT)
    if status := _check(python):
        return status
    return _side_by_side([*tests, "tests/unit", "tests/contract"], [*tests, "tests/e2e"])


def _side_by_side(first: list[str], other: list[str]) -> int:
    """Runs both at once, and prints what the other says behind what the first does. Returns the worse status.

    The tests with a scripted engine mostly wait, those with the real one mostly compute: together they take little
    longer than the longer half.
    """
    with tempfile.TemporaryFile() as said:
        beside = subprocess.Popen(other, cwd=ROOT, stdout=said, stderr=subprocess.STDOUT)
        try:
            statuses = [subprocess.call(first, cwd=ROOT), beside.wait()]
        finally:
            beside.terminate()  # nothing once it has ended
            beside.wait()
            said.seek(0)
            sys.stdout.flush()
            shutil.copyfileobj(said, sys.stdout.buffer)
            sys.stdout.flush()
    return max(map(abs, statuses))


def main(arguments: list[str]) -> int:
    if sys.version_info < (3, 11):
        print("This needs Python 3.11 or newer.", file=sys.stderr)
        return 2
    command, rest = (arguments[0], arguments[1:]) if arguments else ("", [])
    if command == "test":
        return _test(rest)
    if command == "check":
        return _check(environments.worker_python())
    if command == "install":
        browser.install()
        environments.worker_python()
        print(environments.engine_python())
        print(environments.tiny_model())
        print(environments.router_python())
        return 0
    modules = {"demo": "local.demo", "platform": "local.runpod_platform", "engine": "local.scripted_engine",
               "clients": "local.clients.run"}
    if command in modules:
        return _module(modules[command], rest)
    print(__doc__)
    return 0 if command in ("", "-h", "--help") else 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
