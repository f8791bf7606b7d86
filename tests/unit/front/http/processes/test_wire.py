"""Messages as bytes, cut anywhere."""

import json

import pytest

from front.http.processes.wire import Garbled, Unpacker, packed

MESSAGES = [["up"], ["ask", 7], ["stand", "UP", 2, {"1": "exit status 3"}], ["reply", 1, "é\ud800 " * 5000],
            ["give", 0, 1]]


@pytest.mark.parametrize("step", [1, 3, 7, 4096, 10**6])
def test_what_was_sent_comes_out_however_it_is_cut(step):
    data, unpacker, found = b"".join(map(packed, MESSAGES)), Unpacker(), []
    for start in range(0, len(data), step):
        found += unpacker.feed(data[start:start + step])
    assert found == MESSAGES


def framed(body: bytes) -> bytes:
    return len(body).to_bytes(4, "big") + body


@pytest.mark.parametrize("data", [
    framed(b"{}"), framed(b"[]"), framed(b"[1]"), framed(b'["ask"'), framed(b"\xff"), b"\xff\xff\xff\xff",
    b"GET / HTTP/1.1\r\n"])
def test_what_is_no_message_is_refused(data):
    with pytest.raises(Garbled):
        Unpacker().feed(data)


def test_a_message_is_plain_ascii_json_behind_its_length():
    data = packed(MESSAGES[3])
    assert data[4:].isascii() and json.loads(data[4:]) == MESSAGES[3] and int.from_bytes(data[:4]) == len(data) - 4
