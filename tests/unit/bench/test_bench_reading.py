"""The benchmark's reading of recorded streams: times, counts across cut reads, and what counts as whole."""

import json

import pytest

from bench import sse_reading

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"


def event(delta: dict | None, **more) -> bytes:
    choices = [] if delta is None else [{"index": 0, "delta": delta, "finish_reason": more.pop("finish", None)}]
    return b"data: " + json.dumps({"choices": choices, **more}, separators=(",", ":"), ensure_ascii=False).encode() \
        + b"\n\n"


def stream(*texts: str, tokens: int | None = None) -> list[bytes]:
    """The events of a whole answer."""
    usage = {"completion_tokens": len(texts) if tokens is None else tokens, "prompt_tokens": 7}
    return [event({"role": "assistant", "content": ""}), *(event({"content": text}) for text in texts),
            event({}, finish="length"), event(None, usage=usage), b"data: [DONE]\n\n"]


def chunked(*parts: bytes) -> bytes:
    return b"".join(f"{len(part):x}\r\n".encode() + part + b"\r\n" for part in parts)


def spaced(data: bytes, step: int) -> sse_reading.Reads:
    """One read every millisecond, of `step` bytes."""
    return [(10 + n / 1000, data[i:i + step]) for n, i in enumerate(range(0, len(data), step), 1)]


def test_times_of_an_answer():
    first, second, third, *end = stream("a", "b", "c")[1:]
    reads = [(10.1, HEAD + chunked(event({"role": "assistant", "content": ""}))), (10.2, chunked(first)),
             (10.5, chunked(second + third)), (10.6, chunked(*end)), (10.7, b"0\r\n\r\n")]
    answer = sse_reading.read(10.0, 10.8, reads, 3)
    assert answer.error is None
    assert (answer.tokens, answer.prompt_tokens, answer.events, answer.reads) == (3, 7, 3, 2)
    assert answer.ttft == pytest.approx(0.2)
    assert answer.itls == pytest.approx([0.3, 0.0])  # the gap inside one read is none
    assert answer.e2e == pytest.approx(0.6)  # [DONE], not the end of the connection
    assert answer.tpot == pytest.approx((0.6 - 0.2) / 2)


@pytest.mark.parametrize("step", [1, 2, 3, 7, 50, 10**6])
def test_nothing_is_lost_or_counted_twice_where_reads_cut(step):
    texts = ["Paris", 'a "content":"" inside', "東京", "\n\n", "data: [DONE]", '"content":"x']
    data = HEAD + chunked(*stream(*texts)) + b"0\r\n\r\n"
    answer = sse_reading.read(10.0, 99.0, spaced(data, step), len(texts))
    assert answer.error is None
    assert answer.events == len(texts) == len(answer.itls) + 1
    assert answer.itls == [gap for gap in answer.itls if gap >= 0]


def test_reasoning_counts_as_content_and_comments_do_not():
    events = [b": waiting\n\n", event({"reasoning_content": "hm"}), *stream("a", tokens=2)]
    answer = sse_reading.read(0.0, 9.0, [(1.0, HEAD + chunked(*events) + b"0\r\n\r\n")], 2)
    assert (answer.error, answer.events) == (None, 2)


def test_an_answer_without_transfer_coding_ends_with_the_connection():
    plain = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n" + b"".join(stream("a"))
    assert sse_reading.read(0.0, 9.0, spaced(plain, 40), 1).error is None


@pytest.mark.parametrize(("data", "error"), [
    (b"", "ended before"),
    (HEAD[:30], "ended before"),
    (HEAD + chunked(*stream("a")), "cut inside"),
    (HEAD + chunked(*stream("a"))[:-9], "cut inside"),
    (HEAD + chunked(*stream("a")[:-1]) + b"0\r\n\r\n", "no .DONE."),
    (HEAD + chunked(*stream("a", "b")[:-1], b"data: [DONE]") + b"0\r\n\r\n", "cut event"),
    (HEAD + chunked(*stream("a", tokens=1)) + b"0\r\n\r\n", "1 tokens instead of 2"),
    (HEAD + chunked(event({"content": "a"}), b"data: [DONE]\n\n") + b"0\r\n\r\n", "no usage"),
    (HEAD + chunked(event({"content": "a"})[9:], *stream("a")) + b"0\r\n\r\n", "no whole event"),
    (HEAD + chunked(b"data: {broken\n\n", *stream("a")) + b"0\r\n\r\n", "no whole event"),
    (HEAD + chunked(event(None, error={"message": "full"}), *stream("a")) + b"0\r\n\r\n", "error event.*full"),
    (b"HTTP/1.1 500 Oops\r\nContent-Length: 4\r\n\r\nlost", "status 500: lost"),
    (HEAD + b"zz\r\n", "no chunk size"),
])
def test_what_is_not_whole_is_an_error(data, error):
    answer = sse_reading.read(0.0, 9.0, [(1.0, data)] if data else [], 2)
    with pytest.raises(AssertionError, match=error):
        raise AssertionError(answer.error)
    assert answer.error and not answer.itls
