"""Server-sent events: whole events only.

Pure: bytes in, text out. Reading and pacing belong to relay.py. The framing follows the HTML standard's
event-stream format: an event ends with an empty line, lines end with LF or CRLF.
"""

from __future__ import annotations

import itertools
import json
import re
from typing import Any

# The first empty line after an event, whichever way its lines end.
_EVENT_END = re.compile(rb"\r?\n\r?\n")


class EventBuffer:
    """Collects the bytes of one event stream and gives them back as whole events.

    Bytes may arrive cut anywhere, inside a character or between CR and LF. Nothing is altered but the missing
    empty line after a last event, which some servers leave out and some clients need.
    """

    def __init__(self) -> None:
        self._rest = bytearray()
        self._scanned = 0  # up to here `_rest` is known to hold no end of an event

    def feed(self, data: bytes) -> None:
        """Add bytes as they arrived."""
        self._rest += data

    def finish(self) -> None:
        """The stream ended: what is left is an event too, and gets the empty line that it lacks."""
        whole = self.take()
        left = bytes(self._rest).strip(b"\r\n")
        self._rest = bytearray(whole + (left + b"\n\n" if left else b""))
        self._scanned = 0

    @property
    def pending(self) -> int:
        """Bytes of events that were not given yet."""
        return len(self._rest)

    def take(self) -> bytes:
        """Every whole event so far, in order, as one block; each is given once."""
        # Three bytes back: "\n\r\n" may have its "\n" already scanned, as may "\r\n\r\n" its first three.
        rest, start, end = self._rest, max(0, self._scanned - 3), 0
        if b"\r" not in rest and b"\n\n\n" not in rest:  # what every known server sends: no need to go event by event
            end = rest.rfind(b"\n\n", start) + 2
            end = 0 if end == 1 else end
        else:
            for match in _EVENT_END.finditer(rest, start):
                end = match.end()
        block = bytes(rest[:end])
        del rest[:end]
        self._scanned = len(rest)
        return block


def split(block: bytes) -> list[bytes]:
    """The events of a block that ends with the end of one."""
    ends = [0, *(match.end() for match in _EVENT_END.finditer(block))]
    return [block[start:end] for start, end in itertools.pairwise(ends)]


def chunks(events: list[bytes], limit: int) -> list[str]:
    """`events` joined to texts of at most `limit` bytes each, cut between events only.

    One event above the limit stays whole, in a text of its own: half an event is of no use to anybody.
    """
    texts: list[str] = []
    group: list[bytes] = []
    size = 0
    for event in events:
        if group and size + len(event) > limit:
            texts.append(b"".join(group).decode("utf-8", "replace"))
            group, size = [], 0
        group.append(event)
        size += len(event)
    if group:
        texts.append(b"".join(group).decode("utf-8", "replace"))
    return texts


def event_data(event: bytes) -> bytes:
    """The `data` field of one event; several data lines are joined by LF, as the standard has it."""
    lines = (line for line in event.splitlines() if line.startswith(b"data:"))
    return b"\n".join(line[5:].removeprefix(b" ") for line in lines)


def may_hold_failure(block: bytes) -> bool:
    """False when none of the events in `block` can be one that `event_failure` finds."""
    # Parsing every token's event would cost more than carrying it: look for the words first.
    return b'"error"' in block or b'"abort"' in block or b'"status_code"' in block


def event_failure(event: bytes) -> dict[str, Any] | None:
    """The object of an event that reports a failed request inside a stream of status 200, or None.

    The shapes SGLang 0.5.23 was seen to send: {"error": …} on /generate and chat, `event: error` on
    /v1/messages, {"type": "response.failed"} on /v1/responses, and on a /generate stream an ordinary event
    whose finish reason is an abort that carries an HTTP status.
    """
    if not may_hold_failure(event):
        return None
    try:
        value = json.loads(event_data(event))
    except (ValueError, RecursionError):
        return None
    return failure_in(value)


def failure_in(value: Any) -> dict[str, Any] | None:
    """The error object inside a successful-looking answer or event, or None.

    A deliberate abort (a cancelled request) has no status and is an ordinary end, not a failure.
    """
    if not isinstance(value, dict):
        return None
    if value.get("error"):
        return value
    if value.get("type") == "response.failed" and isinstance(value.get("response"), dict):
        return value["response"] if value["response"].get("error") else value
    meta = value.get("meta_info")
    reason = meta.get("finish_reason") if isinstance(meta, dict) else None
    if isinstance(reason, dict) and reason.get("type") == "abort" and reason.get("status_code"):
        return {"error": {"message": reason.get("message") or "The engine aborted the request.",
                          "type": reason.get("err_type"), "code": reason["status_code"]}}
    return None
