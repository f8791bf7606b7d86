"""Server-sent events: whole events only.

Pure: bytes in, text out. Reading and pacing belong to upstream.py. The framing follows the HTML standard's
event-stream format: an event ends with an empty line, lines end with LF or CRLF.
"""

from __future__ import annotations

import json
import re

# The first empty line after an event, whichever way its lines end.
_EVENT_END = re.compile(rb"\r?\n\r?\n")
DONE = b"data: [DONE]"


class EventBuffer:
    """Collects the bytes of one event stream and gives them back as whole events.

    Bytes may arrive cut anywhere, inside a character or between CR and LF. Nothing is altered but the missing
    empty line after a last event, which some servers leave out and some clients need.
    """

    def __init__(self):
        self._events: list[bytes] = []
        self._rest = bytearray()
        self._scanned = 0  # up to here `_rest` is known to hold no end of an event

    def feed(self, data: bytes) -> None:
        """Add bytes as they arrived."""
        self._rest += data
        start = 0
        # Three bytes back: "\n\r\n" may have its "\n" already scanned, as may "\r\n\r\n" its first three.
        search_from = max(0, self._scanned - 3)
        while match := _EVENT_END.search(self._rest, search_from):
            self._events.append(bytes(self._rest[start:match.end()]))
            start = search_from = match.end()
        if start:
            del self._rest[:start]
        self._scanned = len(self._rest)

    def finish(self) -> None:
        """The stream ended: what is left is an event too, and gets the empty line that it lacks."""
        left = bytes(self._rest).strip(b"\r\n")
        self._rest.clear()
        self._scanned = 0
        if left:
            self._events.append(left + b"\n\n")

    @property
    def pending(self) -> int:
        """Bytes of an event that has not ended yet."""
        return len(self._rest)

    def take_events(self) -> list[bytes]:
        """Every whole event so far, in order; each is given once."""
        events, self._events = self._events, []
        return events


def chunks(events: list[bytes], limit: int) -> list[str]:
    """`events` joined to texts of at most `limit` bytes each, cut between events only.

    One event above the limit stays whole, in a text of its own: half an event is of no use to anybody.
    """
    texts, group, size = [], [], 0
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


def event_failure(event: bytes) -> dict | None:
    """The object of an event that reports a failed request inside a stream of status 200, or None.

    The shapes SGLang 0.5.23 was seen to send: {"error": …} on /generate and chat, `event: error` on
    /v1/messages, {"type": "response.failed"} on /v1/responses, and on a /generate stream an ordinary event
    whose finish reason is an abort that carries an HTTP status.
    """
    # Parsing every token's event would cost more than carrying it: look for the words first.
    if b'"error"' not in event and b'"abort"' not in event and b'"status_code"' not in event:
        return None
    try:
        value = json.loads(event_data(event))
    except (ValueError, RecursionError):
        return None
    return failure_in(value)


def failure_in(value) -> dict | None:
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
