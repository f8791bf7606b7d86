"""Whole events out of bytes cut anywhere; chunks of them; and failures told apart from text that speaks of failing."""

import json

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from answer.streaming import EventBuffer, chunks, event_data, event_failure, failure_in, split

DETERMINED = settings(max_examples=100, deadline=None, derandomize=True)


def collect(*pieces, finish=False):
    buffer = EventBuffer()
    events = []
    for piece in pieces:
        buffer.feed(piece)
        events += split(buffer.take())
    if finish:
        buffer.finish()
        events += split(buffer.take())
    return events


def event(value, name=None):
    return (f"event: {name}\n" if name else "").encode() + b"data: " + json.dumps(value).encode() + b"\n\n"


# --- framing ------------------------------------------------------------------------------------------------------

ENDS = st.sampled_from(["\n", "\r\n"])
WORDS = st.text(st.characters(categories=["L", "N", "S", "Zs"]) | st.sampled_from('é模🙂":{}\\'), max_size=6)
LINES = st.builds("{}{}".format, st.sampled_from(["data: ", "data:", "event: ", "id: ", ": ", ":", "retry: "]), WORDS)
EVENTS = st.lists(st.builds(lambda lines, end: ("".join(a + b for a, b in lines) + end).encode(),
                            st.lists(st.tuples(LINES, ENDS), min_size=1, max_size=4), ENDS), max_size=5)


@DETERMINED
@given(EVENTS)
@example([b"data: a\r\n\r\n", b"data: b\n\r\n", b"data: c\r\n\n", b"data: d\n\n"])
def test_events_are_the_same_at_every_split(events):
    stream = b"".join(events)
    assert collect(stream, finish=True) == events
    assert collect(*(stream[i:i + 1] for i in range(len(stream))), finish=True) == events
    for cut in range(len(stream) + 1):
        assert collect(stream[:cut], stream[cut:], finish=True) == events


@DETERMINED
@given(EVENTS, st.lists(st.integers(0, 200), max_size=8))
def test_events_are_the_same_at_several_splits(events, cuts):
    stream = b"".join(events)
    at = [0, *sorted(cuts), len(stream)]
    assert collect(*(stream[a:b] for a, b in zip(at, at[1:], strict=False)), finish=True) == events


@DETERMINED
@given(st.lists(st.binary(max_size=12) | st.sampled_from([b"\n", b"\r", b"\r\n", b"\n\n", b"data: a"]), max_size=12))
def test_no_byte_is_lost_or_made_up(pieces):
    stream = b"".join(pieces)
    assert collect(*pieces) == collect(stream)
    buffer = EventBuffer()
    buffer.feed(stream)
    whole = split(buffer.take())
    assert b"".join(whole) == stream[:len(stream) - buffer.pending]
    assert split(buffer.take()) == []
    rest = stream[len(stream) - buffer.pending:]
    buffer.finish()
    assert split(buffer.take()) == ([rest.strip(b"\r\n") + b"\n\n"] if rest.strip(b"\r\n") else [])
    assert buffer.pending == 0


@pytest.mark.parametrize("stream, events", [
    (b"data: a\n\ndata: [DONE]\n\n", [b"data: a\n\n", b"data: [DONE]\n\n"]),
    (b"data: a\r\n\r\ndata: [DONE]\r\n\r\n", [b"data: a\r\n\r\n", b"data: [DONE]\r\n\r\n"]),
    # the last event's empty line, which some servers leave out
    (b"data: a\n\ndata: [DONE]\n", [b"data: a\n\n", b"data: [DONE]\n\n"]),
    (b"data: a\n\ndata: [DONE]", [b"data: a\n\n", b"data: [DONE]\n\n"]),
    (b"data: a\r\n\r\ndata: [DONE]\r\n", [b"data: a\r\n\r\n", b"data: [DONE]\n\n"]),
    (b": ping\n\ndata: 1\ndata: 2\n\n", [b": ping\n\n", b"data: 1\ndata: 2\n\n"]),
    (b"event: message_stop\ndata: {}\n\n", [b"event: message_stop\ndata: {}\n\n"]),
    ("data: é模🙂\n\n".encode(), ["data: é模🙂\n\n".encode()]),
    (b"", []), (b"\n", []), (b"\r\n", []),
])
def test_known_streams(stream, events):
    for cut in range(len(stream) + 1):
        assert collect(stream[:cut], stream[cut:], finish=True) == events


