"""The inputs that once failed, kept so that each fuzz run begins with them."""

from __future__ import annotations

import json
from pathlib import Path

FILE = Path(__file__).with_name("fuzz_corpus.jsonl")  # {"why": for people, "input": of the job}, one a line


def read() -> list[str]:
    """The inputs that once failed, one JSON text each."""
    lines = FILE.read_text(encoding="utf-8").splitlines()
    return [json.dumps(json.loads(line)["input"]) for line in lines]


def keep(failing: list[str], why: str) -> None:
    """Add to the corpus what is not in it."""
    known = set(read())
    with open(FILE, "a", encoding="utf-8") as out:
        for value in map(json.loads, failing):
            if json.dumps(value) not in known:
                out.write(json.dumps({"why": why, "input": value}) + "\n")
