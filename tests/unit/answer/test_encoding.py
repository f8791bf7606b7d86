"""A body as JSON in pieces is what it is as a whole, and none of the pieces is large."""

import asyncio
import json
import threading

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from answer import encoding
from answer.encoding import encoded, is_large, pieces
from utils import JobError

VALUES = st.recursive(st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
                      | st.text(max_size=8),
                      lambda inner: (st.lists(inner, max_size=6)
                                     | st.dictionaries(st.text(max_size=4), inner, max_size=6)),
                      max_leaves=30)


@pytest.fixture
def tiny(monkeypatch):
    """Everything with more than three parts or five characters is large."""
    monkeypatch.setattr(encoding, "_NODES", 3)
    monkeypatch.setattr(encoding, "_CHARACTERS", 5)
    monkeypatch.setattr(encoding, "_BUNCH", 2)


@settings(max_examples=300, deadline=None, derandomize=True)
@given(VALUES)
def test_pieces_make_the_whole(value):
    with pytest.MonkeyPatch.context() as patch:
        for sizes in ((3, 5, 2), (1, 1, 1), (10, 1000, 4)):
            for name, size in zip(("_NODES", "_CHARACTERS", "_BUNCH"), sizes, strict=True):
                patch.setattr(encoding, name, size)
            assert "".join(pieces(value)) == json.dumps(value)


@pytest.mark.parametrize("value, large", [
    ([1] * 2, False), ([1] * 3, True), ([[1], 2], True), ({"a": 1, "b": 2}, False), ({"a": [1, 2]}, True),
    ("x" * 5, False), ("x" * 6, True), ({"abcde": 1}, False), ({"abcdef": 1}, True), ({"abc": "de"}, False),
    ({"abc": "def"}, True), (None, False), ([[]], False), ([], False), ([["ab"], "cd"], True), (["abc", "def"], True)])
def test_what_counts_as_large(tiny, value, large):
    assert is_large(value) is large


def test_the_real_bounds_leave_ordinary_requests_alone():
    assert not is_large({"messages": [{"role": "user", "content": "x" * 2000}] * 100})
    assert not is_large([1] * 3999) and is_large([1] * 4000)
    assert not is_large("x" * 2**18) and is_large("x" * 2**18 + "x")


def test_no_piece_is_large():
    for value in ([1] * 100_000, [[1] * 5000] * 20, {str(i): [i] for i in range(20_000)}, "x" * 10**6,
                  {"a": [{"b": "x" * 10**6}]}):
        made = list(pieces(value))
        assert "".join(made) == json.dumps(value)
        assert len(made) > 3 and max(map(len, made)) <= 2**18 + 2


@pytest.mark.parametrize("body, thread", [({"a": [1, 2.5, "é"]}, False), ({"a": [1] * 10_000}, True)])
async def test_only_a_large_body_is_encoded_beside_the_event_loop(monkeypatch, body, thread):
    seen = []
    real = json.dumps

    def dumps(*args, **kwargs):
        seen.append(threading.current_thread() is not threading.main_thread())
        return real(*args, **kwargs)

    monkeypatch.setattr(encoding.json, "dumps", dumps)
    assert await encoded(body) == real(body).encode()
    assert set(seen) == {thread}


@pytest.mark.parametrize("value", [float("nan"), float("inf"), [1.0] * 9000 + [float("nan")], {"a": [[float("-inf")]]}])
async def test_what_json_does_not_have_is_refused(value):
    with pytest.raises(JobError, match="NaN or Infinity"):
        await encoded({"x": value})


async def test_large_bodies_are_encoded_one_after_the_other():
    running, most = 0, 0

    def step() -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        done.wait(0.01)
        running -= 1

    done = threading.Event()
    await asyncio.gather(*(encoding.beside(step) for _ in range(5)))
    assert most == 1 and running == 0