def test_an_event_is_given_as_soon_as_it_is_whole():
    buffer = EventBuffer()
    buffer.feed(b"data: a\n\ndata: ")
    assert split(buffer.take()) == [b"data: a\n\n"]
    assert buffer.pending == len(b"data: ")
    buffer.feed(b"b\n")
    assert split(buffer.take()) == []
    buffer.feed(b"\n")
    assert split(buffer.take()) == [b"data: b\n\n"]
    assert buffer.pending == 0


# --- chunks -------------------------------------------------------------------------------------------------------

@DETERMINED
@given(EVENTS, st.integers(0, 60))
def test_chunks(events, limit):
    texts = chunks(events, limit)
    assert "".join(texts) == b"".join(events).decode()
    left = list(events)
    for text in texts:
        group = [left.pop(0)]
        while len(b"".join(group)) < len(text.encode()):
            group.append(left.pop(0))
        assert b"".join(group) == text.encode()
        assert len(group) == 1 or len(text.encode()) <= limit
        assert not left or len(text.encode()) + len(left[0]) > limit
    assert left == []


@pytest.mark.parametrize("sizes, limit, expected", [
    ([], 10, []), ([10], 10, [10]), ([11], 10, [11]), ([5, 5], 10, [10]), ([5, 6], 10, [5, 6]),
    ([3, 99, 3], 10, [3, 99, 3]), ([1] * 10, 4, [4, 4, 2]),
])
def test_chunk_sizes(sizes, limit, expected):
    assert [len(text) for text in chunks([b"x" * size for size in sizes], limit)] == expected


def test_bytes_that_are_no_text_are_replaced():
    assert chunks([b"data: \xff\n\n"], 100) == ["data: �\n\n"]


# --- failures -----------------------------------------------------------------------------------------------------

CHAT_CHUNK = {"id": "x", "object": "chat.completion.chunk", "choices": [
    {"index": 0, "delta": {"content": "Hi"}, "finish_reason": None}]}
ABORTED = {"type": "abort", "message": "The request queue is full.", "status_code": 503, "err_type": None}


@pytest.mark.parametrize("raw, message, code", [
    # a prompt that is too long, on a /generate stream
    (event({"error": {"message": "Too long.", "type": "invalid_request_error", "code": 400, "retryable": False}}),
     "Too long.", 400),
    # the queue is full: a chat stream, then a /generate stream
    (event({"error": {"object": "error", "message": "Full.", "type": "SERVICE_UNAVAILABLE", "param": None,
                      "code": 503}}), "Full.", 503),
    (event({"text": "", "meta_info": {"id": "x", "finish_reason": ABORTED}}), "The request queue is full.", 503),
    (event({"text": "", "index": 1, "meta_info": {"finish_reason": {**ABORTED, "message": ""}}}),
     "The engine aborted the request.", 503),
    # /v1/messages, /v1/responses
    (event({"type": "error", "error": {"type": "overloaded_error", "message": "Full."}}, "error"), "Full.", None),
    (event({"type": "response.failed", "sequence_number": 3, "response": {
        "id": "resp_1", "status": "failed", "error": {"code": "server_error", "message": "Broken."}}},
        "response.failed"), "Broken.", "server_error"),
    # other framings of the same
    (b'data:{"error":{"message":"Full.","code":503}}\r\n\r\n', "Full.", 503),
    (b': note\nid: 1\ndata: {"error":\ndata: {"message": "Full.", "code": 503}}\n\n', "Full.", 503),
])
def test_event_failure(raw, message, code):
    failed = event_failure(raw)["error"]
    assert (failed["message"], failed.get("code")) == (message, code)


def test_an_error_that_is_only_text():
    assert event_failure(event({"error": "unknown field"})) == {"error": "unknown field"}


WORDY = 'An "error" and an "abort", "status_code" 503: {"error": {"message": "no", "code": 500}}'


