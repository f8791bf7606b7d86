"""One server and all its processes, from its start to the end of the last of them.

`Tree` owns one process tree and is never started twice.

Invariants:
- The server is always a child of guard.py, never of the worker: no ending of the worker leaves it running.
- `broken` is set exactly once, when the guard has ended: nothing serves any more.
- `gone` is set exactly once, after `broken`, when no process of the tree is left and its last line was read. While a
  process that cannot be killed is left (one that hangs in a driver), it stays unset.
"""

from __future__ import annotations

import collections
import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Mapping, Sequence

from clock import awake
from server import guard
from server.discretion import Discretion
from server.processes import lines, signal_name, survivors

TAIL_LINES = 200
_GUARD = guard.__file__
_LAST_LINES = 5.0  # seconds that a slow log may take to pass on what was written before the end
_SWEEP_FIRST, _SWEEP_LAST = 0.01, 0.5  # seconds between two looks for what is left


class EngineError(Exception):
    """The server could not be started, or ended. `str` is the whole report, several lines long."""


class Tree:
    """Starts at once. command: the whole command line; environ: its whole environment; on_line: called with each line
    (secrets masked) and the seconds since the start; on_change: called when `broken` or `gone` was set. Both are called
    in threads of the tree. Raises OSError when the system refuses."""

    def __init__(self, command: Sequence[str], environ: Mapping[str, str], *, on_line: Callable[[str, float], None],
                 on_change: Callable[[], None]):
        self.broken, self.gone = threading.Event(), threading.Event()
        self.started_at = awake()
        self._on_line, self._on_change = on_line, on_change
        self._lines: collections.deque[str] = collections.deque(maxlen=TAIL_LINES)
        self._mark = uuid.uuid4().hex
        self._process = subprocess.Popen(
            # -I -S: nothing of the server's environment (PYTHONPATH) may slow down or break the guard.
            [sys.executable, "-I", "-S", _GUARD, str(os.getpid()), *command],
            env={**environ, "WORKER_ENGINE_START": self._mark}, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True)
        self._reader = threading.Thread(target=self._read, name="engine-output", daemon=True)
        self._reader.start()
        threading.Thread(target=self._watch, name="engine-watch", daemon=True).start()

    @property
    def pid(self) -> int:
        """The guard's: all others are below it."""
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        """None until nothing is left, otherwise the exit status (negative: the signal that ended it)."""
        return self._process.returncode if self.gone.is_set() else None

    @property
    def ending(self) -> str | None:
        """How it ended, in words: "exit status 1", "killed by SIGKILL"; None until nothing is left."""
        code = self.returncode
        if code is None:
            return None
        return f"killed by {signal_name(-code)}" if code < 0 else f"exit status {code}"

    def tail(self, count: int = TAIL_LINES) -> list[str]:
        """The newest lines of its output, at most 200, secrets masked."""
        return list(self._lines)[-count:]

    def terminate(self) -> None:
        """Tell the server to end in order, as soon as its requests are done."""
        self._signal(signal.SIGTERM)

    def kill(self) -> None:
        """End every process at once, as a crash would: the guard sees to that."""
        self._signal(signal.SIGQUIT)

    def abandon(self) -> None:
        """SIGKILL for the guard and all that is found, when the guard itself does not see to it."""
        self._signal(signal.SIGKILL)
        self._sweep()

    def _signal(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(number)

    def _read(self) -> None:
        assert self._process.stdout is not None
        discretion = Discretion()
        for said in lines(self._process.stdout):
            line = discretion.shown(said)
            if line is None:
                continue
            self._lines.append(line)
            with contextlib.suppress(Exception):  # what cannot be shown must not fill the pipe and stop the server
                self._on_line(line, awake() - self.started_at)

    def _watch(self) -> None:
        self._process.wait()
        self.broken.set()
        self._on_change()
        # Nothing is left, unless the guard itself was killed (the kernel's out-of-memory killer may pick it).
        pause = _SWEEP_FIRST
        while self._sweep():
            time.sleep(pause)
            pause = min(pause * 2, _SWEEP_LAST)
        self._reader.join(timeout=_LAST_LINES)  # end of file follows at once
        self.gone.set()
        self._on_change()

    def _sweep(self) -> list[int]:
        pids = survivors(self._process.pid, self._mark)
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return pids
