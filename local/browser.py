"""The browser that the page at `GET /` is tested in: a Chromium of this machine, or Debian's, installed by apt.

Standard library only, as environments.py. Environment variables, each optional:
  WORKER_SGLANG_CHROMIUM  the browser's program
  WORKER_SGLANG_NOTHING_SKIPPED, or CI
                          set where nothing may be left out: what needs the browser then fails without one
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

NAMES = ("chromium", "chromium-browser", "google-chrome-stable", "google-chrome")
# Without fonts a page has no text; Debian's browser only recommends some.
PACKAGES = ("chromium", "fonts-dejavu-core")
PATIENT = ("-o", "DPkg::Lock::Timeout=300", "-o", "Acquire::Retries=3")
REMEDY = ("no Chromium is on this machine: install it (Debian: apt-get install chromium), or name one in "
          "WORKER_SGLANG_CHROMIUM")


def chromium() -> Path | None:
    """The program, None when there is none."""
    if chosen := os.environ.get("WORKER_SGLANG_CHROMIUM"):
        return Path(chosen)
    return next((Path(found) for name in NAMES if (found := shutil.which(name))), None)


def required() -> bool:
    """Whether tests that need the browser have to fail without one."""
    return any(os.environ.get(name) for name in ("WORKER_SGLANG_NOTHING_SKIPPED", "CI", "WORKER_SGLANG_CHROMIUM"))


def install(progress: Callable[[str], object] = print) -> Path | None:
    """The program, installed where it is missing and may be: on Debian and its like, as root. Says what it does."""
    if (found := chromium()) or not shutil.which("apt-get") or os.geteuid() != 0:
        if not found:
            progress(f"the tests in a browser are left out: {REMEDY}")
        return found
    progress("installing a browser for the tests of the page (Debian's chromium) ...")
    environ = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for command in (["apt-get", *PATIENT, "update"],
                    ["apt-get", *PATIENT, "install", "--yes", "--no-install-recommends", *PACKAGES]):
        done = subprocess.run(command, env=environ, stdin=subprocess.DEVNULL, capture_output=True, text=True)
        if done.returncode:
            last = (done.stderr or done.stdout).strip().splitlines()[-5:]
            progress(f"{' '.join(command)} failed with status {done.returncode}:\n" + "\n".join(last))
    if not (found := chromium()):
        progress(f"the tests in a browser are left out: {REMEDY}")
    return found
