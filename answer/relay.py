"""One event stream of the engine to chunks: what is read when, and what is sent when.

Reading stops while a chunk is being delivered; what arrives meanwhile waits in the connection's buffer and becomes the
next chunk. So the first event leaves at once, a slow delivery makes chunks larger instead of later, and a full buffer
slows the engine down instead of growing.

No time limit ever spans a delivery: a limit that ran out there would cancel the delivery instead of the request.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Iterator

from answer import streaming
from answer.newest import Newest
from answer.running import Running
from answer.told import MESSAGES, Told, by_engine
from answer.wire import Reply

# Events that come before the first with words in it; a stream is paced from those on. Chat begins with the role.
_PREAMBLE = {"/v1/messages": 3, "/v1/responses": 5}
_LONGEST_GAP = 0.5  # seconds between two chunks of one stream, however many streams there are
_LOOK_EVERY, _LOOK_FOR = 0.05, 0.002  # seconds


async def _until(ended: asyncio.Future[None], seconds: float) -> None:
    """Wait until `ended` is done, at most so long. As asyncio.wait, at two thirds of its cost."""
    loop = asyncio.get_running_loop()
    due = loop.create_future()

    def wake(_ended: object = None) -> None:
        if not due.done():
            due.set_result(None)

    alarm = loop.call_later(seconds, wake)
    ended.add_done_callback(wake)
    try:
        await due
    finally:
        alarm.cancel()
        ended.remove_done_callback(wake)


class Pace:
    """Chunks a second (`budget`; 0: no limit) that all streams share.

    A delivery costs the worker as much as reading a dozen tokens, and all streams run on one core. With many of them
    each waits a little between its chunks, which then hold more. A lone stream never waits. Waits end at common
    moments: waking up once for many deliveries costs half of what it costs to wake up for each.
    """

    def __init__(self, budget: float) -> None:
        self.budget, self.streams = budget, 0
        self._unread: set[asyncio.Transport] = set()
        self._next: asyncio.TimerHandle | None = None

    async def turn(self, reply: Reply, begun: float) -> None:
        """Wait until a stream whose last delivery began at `begun` may begin the next, or has ended."""
        if not reply.ended.done() and (left := self.wait(begun, time.monotonic())) > 0:
            with self.seldom_read(reply.pausable()):
                await _until(reply.ended, left)

    def wait(self, begun: float, now: float) -> float:
        """Seconds until a stream whose last delivery began at `begun` (time.monotonic) may begin the next."""
        if not self.budget or self.streams < 2:
            return 0.0
        gap = min(_LONGEST_GAP, (self.streams - 1) / self.budget)
        return round((begun + gap) / (gap / 2)) * (gap / 2) - now

    @contextlib.contextmanager
    def seldom_read(self, transport: asyncio.Transport | None) -> Iterator[None]:
        """Meanwhile read this connection in common moments only, often enough to notice its end soon.

        Waking up for every token of every stream would cost more than all that is done with them. The CPU time of a
        token in this module and below, with and without it (medians of five runs in turn, two cores, deliveries of
        30 ms): 17.9 and 19.8 us for 128 streams of 30 tokens a second, 10.7 and 12.7 us for 64 streams of 100, the
        same for 64 streams of 30.
        """
        if transport is None or transport.is_closing():
            yield
            return
        self._unread.add(transport)
        transport.pause_reading()
        if self._next is None:
            self._next = asyncio.get_running_loop().call_later(_LOOK_EVERY, self._look)
        try:
            yield
        finally:
            self._unread.discard(transport)
            if not transport.is_closing():
                transport.resume_reading()

    def _look(self) -> None:
        for transport in self._unread:
            if not transport.is_closing():
                transport.resume_reading()
        self._next = asyncio.get_running_loop().call_later(_LOOK_FOR, self._look_away)

    def _look_away(self) -> None:
        for transport in self._unread:
            if not transport.is_closing():
                transport.pause_reading()
        loop = asyncio.get_running_loop()
        self._next = loop.call_later(_LOOK_EVERY, self._look) if self._unread else None


async def relay(reply: Reply, job: Running, pace: Pace, *, idle: float | None, chunk_bytes: int,
                heard: Callable[[], None]) -> None:
    """Hands over texts of whole events, of at most `chunk_bytes`.

    idle: seconds of silence that end the stream, None for never. `heard` is called for every sign of life. Raises
    TimeoutError after `idle`, JobError for an event that reports a failure.
    """
    buffer = streaming.EventBuffer()
    newest = Newest() if job.request.path == "/generate" else None
    unpaced = _PREAMBLE.get(job.request.path, 1)  # events, counted down
    begun = 0.0  # when the last delivery was begun, 0 before the first
    held = b""
    try:
        while True:
            if unpaced < 0:
                await pace.turn(reply, begun)
            data = reply.arrived()
            if not data:
                async with asyncio.timeout(idle):
                    data = await reply.some()
            heard()
            if data:
                buffer.feed(data)
            else:
                buffer.finish()
            block, held = held + buffer.take(), b""
            if data and not job.last and _only_opens(block, job.request.path):
                held = block
                continue
            for chunk in chunks(block, newest, not data, chunk_bytes, job.request.path, reply.status):
                if isinstance(chunk, Told):
                    raise chunk
                pace.streams += not begun  # one that still waits for its first token takes no share
                begun = time.monotonic()
                if unpaced >= 0:
                    unpaced -= chunk.count("\n\n")
                await job.give(chunk)
            if not data:
                return
    finally:
        pace.streams -= begun > 0


def _only_opens(block: bytes, path: str) -> bool:
    """Whether this is the event that opens a message: the engine sends it with the first word, or right before it says
    that it had no room (sglang: entrypoints/anthropic/serving.py), and then another attempt opens it anew."""
    return path == MESSAGES and block.startswith(b"event: message_start") and block.count(b"event: ") == 1


def chunks(block: bytes, newest: Newest | None, last: bool, limit: int, path: str,
           status: int) -> Iterator[str | Told]:
    """What can be sent now of a block of whole events, as texts of at most `limit` bytes; a failure ends them."""
    if (newest is None or newest.repeats is False) and len(block) <= limit and not streaming.may_hold_failure(block):
        if block:
            yield block.decode("utf-8", "replace")
        return
    events, failed = streaming.split(block), None
    for position, event in enumerate(events):
        if found := streaming.event_failure(event):
            failed, events = by_engine(event, found, path, status), events[:position]
            if _only_opens(b"".join(events), path):
                events = []
            break
    if newest is not None:
        newest.add(events)
        events = newest.take(last or failed is not None)
    yield from streaming.chunks(events, limit)
    if failed:
        yield failed
