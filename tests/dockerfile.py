"""The Dockerfile as data, for the tests of the image."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
WORKER_PYTHON = "/opt/worker/bin/python"


def instructions(text: str) -> list[tuple[str, str]]:
    """[(instruction, its arguments on one line)] of a Dockerfile."""
    code = "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("#"))
    lines = re.sub(r"\\\n", " ", code).splitlines()
    return [(word.upper(), " ".join(rest.split())) for word, _, rest in (line.strip().partition(" ") for line in lines)
            if word]


DOCKERFILE = instructions((ROOT / "Dockerfile").read_text(encoding="utf-8"))


def every(instruction: str) -> list[str]:
    return [arguments for word, arguments in DOCKERFILE if word == instruction]


def step(fragment: str) -> str:
    """The one RUN step that contains `fragment`."""
    found = [arguments for arguments in every("RUN") if fragment in arguments]
    assert len(found) == 1, fragment
    return found[0]
