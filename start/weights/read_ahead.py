"""The weights of a first start, read into memory while the server still imports.

SGLang imports for 15 seconds and more before it looks at a weight, and then it reads as fast as the volume gives. Both
at once costs neither anything where weights and libraries come from different devices, as on RunPod (network volume
and image). On one device they would compete, so there the imports come first, to the last of them: SGLang imports its
models between its process groups and its load (on an H100's disk that took 9 s in place of 1 beside this reading). What
is left is to read what the server is loading, in larger pieces than it does.

Files that have packed copies beside them are unpacked from these, into memory that the server is handed; all others are
read into the page cache.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

import utils
from clock import awake
from start.start_report import Timeline
from start.weights import page_reader, room

SHARE = 0.7  # of the memory that is left: the rest is the server's own, which grows while this reads


class Plan(NamedTuple):
    """What is to be read, and whether it lies on the device of the server's libraries."""

    files: list[str]
    beside_libraries: bool


class Packed(Protocol):
    """Where packed copies come from (packed/supply.py)."""

    def command(self, files: Sequence[str], allowed: int | None) -> list[str] | None:
        """A process that says and hears what page_reader does; None where there are no copies to unpack."""


class ReadAhead:
    """What one start reads ahead, in one thread and one small process; nothing here waits, fails or raises.

    find: called in that thread, says what to read; python: runs the process; packed: has copies of it.
    """

    def __init__(self, find: Callable[[], Plan], python: str = sys.executable, packed: Packed | None = None):
        self.unpacked = False  # whether what the server loads was not, or not only, read into the page cache
        self.span: tuple[float, float] | None = None  # clock.awake at which it began and ended
        self.facts: dict[str, Any] = {}               # for the start report, once it has ended
        self._find, self._packed, self._python = find, packed, python
        self._turn = threading.Event()  # the libraries are read, or nothing is to be read any more
        self._lock = threading.Lock()
        self._orders: list[str] = []
        self._process: subprocess.Popen[str] | None = None

    def begin(self) -> None:
        """The server was started."""
        threading.Thread(target=self._quietly, name="weights-read-ahead", daemon=True).start()

    def hear(self, timeline: Timeline) -> None:
        """The server has come further, as far as `timeline` says."""
        if timeline.begun("weights"):
            self._order("needed")
            self._turn.set()
        if timeline.over("weights"):
            self.end()

    def end(self) -> None:
        """Nobody needs the rest any more. Returns at once."""
        self._order("enough")
        self._turn.set()

    @property
    def over(self) -> bool:
        """Whether the server has loaded, or is given up."""
        return "enough" in self._orders

    def kill(self) -> None:
        """The worker ends. Returns at once, whatever the process is doing."""
        self.end()
        with self._lock:
            if self._process:
                self._process.kill()

    def _order(self, word: str) -> None:
        with self._lock:
            if word not in self._orders:
                self._orders.append(word)
                self._pass_on(word)

    def _pass_on(self, word: str) -> None:
        if self._process and self._process.stdin:
            with contextlib.suppress(OSError, ValueError):  # it has ended
                self._process.stdin.write(word + "\n")
                self._process.stdin.flush()

    def _quietly(self) -> None:
        try:
            self._run()
        except Exception as error:
            utils.log(f"weights: not read ahead: {type(error).__name__}: {error}", "warn")

    def _run(self) -> None:
        plan = self._find()
        if not plan.files:
            return
        if plan.beside_libraries:
            self._turn.wait()
        began = awake()
        left = room.left()
        allowed = None if left is None else int(SHARE * left)
        unpack = self._packed and not plan.beside_libraries and self._packed.command(plan.files, allowed)
        self.unpacked = bool(unpack)
        told = self._child(unpack) if unpack else None
        if told is None or "warm" in told:  # nothing is unpacked: the files themselves are read, if not in memory yet
            self.unpacked = False
            plain = [self._python, "-I", "-S", page_reader.__file__, json.dumps({"files": plan.files, "room": allowed})]
            told = self._child(plain)
        if not told:
            return  # it was ended, or killed
        self.span = began, min(awake(), began + told["seconds"])  # what was unpacked is held until it was loaded
        self.facts = {"bytes": told["bytes"], "read": told["read"], "seconds": round(told["seconds"], 3),
                      "in_time": round(_in_time(told), 4)} | {name: told[name] for name in ("stored", "taken")
                                                             if name in told}
        utils.log(sentence(told, allowed, plan.beside_libraries), "warn" if told["stopped"] else "info")

    def _child(self, command: list[str]) -> dict[str, Any] | None:
        """Run it, and pass on what is heard meanwhile; what it said, None for nothing."""
        with self._lock:
            if "enough" in self._orders:
                return None
            self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                             stderr=subprocess.DEVNULL, text=True)
            for word in self._orders:
                self._pass_on(word)
            output = self._process.stdout
        assert output is not None
        said = output.read()
        self._process.wait()
        told: dict[str, Any] | None = json.loads(said) if said else None
        return told


def sentence(told: dict[str, Any], allowed: int | None, beside_libraries: bool = False) -> str:
    """One line of what page_reader told; allowed: bytes that it was to keep to; beside_libraries: as in Plan."""
    done, stored = told["there"] + told["read"], told.get("stored")
    amount = size(told["bytes"]) if done >= told["bytes"] else f"{size(done)} of {size(told['bytes'])}"
    if told["stopped"]:
        return (f"weights: {amount if done else 'nothing'} {'read' if stored is None else 'unpacked'} ahead, then no "
                f"more: {told['stopped']}")
    if told["read"] <= 0.01 * done and done >= 0.99 * told["planned"]:
        line = f"weights: {amount}, in memory already"
    else:
        seconds, there = max(told["seconds"], 0.001), told["there"]
        # A little is always there: its header was read to see whether a file is whole.
        shown = f", {size(there)} of it in memory already, the rest" if there > 0.05 * done else ""
        packed = f", unpacked from {size(stored)}," if stored is not None else ""
        rate = (told["read"] if stored is None else stored) / 1e9 / seconds
        line = (f"weights: {amount}{shown}{packed} in {seconds:.{0 if seconds >= 10 else 1}f} s ({rate:.2f} GB/s), "
                f"{int(100 * _in_time(told))} % before they were needed")
        if beside_libraries:
            line += "; the libraries came first, from the same disk"
    if told["planned"] < told["bytes"] and allowed is not None:
        line += f"; no more than {size(allowed)}, {100 * SHARE:.0f} % of the memory that is left, is read ahead"
    return line


def _in_time(told: dict[str, Any]) -> float:
    """The share of all bytes that was in memory when the server began to load, 0 to 1."""
    done = told["needed"] if told["needed"] is not None else told["there"] + told["read"]
    return float(done / told["bytes"]) if told["bytes"] else 1.0


def size(count: int) -> str:
    """Bytes in words: "14.5 GB", "3.2 MB"."""
    return f"{count / 1e9:.1f} GB" if count >= 1e8 else f"{count / 1e6:.1f} MB"
