"""One event stream of the engine to chunks: what is read when, and what is sent when.

Reading stops while a chunk is being delivered; what arrives meanwhile waits in the connection's buffer and becomes the
next chunk. So the first event leaves at once, a slow delivery makes chunks larger instead of later, and a full buffer
slows the engine down instead of growing.

No time limit ever spans a delivery: a limit that ran out there would cancel the delivery instead of the request.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

from answer import streaming
from answer.newest import Newest
from answer.pace import Pace, Silence
from answer.running import Last, Running
from answer.told import MESSAGES, Told, by_engine
from answer.wire import Reply

# Events that come before the first with words in it; a stream is paced from those on. Chat begins with the role.
_PREAMBLE = {"/v1/messages": 3, "/v1/responses": 5}


async def relay(reply: Reply, job: Running, pace: Pace, *, silence: Silence, chunk_bytes: int,
                heard: Callable[[], None]) -> None:
    """Hands over texts of whole events, of at most `chunk_bytes`.

    silence: waits for the engine, as long as it may take. `heard` is called for every sign of life. Raises TimeoutError
    after that, JobError for an event that reports a failure.
    """
    buffer = streaming.EventBuffer()
    newest = Newest() if job.request.path == "/generate" else None
    unpaced = _PREAMBLE.get(job.request.path, 1)  # events, counted down
    begun = first = 0.0  # when the last delivery and the first one were begun, 0 before the first
    held = b""
    try:
        while True:
            if unpaced < 0:
                await pace.turn(reply, begun, young=begun == first)
            data = reply.arrived() or await silence.wait(reply.some())
            over = not data or reply.over()
            heard()
            if data:
                buffer.feed(data)
            if over:
                buffer.finish()
            block, held = held + buffer.take(), b""
            if not over and not job.last and _only_opens(block, job.request.path):
                held = block
                continue
            found = list(chunks(block, newest, over, chunk_bytes, job.request.path, reply.status))
            if over and found and isinstance(found[-1], str):
                found[-1] = Last(found[-1])
            data = block = b""  # a delivery may take its time: nothing is held twice meanwhile
            while found:
                chunk = found.pop(0)
                if isinstance(chunk, Told):
                    raise chunk
                pace.streams += not begun  # one that still waits for its first token takes no share
                begun = time.monotonic()
                first = first or begun
                if unpaced >= 0:
                    unpaced -= chunk.count("\n\n")
                await job.give(chunk)
            if over:
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
