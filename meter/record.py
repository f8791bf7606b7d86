"""One request from its first byte to its end: when what happened, how much, and how it went.

Pure but for the clock. `add` is called for every chunk of every stream and costs less than a microsecond
(bench/meter_cost.py); what a stream says of its tokens is looked for at its end, see usage.py.
"""

from __future__ import annotations

import contextvars
import re
import time
from typing import Any, Protocol

from meter import usage
from meter.usage import Usage
from utils import JobError

COMPLETED, REFUSED, FAILED, CANCELLED = OUTCOMES = ("completed", "refused", "failed", "cancelled")
REASONS = {400: "invalid", 401: "key", 403: "forbidden", 404: "not_found", 405: "method", 408: "slow_body",
           411: "invalid", 413: "too_large", 415: "invalid", 422: "invalid", 429: "busy", 503: "unavailable"}
_LATER = 0.5  # seconds between two times that a stream tells how many events it had
_TRACE = re.compile(r"00-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}")
_WORD = re.compile(r"[\w.-]{1,64}", re.ASCII)


class Owner(Protocol):
    """Who is told of a record's life (requests.py `Meter`). tokens_an_event: of a stream, about."""

    tokens_an_event: int

    def planned(self, record: Record) -> None: ...

    def progressed(self, events: float, now: float) -> None: ...

    def answering(self, record: Record) -> None: ...

    def ended(self, record: Record) -> None: ...


