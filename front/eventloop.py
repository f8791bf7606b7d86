"""The event loop of a front: uvloop's, whose timers leave out the time that the process was frozen.

libuv's timers go by a clock that goes on meanwhile: after a thaw all of them are due, and every limit on a POST, on the
engine's silence and on a connection would run out at once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextvars import Context
from typing import Any

import uvloop

from clock import awake

# Timers of less may count frozen time: none of them is a limit on anything, and the paces of streams cost nothing more.
_SHORT = 0.5   # seconds
_EARLY = 0.01  # seconds by which libuv's clock, read once a round, is behind this one at times


class Alarm:
    """In place of asyncio's TimerHandle: a timer that is set again when it goes off before its time by `awake`."""

    __slots__ = ("_callback", "_args", "_when", "_loop", "_inner")

    def __init__(self, when: float, callback: Callable[..., Any], args: tuple[Any, ...], loop: Loop, delay: float,
                 context: Context | None):
        self._when, self._args, self._loop = when, args, loop
        self._callback: Callable[..., Any] | None = callback
        self._inner: asyncio.Handle | None = _uvloops(loop, delay, self._ring, context=context)

    def cancel(self) -> None:
        if self._inner is not None:
            self._inner.cancel()
        self._inner = self._callback = None
        self._args = ()

    def cancelled(self) -> bool:
        return self._inner is None and self._callback is None

    def when(self) -> float:
        return self._when

    def _ring(self) -> None:
        left = self._when - awake()
        if left > _EARLY:
            self._inner = _uvloops(self._loop, left, self._ring)  # in the context in which this runs
            return
        self._inner = None
        if self._callback is not None:
            self._callback(*self._args)


class Loop(uvloop.Loop):
    """`time` is `clock.awake`."""

    time = staticmethod(awake)

    def call_later(self, delay: float, callback: Callable[..., Any], *args: Any,  # type: ignore[override]
                   context: Context | None = None) -> Any:
        if delay < _SHORT:
            return _uvloops(self, delay, callback, *args, context=context)
        return Alarm(awake() + delay, callback, args, self, delay, context)

    def call_at(self, when: float, callback: Callable[..., Any], *args: Any,  # type: ignore[override]
                context: Context | None = None) -> Any:
        delay = when - awake()
        if delay < _SHORT:
            return _uvloops(self, delay, callback, *args, context=context)
        return Alarm(when, callback, args, self, delay, context)


_uvloops: Callable[..., asyncio.Handle] = uvloop.Loop.call_later
