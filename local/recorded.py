"""Recorded exchanges: what a real SGLang answered to what a worker asked, kept as files and found again.

One file for each job: {"job": the job's input, "exchanges": [one for each request to the engine]}; beside them, for
each group of jobs that one worker served, `group.json`: {"environ": the worker's variables, "exchanges": [its start]}.
An exchange is a line of recording_engine.py.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path


def as_json(pieces: Iterable[bytes]) -> list[str | dict]:
    """Bytes as JSON can carry them: text where they are whole characters, else {"base64": …}."""
    found: list[str | dict] = []
    for piece in pieces:
        try:
            found.append(piece.decode())
        except UnicodeDecodeError:
            found.append({"base64": base64.b64encode(piece).decode()})
    return found


def as_bytes(pieces: Iterable[str | dict]) -> list[bytes]:
    return [piece.encode() if isinstance(piece, str) else base64.b64decode(piece["base64"]) for piece in pieces]


@dataclass(frozen=True)
class Exchange:
    """One request and its answer."""

    method: str
    path: str
    body: object
    status: int
    content_type: str
    pieces: tuple[bytes, ...]
    ended: bool

    @classmethod
    def of(cls, line: dict) -> Exchange:
        return cls(line["method"], line["path"], line["body"], line["status"], line["content_type"],
                   tuple(as_bytes(line["pieces"])), line["ended"])

    @property
    def answer(self) -> bytes:
        return b"".join(self.pieces)

    @property
    def streamed(self) -> bool:
        return self.content_type.startswith("text/event-stream")

    def likeness(self, body: object) -> int:
        """How many of the fields of `body` are those of the recorded request: a later worker may send others beside
        them, and the ids of its jobs are its own."""
        if not isinstance(self.body, dict) or not isinstance(body, dict):
            return int(self.body == body)
        return sum(self.body.get(name, ...) == value for name, value in body.items()) \
            - sum(name not in body for name in self.body)


@dataclass(frozen=True)
class Case:
    """One job and what the engine was asked for it."""

    name: str
    job: dict
    exchanges: tuple[Exchange, ...]


@dataclass(frozen=True)
class Group:
    """The jobs of one worker."""

    name: str
    environ: dict[str, str]
    start: tuple[Exchange, ...]
    cases: tuple[Case, ...]

    @classmethod
    def read(cls, folder: Path) -> Group:
        about = json.loads((folder / "group.json").read_text(encoding="utf-8"))
        cases = []
        for file in sorted(folder.glob("*.json")):
            if file.name != "group.json":
                value = json.loads(file.read_text(encoding="utf-8"))
                cases.append(Case(file.stem, value["job"], tuple(map(Exchange.of, value["exchanges"]))))
        return cls(folder.name, about["environ"], tuple(map(Exchange.of, about["exchanges"])), tuple(cases))

    def find(self, method: str, path: str, body: object) -> Exchange | None:
        """The recorded exchange that is most like a request; those of jobs before those of the start."""
        known = [exchange for case in self.cases for exchange in case.exchanges] + list(self.start)
        fitting = [one for one in known if (one.method, one.path) == (method, path)]
        return max(fitting, key=lambda one: one.likeness(body), default=None)