class Record:
    """The measures of one request.

    id: what the engine and the platform call it; route: one of a bounded set of labels; mode: "queue" or "http"; began,
    ended: time.monotonic; wall: time.time_ns of the beginning; request_id, trace_id, traceparent: the caller's,
    None where there is none; model: as it is served; queued: seconds that it waited for its turn, None if unknown;
    ttft: seconds to the first token of a stream; chunks, bytes: of the answer, as they are handed to the front,
    bytes in UTF-8; usage: what the answer says of its tokens; status: over HTTP the answer's, None when none was
    sent; error: what it failed with; reason: why it was refused, where the front knows; outcome: of OUTCOMES, ""
    while it lasts; delivered: all of a stream was sent. kind: in whose words the answers are, see usage.py; tokens:
    of a stream, as they are estimated on the way; span: the tracing's own; carrier: headers by which the engine's
    spans become children of it, or of the caller's.
    """

    __slots__ = ("_answers", "_length", "_newest", "_older", "_oldest", "_owner", "_several", "_short", "_told",
                 "began", "bytes", "carrier", "chunks", "delivered", "ended", "error", "gone", "id", "kind", "last",
                 "mode", "model", "outcome", "queued", "reason", "request_id", "route", "span", "status", "tokens",
                 "trace_id", "traceparent", "tracestate", "ttft", "usage", "wall")

    def __init__(self, mode: str = "", route: str = "", ident: str = "", owner: Owner | None = None):
        self.mode, self.route, self.id, self._owner = mode, route, ident, owner
        self.began, self.wall = time.monotonic(), time.time_ns()
        self.ended = self.last = self.began
        self.request_id: str | None = None
        self.trace_id: str | None = None
        self.traceparent: str | None = None
        self.tracestate: str | None = None
        self.model: str | None = None
        self.queued: float | None = None
        self.ttft: float | None = None
        self.chunks = self.bytes = 0
        self.usage = Usage()
        self.status: int | None = None
        self.error: JobError | None = None
        self.reason = self.outcome = ""
        self.gone = self.delivered = False
        self.span: Any = None
        self.carrier: dict[str, str] = {}
        self.kind, self._answers, self._several, self._short = usage.PLAIN, 1, False, True
        self._oldest = self._older = self._newest = ""  # chunks
        self._length, self._told, self.tokens = 0, self.began, 0.0

    # ------------------------------------------------------------ what is known of it
    def traced(self, traceparent: str | None, tracestate: str | None = None) -> None:
        """The caller's trace (W3C Trace Context); what is none is left out."""
        found = _TRACE.fullmatch(traceparent or "")
        if found and int(found[1], 16) and int(found[2], 16):
            self.traceparent, self.tracestate, self.trace_id = found[0], tracestate, found[1]
            self.carrier = {"traceparent": found[0], **({"tracestate": tracestate} if tracestate else {})}

    def planned(self, path: str, model: str | None = None, answers: int = 1, prompts: int = 1) -> None:
        """What was made of it: the engine's path, the model as it is served, how many prompts there are, and how many
        answers to each, 0 if that is unknown."""
        self.kind, self._answers, self.model = usage.kind(path), answers, model
        self._several = self.kind == usage.NATIVE and (answers, prompts) != (1, 1)
        self._short = self.kind not in usage.LONG
        if self._owner:
            self._owner.planned(self)

    # ------------------------------------------------------------ what happens to it
    def add(self, text: str, sent: str | None = None) -> None:
        """A chunk of whole events of the engine goes out; `sent` in its place, where the caller gets other words."""
        now, sent = time.monotonic(), text if sent is None else sent
        if sent:
            self.chunks += 1
            self.bytes += len(sent) if sent.isascii() else len(sent.encode("utf-8", "surrogatepass"))
        if text.startswith(":"):  # a comment that keeps the connection open
            return
        if self.ttft is None:
            self._begin(text, now)
        self.last = now
        self._length += len(text)
        if self._several and usage.finishes(text):
            self.usage = usage.with_finished(self.usage, text)
        if self._short and len(text) > usage.ENOUGH:
            text = text[-usage.ENOUGH:]
        self._oldest, self._older, self._newest = self._older, self._newest, text
        if now - self._told > _LATER:
            self._tell(now)

    def _begin(self, text: str, now: float) -> None:
        if usage.has_token(self.kind, text):
            self.ttft = now - self.began
            self.usage = usage.of_head(self.kind, text)
            if self._owner:
                self._owner.answering(self)

    def said(self, message: str | bytes) -> None:
        """A message of a session goes out, of whose tokens nothing is known."""
        self.chunks += 1
        self.bytes += len(message) if isinstance(message, bytes) else len(message.encode("utf-8", "surrogatepass"))

    def whole(self, value: Any, size: int) -> None:
        """The whole answer goes out, `size` bytes of JSON. value: as the engine gave it."""
        self.chunks += 1
        self.bytes += size
        self.usage, self._several = usage.of_value(value, self._answers), False
        self.last = time.monotonic()

    def failed(self, error: JobError) -> None:
        """It ends with this error, unless another came first, or whoever asked had left."""
        if self.error is None and not self.gone:
            self.error = error

    def left(self) -> None:
        """Whoever asked went away, before it failed or all of the answer was sent."""
        self.gone = self.error is None and not self.delivered

    def end(self, status: int | None = None) -> None:
        """It is over; what comes after this does not count. status: of the answer, where it was not known before."""
        if self.outcome:
            return
        self.ended, self.status = time.monotonic(), self.status if status is None else status
        if self.gone:
            self.outcome = CANCELLED
        elif self.error is None:
            self.outcome = COMPLETED
        else:
            code = self.error.code
            unanswered = self.ttft is None and (400 <= code < 500 or code == 503)
            self.outcome = REFUSED if unanswered else FAILED
        tail = self._oldest + self._older + self._newest
        self._tell(self.ended)
        self._oldest = self._older = self._newest = ""
        if self._several:
            self.usage = usage.settled(self.usage, self._answers)
        elif tail:
            self.usage = usage.with_tail(self.kind, self.usage, tail)
        if self._owner:
            self._owner.ended(self)

    def _tell(self, now: float) -> None:
        """How much of a stream there was since the last time: its events, counted in the newest chunk alone."""
        text, self._told = self._newest, now
        if text and self._owner:
            events = usage.progress(self.kind, text, self._length, self.tokens, self._owner.tokens_an_event)
            self._length, self.tokens = 0, self.tokens + events
            self._owner.progressed(events, now)

    # ------------------------------------------------------------ what follows from it
    @property
    def generates(self) -> bool:
        """Whether answers on this route have tokens to count."""
        return self.kind != usage.PLAIN

    @property
    def duration(self) -> float:
        """Seconds from the beginning to the end."""
        return self.ended - self.began

    @property
    def itl(self) -> float | None:
        """Mean seconds between two tokens of a stream, None where they were not counted or are fewer than two."""
        count = self.usage.completion
        if self.ttft is None or count is None or count < 2:
            return None
        return max(0.0, self.last - self.began - self.ttft) / (count - 1)

    @property
    def why(self) -> str:
        """Why it was refused, in one of a bounded set of words."""
        return self.reason or (REASONS.get(self.error.code, "other") if self.error else "")

    @property
    def error_type(self) -> str | None:
        """The type of the error, a word; never its text, which may quote the caller."""
        if self.error is None:
            return None
        return self.error.type if isinstance(self.error.type, str) and _WORD.fullmatch(self.error.type) else "error"


_current: contextvars.ContextVar[Record] = contextvars.ContextVar("record")


def carry(record: Record) -> Record:
    """From now on `record` is the one of the request that this task carries out."""
    # Not an argument through everything on the way: a request is one task, in both fronts, and most of what is on the
    # way has nothing to say of it.
    _current.set(record)
    return record


def current() -> Record:
    """The record of the request that this task carries out; one that goes nowhere, when nobody measures it."""
    return _current.get(None) or Record()
