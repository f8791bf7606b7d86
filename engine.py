"""The SGLang server as a child process: start, readiness, watch, stop.

`Engine` owns one process tree at a time. It is driven from plain threads, not from an event loop, because the
server starts long before there is a loop (everything slow in the worker's own start happens meanwhile).

Invariants:
- The server is always a child of guard.py, never of the worker: no ending of the worker leaves it running.
- `exited` is set exactly once per start, after the last line of output was read.
- `ready` is set only while the process that answered is the one that was started: the port is known to be
  free before the start, and an exit always clears it.
"""

from __future__ import annotations

import collections
import contextlib
import http.client
import json
import os
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Sequence

from server import guard
from server.diagnosis import SCANNED, diagnose
from server.processes import lines, port_is_free, signal_name, survivors
from start.start_report import Timeline
from utils import emit

TAIL_LINES = 200
_GUARD = guard.__file__
_POLL_FIRST, _POLL_LAST, _POLL_GROWTH = 0.05, 0.5, 1.3  # seconds, seconds, factor

class EngineError(Exception):
    """The server could not be started, or ended. `str` is the whole report, several lines long."""


class Engine:
    """One SGLang server on 127.0.0.1:`port`.

    command: the whole command line; environ: the server's whole environment; api_key: what the server was
    told to require, or None; startup_timeout: seconds from start to readiness.
    """

    def __init__(self, command: Sequence[str], environ: dict[str, str], *, port: int, api_key: str | None = None,
                 startup_timeout: float = 1200.0, on_line: Callable[[str], None] = emit):
        self.command, self.environ = list(command), environ
        self.port, self.startup_timeout = port, startup_timeout
        self._headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        self._on_line = on_line
        self._lines: collections.deque[str] = collections.deque(maxlen=TAIL_LINES)
        self._process: subprocess.Popen | None = None
        self._wake = threading.Event()
        self._lock = threading.Lock()
        self._known = threading.Lock()  # `ready` and `exited` change together
        self._stopping = threading.Event()  # one a start: a watcher may outlive its server by a moment
        self.closed = False  # no start after this
        self.exited, self.ready = threading.Event(), threading.Event()
        self.on_exit: Callable[[], None] | None = None  # runs in a thread when the server ends without `stop`
        self.started_at = 0.0
        self.timeline = Timeline()  # of the newest start, in seconds since it

    @property
    def returncode(self) -> int | None:
        """None while the server runs, otherwise its exit status (negative: the signal that ended it)."""
        return self._process.returncode if self._process and self.exited.is_set() else None

    @property
    def ending(self) -> str:
        """How the server ended, in words: "exit status 1", "killed by SIGKILL"."""
        code = self.returncode
        if code is None:
            return "it is being restarted"
        return f"killed by {signal_name(-code)}" if code < 0 else f"exit status {code}"

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def tail(self, count: int = TAIL_LINES) -> list[str]:
        """The newest lines of the server's output, at most 200, secrets masked."""
        return list(self._lines)[-count:]

    def start(self) -> None:
        """Start the server; returns at once.

        Raises EngineError when the port is taken (SGLang itself finds that out only after loading the model).
        """
        with self._lock:
            if self.closed:
                raise EngineError("The worker is stopping.")
            if not port_is_free(self.port):
                raise EngineError(f"Port {self.port} is taken by another process.\n"
                                  f"Set SGLANG_PORT to a free port.")
            mark, started = uuid.uuid4().hex, time.monotonic()
            try:
                process = subprocess.Popen(
                    # -I -S: nothing of the server's environment (PYTHONPATH) may slow down or break the guard.
                    [sys.executable, "-I", "-S", _GUARD, str(os.getpid()), *self.command],
                    env={**self.environ, "WORKER_ENGINE_START": mark}, stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True)
            except OSError as error:
                raise EngineError(f"The server cannot be started: {error}") from error
            # Only now: a start that failed leaves the end of the last server as it was.
            self.exited.clear()
            self.ready.clear()
            self._process, self._stopping = process, threading.Event()
            self._lines = collections.deque(maxlen=TAIL_LINES)
            self.timeline, self.started_at = Timeline(), started
        reader = threading.Thread(target=self._read, args=(self._process.stdout,), name="engine-output", daemon=True)
        reader.start()
        threading.Thread(target=self._watch, args=(self._process, reader, mark, self._stopping), name="engine-watch",
                         daemon=True).start()

    def _read(self, stream) -> None:
        timeline, started, tail = self.timeline, self.started_at, self._lines
        for line in lines(stream):
            tail.append(line)
            if timeline.feed(line, time.monotonic() - started):
                self._wake.set()  # readiness is due now, not at the next poll
            with contextlib.suppress(Exception):  # what cannot be shown must not fill the pipe and stop the server
                self._on_line(line)

    def _watch(self, process: subprocess.Popen, reader: threading.Thread, mark: str, stopping) -> None:
        process.wait()
        self.ready.clear()  # at once: a job that asks now has to wait for the next server
        # Nothing is left, unless the guard itself was killed (the kernel's out-of-memory killer may pick it).
        deadline = time.monotonic() + 5
        while (pids := survivors(process.pid, mark)) and time.monotonic() < deadline:
            for pid in pids:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.01)
        reader.join(timeout=5)  # end of file follows at once; a slow log gets some time
        with self._known:
            self.ready.clear()
            self.exited.set()
        self._wake.set()
        if self.on_exit and not stopping.is_set():
            self.on_exit()

    def wait_ready(self) -> float:
        """Block until the server can take requests. Returns the seconds since the start.

        Polls /ready, which answers in milliseconds and runs no generation; servers before it existed answer
        404 there and are asked on /health. Raises EngineError, with the last lines and what to do, as soon as
        the server ended, or after `startup_timeout`; the server is then stopped.
        """
        deadline = self.started_at + self.startup_timeout
        interval, path = _POLL_FIRST, "/ready"
        while True:
            self._wake.clear()
            if self.exited.is_set():
                raise EngineError(self.report("The SGLang server ended before it was ready"))
            status, _ = self.get(path)
            if status == 404:
                path = "/health"
            elif status == 200:
                with self._known:
                    if not self.exited.is_set():
                        self.ready.set()
                        return time.monotonic() - self.started_at
                continue
            if time.monotonic() >= deadline:
                report = self.report(f"The SGLang server was not ready after {self.startup_timeout:.0f} s")
                self.stop(0)
                raise EngineError(report + "\nA large model may need more: raise SGLANG_STARTUP_TIMEOUT (seconds).")
            self._wake.wait(min(interval, max(0.0, deadline - time.monotonic())))
            interval = min(interval * _POLL_GROWTH, _POLL_LAST)

    def get(self, path: str, timeout: float = 5.0, body: bytes | None = None) -> tuple[int | None, bytes]:
        """Status and body of a GET (of a POST, with a JSON `body`); (None, b"") without an answer in `timeout` seconds.
        """
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        try:
            headers = self._headers if body is None else {**self._headers, "Content-Type": "application/json"}
            connection.request("GET" if body is None else "POST", path, body, headers)
            response = connection.getresponse()
            return response.status, response.read()
        except (OSError, http.client.HTTPException):
            return None, b""
        finally:
            connection.close()

    def capacity(self) -> int | None:
        """How many requests the server runs at once, over all its data-parallel replicas; None if it won't say.

        From /server_info (sglang: scheduler_components/internal_state.py), which knows what the KV cache holds.
        """
        try:
            states = json.loads(self.get("/server_info")[1])["internal_states"]
            return sum(state["effective_max_running_requests_per_dp"] for state in states) or None
        except (ValueError, KeyError, TypeError):
            return None

    def report(self, headline: str) -> str:
        """`headline`, how the server ended, its last lines, and what to do when the cause is known."""
        ending = "" if self.returncode is None else f" ({self.ending})"
        lines = self.tail()
        advice = diagnose(lines)
        shown = "\n".join(f"    {line[:SCANNED]}" for line in lines[-30:]) or "    (no output)"
        return f"{headline}{ending}. Its last lines:\n{shown}" + (f"\nWhat to do: {advice}" if advice else "")

    def stop(self, grace: float) -> int | None:
        """End the server: SIGTERM, and after `grace` seconds SIGKILL for whatever is left of its tree.

        SGLang finishes its running requests on SIGTERM, without a limit of its own. Returns its exit status.
        Safe to call at any time, from any thread, and more than once.
        """
        with self._lock:
            process = self._process
            if process is None:
                return None
            self._stopping.set()
            if grace > 0 and not self.exited.is_set():
                self._signal(process, signal.SIGTERM)
                self.exited.wait(grace)
            if not self.exited.is_set():
                self._signal(process, signal.SIGQUIT)
                self.exited.wait(10)
            return process.returncode

    def kill(self) -> None:
        """End the whole tree at once, as a crash would: `on_exit` follows."""
        if self._process is not None:
            self._signal(self._process, signal.SIGQUIT)

    @staticmethod
    def _signal(process: subprocess.Popen, number: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(number)
