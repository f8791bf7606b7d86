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


class Alarm(asyncio.TimerHandle):
    """A timer that is set again when it goes off before its time by `awake`."""

    def __init__(self, when: float, callback: Callable[..., Any], args: tuple[Any, ...], loop: Loop,
                 context: Context | None, delay: float):
        super().__init__(when, _nothing, (), loop, context)
        self._due, self._call, self._of, self._in = when, callback, args, loop
        self._inner: asyncio.Handle | None = loop.libuv_timer(delay, self._ring, context)

    def cancel(self) -> None:
        self._cancelled = True
        if self._inner is not None:
            self._inner.cancel()
            self._inner = None
            self._call, self._of = _nothing, ()  # what they hold is let go of

    def _ring(self) -> None:
        left = self._due - awake()
        if left > _EARLY:
            self._inner = self._in.libuv_timer(left, self._ring, None)  # in the context in which this runs
        else:
            self._inner = None
            self._call(*self._of)


def _nothing() -> None:
    return None


class Loop(uvloop.Loop):
    """`time` is `clock.awake`."""

    def time(self) -> float:
        return awake()

    def call_later(self, delay: float, callback: Callable[..., Any], *args: Any,  # type: ignore[override]
                   context: Context | None = None) -> Any:
        if delay < _SHORT:
            return super().call_later(delay, callback, *args, context=context)
        return Alarm(awake() + delay, callback, args, self, context, delay)

    def call_at(self, when: float, callback: Callable[..., Any], *args: Any,  # type: ignore[override]
                context: Context | None = None) -> Any:
        delay = when - awake()
        if delay < _SHORT:
            return super().call_later(delay, callback, *args, context=context)
        return Alarm(when, callback, args, self, context, delay)

    def libuv_timer(self, delay: float, callback: Callable[[], None], context: Context | None) -> asyncio.Handle:
        """A plain timer of libuv, after `delay` seconds of its own clock."""
        return super().call_later(delay, callback, context=context)
