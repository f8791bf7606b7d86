"""Recorded exchanges as files: nothing is lost on the way, and the right one is found again."""

import json

import pytest

from local.recorded import Exchange, Group, as_bytes, as_json


def line(path="/generate", body=None, pieces=(b"{}",), method="POST") -> dict:
    return {"method": method, "path": path, "body": body, "status": 200, "content_type": "application/json",
            "pieces": as_json(pieces), "ended": True}


@pytest.mark.parametrize("pieces", [
    [], [b""], [b"data: \xc3\xa9\n\n"], [b"\xc3", b"\xa9"], [b"\xf0\x9f", b"\xa6\x9c x"], [bytes(range(256))]])
def test_bytes_survive_however_they_were_cut(pieces):
    assert as_bytes(json.loads(json.dumps(as_json(pieces)))) == pieces


def test_an_exchange_knows_its_answer():
    exchange = Exchange.of({**line(pieces=(b"data: 1\n", b"\n")), "content_type": "text/event-stream; charset=utf-8"})
    assert exchange.answer == b"data: 1\n\n" and exchange.streamed
    assert not Exchange.of(line()).streamed


@pytest.fixture
def group(tmp_path):
    start = [line(body={"text": "word"}, pieces=(b"start",)), line("/v1/models", method="GET", pieces=(b"models",))]
    (tmp_path / "group.json").write_text(json.dumps({"environ": {"A": "1"}, "exchanges": start}))
    for name, more in (("one", {"rid": "x"}), ("streamed", {"stream": True, "rid": "y"})):
        body = {"text": "Hello", **more}
        (tmp_path / f"{name}.json").write_text(json.dumps(
            {"job": {"text": "Hello"}, "exchanges": [line(body=body, pieces=(name.encode(),))]}))
    return Group.read(tmp_path)


def test_a_group_is_read_from_its_folder(group):
    assert group.environ == {"A": "1"} and [case.name for case in group.cases] == ["one", "streamed"]


@pytest.mark.parametrize(("method", "path", "body", "found"), [
    ("POST", "/generate", {"text": "Hello", "rid": "another"}, b"one"),
    ("POST", "/generate", {"text": "Hello", "stream": True, "rid": "another"}, b"streamed"),
    ("POST", "/generate", {"text": "Hello", "stream": True, "rid": "y", "new_field": 1}, b"streamed"),
    ("POST", "/generate", {"text": "word"}, b"start"), ("GET", "/v1/models", None, b"models")])
def test_the_exchange_most_like_a_request_is_found(group, method, path, body, found):
    assert group.find(method, path, body).answer == found


@pytest.mark.parametrize(("method", "path"), [("GET", "/generate"), ("POST", "/encode")])
def test_what_was_never_asked_is_not_found(group, method, path):
    assert group.find(method, path, {}) is None
