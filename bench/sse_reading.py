"""What the recorded socket reads of one streamed chat completion say: its times, its tokens, and whether it is whole.

All of this happens after the run: while it lasts, a client does nothing but note the time and keep the bytes. Pure.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field

Reads = list[tuple[float, bytes]]  # time.perf_counter() of each socket read, and what it brought


class Broken(Exception):
    """The answer is not the whole, error-free stream that was asked for; the text says why."""


@dataclass
class Answer:
    """One answer. Seconds, as SGLang's serving benchmark defines them: `ttft` from sending to the first content
    event, `itls` between successive content events, `e2e` from sending to the last event ([DONE]).

    sent, ended: time.perf_counter() of sending and of the connection's end. reads: socket reads with content events.
    """

    sent: float
    ended: float
    ttft: float = 0.0
    e2e: float = 0.0
    itls: list[float] = field(default_factory=list)
    tokens: int = 0
    prompt_tokens: int = 0
    events: int = 0
    reads: int = 0
    error: str | None = None

    @property
    def tpot(self) -> float | None:
        """Seconds a token after the first."""
        return (self.e2e - self.ttft) / (self.tokens - 1) if self.tokens > 1 else None

    def data(self) -> dict:
        return asdict(self)


class Dechunker:
    """HTTP/1.1 chunked transfer coding, fed read by read."""

    def __init__(self):
        self.ended = False
        self._left, self._line = 0, b""  # bytes left of the present chunk, with its line end; a size line cut by a read

    def feed(self, data: bytes) -> bytes:
        """The payload in `data`."""
        out, position = [], 0
        while position < len(data) and not self.ended:
            if self._left:
                piece = data[position:position + self._left]
                position += len(piece)
                payload = max(0, min(len(piece), self._left - 2))  # the chunk's own CRLF is not payload
                self._left -= len(piece)
                out.append(piece[:payload])
                continue
            end = data.find(b"\n", position)
            if end < 0:
                self._line += data[position:]
                break
            line, self._line, position = self._line + data[position:end], b"", end + 1
            try:
                size = int(line.split(b";")[0], 16)
            except ValueError as error:
                raise Broken(f"no chunk size: {line[:40]!r}") from error
            self.ended, self._left = size == 0, size + 2 if size else 0
        return b"".join(out)


def body_reads(reads: Reads) -> Reads:
    """The reads with the HTTP response's head and its transfer coding taken away; Broken unless a whole 200."""
    raw, used = b"", 0
    while b"\r\n\r\n" not in raw:
        if used == len(reads):
            raise Broken(f"the connection ended before an answer came: {raw[:200]!r}")
        raw += reads[used][1]
        used += 1
    head, rest = raw.split(b"\r\n\r\n", 1)
    payload = [(reads[used - 1][0], rest), *reads[used:]]
    if b"transfer-encoding: chunked" in head.lower():
        chunks = Dechunker()
        payload = [(at, chunks.feed(data)) for at, data in payload]
        if not chunks.ended:
            raise Broken("the connection was cut inside the answer")
    status = head.split(b" ", 2)[1]
    if status != b"200":
        text = b"".join(data for _, data in payload).decode(errors="replace")
        raise Broken(f"status {status.decode()}: {text[:300]}")
    return payload


def count_content(text: bytes) -> int:
    """Content deltas among whole events, by their bytes: quotes inside a text are escaped, so nothing else matches."""
    return text.count(b'content":"') - text.count(b'content":""')


def content_times(payload: Reads) -> list[tuple[float, int]]:
    """(time, content events that became whole in it) of every read that completed one."""
    found, tail = [], b""
    for at, data in payload:
        text = tail + data
        end = text.rfind(b"\n\n") + 2
        if end < 2:
            tail = text
            continue
        tail = text[end:]
        if count := count_content(text[:end]):
            found.append((at, count))
    return found


def check(text: bytes, tokens: int) -> tuple[int, int, int]:
    """(completion tokens, prompt tokens, content events) of a whole stream of `tokens` tokens; else Broken."""
    *events, rest = text.split(b"\n\n")
    if rest:
        raise Broken(f"a cut event at the end: {rest[-80:]!r}")
    events = [event for event in events if not event.startswith(b":")]  # comments
    if not events or events[-1] != b"data: [DONE]":
        raise Broken(f"no [DONE] at the end: {events[-1][-200:] if events else b''!r}")
    contents, usage, finish = 0, None, None
    for event in events[:-1]:
        if not event.startswith(b"data: {"):
            raise Broken(f"no whole event: {event[:80]!r}")
        try:
            value = json.loads(event[6:])
        except ValueError as error:
            raise Broken(f"no whole event: {event[:80]!r}") from error
        if value.get("error"):
            raise Broken(f"an error event: {value['error']}")
        usage = value.get("usage") or usage
        for choice in value.get("choices") or ():
            delta = choice.get("delta") or {}
            contents += bool(delta.get("content") or delta.get("reasoning_content"))
            finish = choice.get("finish_reason") or finish
    if usage is None or finish is None:
        raise Broken("no usage, or no finish reason")
    if usage["completion_tokens"] != tokens:
        raise Broken(f"{usage['completion_tokens']} tokens instead of {tokens} ({finish})")
    return usage["completion_tokens"], usage.get("prompt_tokens") or 0, contents


def read(sent: float, ended: float, reads: Reads, tokens: int) -> Answer:
    """The answer to a request for `tokens` tokens."""
    answer = Answer(sent, ended)
    try:
        payload = body_reads(reads)
        answer.tokens, answer.prompt_tokens, answer.events = check(b"".join(data for _, data in payload), tokens)
        times = content_times(payload)
        if sum(count for _, count in times) != answer.events:
            raise Broken(f"{sum(count for _, count in times)} content events by their bytes, {answer.events} by JSON")
        if not times:
            raise Broken("no content")
    except Broken as error:
        answer.error = str(error)
        return answer
    answer.reads, previous = len(times), None
    answer.ttft = times[0][0] - sent
    answer.e2e = max(at for at, data in payload if data) - sent
    for at, count in times:
        answer.itls += [at - previous] if previous is not None else []
        answer.itls += [0.0] * (count - 1)
        previous = at
    return answer
