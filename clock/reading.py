"""Time that leaves out what the worker was frozen: RunPod's FlashBoot stops an idle worker and lets it go on later.

A frozen process learns nothing of it. What it sees is a clock that has moved although nobody could read it: a thread
reads it several times a second, so more than LONGEST between two readings means that the whole process stood still.
A machine so busy that it let nobody read for as long looks the same, and may: waiting a little longer, and asking
anew, is all that follows.

Pure standard library, below everything like utils.py: whoever waits, waits by this clock.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable

from utils import log

LONGEST = 2.0  # seconds between two readings of a process that is not frozen
BEAT = 0.4     # seconds between two readings if nobody else asks

Listener = Callable[[float], object]


def _boottime() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class Clock:
    """A clock of its own; the worker has one, whose methods stand below. The first reading starts its thread.

    monotonic: the clock that timers go by; boottime: one that goes on while the machine itself is suspended.
    """

    def __init__(self, monotonic: Callable[[], float] = time.monotonic,
                 boottime: Callable[[], float] = _boottime, beats: bool = True):
        self._monotonic, self._boottime, self._beats = monotonic, boottime, beats
        self._listeners: set[Listener] = set()
        self._begin()

    def _begin(self) -> None:
        # One that may be taken again by its holder: a signal's handler may read in the middle of a reading.
        self._lock = threading.RLock()
        self._last, self._last_boot = self._monotonic(), self._boottime()
        self._frozen = 0.0   # seconds to leave out
        self._thaws = 0
        self._untold = 0.0   # seconds frozen that nobody has been told of yet
        self._thread: threading.Thread | None = None

    def awake(self) -> float:
        """Seconds by time.monotonic, less those that the process was frozen. Never goes back. From any thread."""
        with self._lock:
            now, boot = self._monotonic(), self._boottime()
            if self._thread is None and self._beats:
                self._last, self._last_boot = now, boot  # until now nobody was there to read it
                self._thread = threading.Thread(target=self._beat, name="clock", daemon=True)
                self._thread.start()
            passed, slept = now - self._last, boot - self._last_boot
            self._last, self._last_boot = now, boot
            if not 0 <= passed <= LONGEST:  # backwards: a process that was carried to another boot
                self._frozen += passed
            if passed > LONGEST or slept > LONGEST:
                self._thaws += 1
                self._untold += max(passed, slept)
            return now - self._frozen

    def thaws(self) -> int:
        """How many times the process has been found frozen, this moment included."""
        self.awake()
        return self._thaws

    def listen(self, listener: Listener) -> Callable[[], None]:
        """From now on `listener` is called, in a thread of its own, after each thaw, with the seconds that were lost.
        Returns what ends that."""
        self._listeners.add(listener)
        self.awake()
        return lambda: self._listeners.discard(listener)

    def tell(self) -> None:
        """Tell the listeners of what was found since they were told last."""
        with self._lock:
            seconds, self._untold = self._untold, 0.0
        if seconds:
            for listener in list(self._listeners):
                try:
                    listener(seconds)
                except Exception as error:  # the beat goes on
                    log(f"after a thaw: {type(error).__name__}: {error}", "error")

    def _beat(self) -> None:
        never = threading.Event()
        while not never.wait(BEAT):
            self.awake()
            self.tell()

    def forked(self) -> None:
        """In a child process, which has neither the parent's threads nor its listeners."""
        self._listeners.clear()
        self._begin()


_clock = Clock()
os.register_at_fork(after_in_child=_clock.forked)
awake, thaws, listen = _clock.awake, _clock.thaws, _clock.listen