@pytest.mark.parametrize("raw", [
    b"data: [DONE]\n\n", b": ping\n\n", b"\n\n", b"", b"event: error\n\n",
    b'event: error\ndata: "error" of no JSON\n\n', b'data: "error"\n\n', b'data: ["error"]\n\n', b'data: 5 "error"\n\n',
    b': {"error": {"message": "a comment"}}\n\n',
    event(CHAT_CHUNK), event({**CHAT_CHUNK, "error": None}),
    event({"choices": [{"index": 0, "delta": {"content": WORDY}, "finish_reason": "error"}]}),
    event({"choices": [{"index": 0, "delta": {"tool_calls": [{"function": {"arguments": WORDY}}]}}]}),
    # a deliberate abort: the finish reason of a cancelled request
    event({"choices": [{"index": 0, "delta": {}, "finish_reason": "abort"}]}),
    event({"text": "Hi", "meta_info": {"finish_reason": {"type": "abort", "message": "Aborted", "status_code": None,
                                                         "err_type": None}}}),
    event({"text": "Hi", "meta_info": {"finish_reason": {"type": "abort", "message": "Aborted"}}}),
    event({"text": WORDY, "meta_info": {"finish_reason": {"type": "length", "length": 8}}}),
    event({"text": WORDY, "meta_info": {"finish_reason": None}}), event({"text": WORDY, "meta_info": None}),
    event({"text": "Hi", "meta_info": {"finish_reason": "abort", "status_code": 503}}),
    event({"type": "response.created", "response": {"status": "in_progress", "error": None}}, "response.created"),
    event({"type": "response.output_text.delta", "delta": WORDY}, "response.output_text.delta"),
    event({"type": "response.output_item.done", "item": {"type": "mcp_call", "error": "the tool's own"}}),
    event({"type": "content_block_delta", "delta": {"type": "text_delta", "text": WORDY}}, "content_block_delta"),
])
def test_no_false_alarm(raw):
    assert event_failure(raw) is None


@pytest.mark.parametrize("value, failed", [
    ({"error": {"message": "x"}}, True), ({"error": "x"}, True), ({"meta_info": {"finish_reason": ABORTED}}, True),
    ({"error": None}, False), ({"error": {}}, False), ({}, False), ([], False), (None, False), ("error", False),
    ({"data": [{"error": "x"}]}, False), ({"choices": [{"finish_reason": "abort"}]}, False), ({"type": 5}, False),
    ({"type": "response.failed"}, False), ({"meta_info": []}, False), ({"meta_info": {"finish_reason": []}}, False),
])
def test_failure_in_an_answer(value, failed):
    assert bool(failure_in(value)) is failed


@pytest.mark.parametrize("raw, data", [
    (b"data: a\n\n", b"a"), (b"data:a\n\n", b"a"), (b"data:  a\n\n", b" a"), (b"data: a\r\ndata: b\r\n\r\n", b"a\nb"),
    (b"event: x\ndata: a\nid: 1\n\n", b"a"), (b": data: no\n\n", b""), (b"data\n\n", b""), (b"database: x\n\n", b""),
    ("data: a\u2028b\x0b\x0c\x85\n\n".encode(), "a\u2028b\x0b\x0c\x85".encode()),
])
def test_event_data(raw, data):
    assert event_data(raw) == data


JSON = st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.just("abort"),
                    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(
                        ["error", "type", "response", "meta_info", "finish_reason", "status_code", "message"]),
                        inner, max_size=4), max_leaves=10)


@DETERMINED
@given(st.binary(max_size=60) | st.builds(lambda a, b: b'data: {"error": ' + a + b'"abort"' + b, st.binary(max_size=9),
                                          st.binary(max_size=9)) | st.builds(event, JSON))
def test_nothing_raises_on_any_bytes(raw):
    failed = event_failure(raw)
    assert failed is None or isinstance(failed, dict)
    assert all(isinstance(text, str) for text in chunks(collect(raw, finish=True), 16))


def test_nesting_too_deep_to_parse_is_no_failure():
    assert event_failure(b'data: {"error": ' + b"[" * 200_000 + b"\n\n") is None
