"""The machine and the versions that a benchmark ran on."""

from __future__ import annotations

import contextlib
import importlib.metadata
import os
import platform
import shutil
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
_PACKAGES = ("runpod", "aiohttp", "uvloop", "matplotlib")


def machine() -> dict:
    """CPU, cores, memory in GiB, GPUs, Python, package versions, git commit."""
    versions = {}
    for name in _PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[name] = importlib.metadata.version(name)
    return {"cpu": _cpu(), "cores": len(os.sched_getaffinity(0)),
            "memory_gib": round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30, 1),
            "gpus": _output("nvidia-smi", "--query-gpu=name", "--format=csv,noheader").splitlines(),
            "system": platform.platform(), "python": platform.python_version(), "packages": versions,
            "commit": _output("git", "-C", str(ROOT), "rev-parse", "HEAD"),
            "changed": bool(_output("git", "-C", str(ROOT), "status", "--porcelain"))}


def _cpu() -> str:
    with contextlib.suppress(OSError), open("/proc/cpuinfo") as f:
        for line in f:
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.machine()


def _output(*command: str) -> str:
    if not shutil.which(command[0]):
        return ""
    done = subprocess.run(command, capture_output=True, text=True, timeout=30)
    return done.stdout.strip() if done.returncode == 0 else ""
