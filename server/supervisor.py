"""Keeps one engine up: restarts it when it dies or hangs, and says when that is hopeless.

Runs in threads of its own, beside the event loop that carries the jobs: a busy loop must not hide a dead engine.
"""

from __future__ import annotations

import asyncio
import collections
import threading
import time
from collections.abc import Callable

import utils
from engine import Engine, EngineError
from start import start_report

_BACKOFF_FIRST, _BACKOFF_LAST = 0.5, 30.0  # seconds before a restart; the weights are in the page cache
_PROBE_EVERY, _PROBE_TIMEOUT = 10.0, 20.0  # seconds


class Supervisor:
    """Owns `engine` from its readiness on.

    max_restarts within window seconds; hang_timeout: seconds without a sign of life; last_sign: when any job last
    heard from the engine (time.monotonic); on_give_up: called once, in a thread, when restarting is hopeless.
    """

    def __init__(self, engine: Engine, *, max_restarts: int, window: float, hang_timeout: float,
                 last_sign: Callable[[], float], on_give_up: Callable[[str], None]):
        self.engine, self.max_restarts, self.window, self.hang_timeout = engine, max_restarts, window, hang_timeout
        self.restarts = 0
        self._last_sign, self._on_give_up = last_sign, on_give_up
        self._recent: collections.deque[float] = collections.deque()
        self._closed, self._busy = threading.Event(), threading.Lock()

    def watch(self) -> None:
        """From now on the engine is kept up. Raises EngineError when it is already gone."""
        self.engine.on_exit = self._restart
        if self.engine.exited.is_set():
            raise EngineError(self.engine.report("The SGLang server ended"))
        if self.hang_timeout:
            threading.Thread(target=self._probe, name="engine-probe", daemon=True).start()

    def close(self, grace: float) -> None:
        """No more restarts, and the engine is stopped."""
        self._closed.set()
        self.engine.closed = True
        self.engine.stop(grace)

    async def available(self, timeout: float) -> None:
        """Wait until the engine can take a request; at once when it is up. Raises JobError 503 after `timeout` s."""
        if self.engine.ready.is_set():
            return
        deadline = time.monotonic() + timeout
        while not self.engine.ready.is_set():
            if self._closed.is_set() or time.monotonic() >= deadline:
                raise utils.JobError("The engine is being restarted; try again.", type="overloaded_error", code=503)
            await asyncio.sleep(0.05)

    def _restart(self) -> None:
        while self._busy.acquire(blocking=False):
            try:
                self._revive()
            finally:
                self._busy.release()
            # A death during the last steps above found the lock taken and left it to this check.
            if self._closed.is_set() or not self.engine.exited.is_set():
                return

    def _revive(self) -> None:
        reason = self.engine.report("The SGLang server ended")
        pause = _BACKOFF_FIRST
        while not self._closed.is_set():
            utils.log(reason, "error")
            now = time.monotonic()
            while self._recent and self._recent[0] < now - self.window:
                self._recent.popleft()
            if len(self._recent) >= self.max_restarts:
                self._closed.set()
                self._on_give_up(f"The engine died again after {len(self._recent)} restarts within "
                                 f"{self.window:.0f} s (SGLANG_MAX_RESTARTS): the worker ends.")
                return
            self._recent.append(now)
            if self._closed.wait(pause):
                return
            pause = min(pause * 4, _BACKOFF_LAST)
            self.restarts += 1
            utils.log(f"restarting the engine ({len(self._recent)} of at most {self.max_restarts} within "
                      f"{self.window:.0f} s, {self.restarts} in all)", "warn")
            try:
                self.engine.start()
                after = self.engine.wait_ready()
                utils.log(f"restarted: {start_report.sentence(after, self.engine.timeline.spans)}", "warn")
                return
            except EngineError as error:
                reason = str(error)

    def _probe(self) -> None:
        # /server_info asks the scheduler, which answers between two batches: unlike /health it needs no free slot
        # in the queue and no generation, so neither a deep queue nor a long prefill looks like a hang.
        silent_since = None
        while not self._closed.wait(min(_PROBE_EVERY, self.hang_timeout / 4)):
            if not self.engine.ready.is_set():
                silent_since = None
                continue
            asked = time.monotonic()
            answered = self.engine.get("/server_info", min(_PROBE_TIMEOUT, self.hang_timeout / 2))[0] is not None
            if answered or not self.engine.ready.is_set():
                silent_since = None
                continue
            silent_since = max(silent_since or asked, self._last_sign())
            if time.monotonic() - silent_since >= self.hang_timeout:
                utils.log(f"the engine gave no sign of life for {self.hang_timeout:.0f} s (SGLANG_HANG_TIMEOUT): "
                          "it is killed and restarted", "error")
                silent_since = None
                self.engine.kill()
