"""How chunks are paced, and what of a block of events is sent."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from answer import relay
from answer.newest import Newest
from answer.told import Told

DETERMINED = settings(max_examples=200, deadline=None, derandomize=True)


# --- chunks -------------------------------------------------------------------------------------------------------

def cumulative(text, index=None, finish=None):
    body = {"text": text, "output_ids": list(range(len(text))),
            "meta_info": {"finish_reason": finish, "completion_tokens": len(text)}}
    if index is not None:
        body["index"] = index
    return b"data: " + json.dumps(body).encode() + b"\n\n"


DONE = b"data: [DONE]\n\n"


def sent(block, newest=None, last=False, limit=10**6):
    """Pairs of a text and None, or "" and the message of the failure that ended them."""
    return [("", one.message) if isinstance(one, Told) else (one, None)
            for one in relay.chunks(block, newest, last, limit, "/generate", 200)]


def test_a_block_goes_as_it_is():
    assert sent("data: é\n\ndata: b\n\n".encode()) == [("data: é\n\ndata: b\n\n", None)]
    assert sent(b"") == []
    assert sent(b"data: aa\n\ndata: bb\n\n", limit=12) == [("data: aa\n\n", None), ("data: bb\n\n", None)]


def test_what_follows_a_failure_is_not_sent():
    failing = b'data: {"error": {"message": "no"}}\n\n'
    assert sent(b"data: a\n\n" + failing + DONE) == [("data: a\n\n", None), ("", "no")]
    held = Newest()
    assert sent(cumulative("a") + cumulative("ab") + failing, held) == [
        (cumulative("ab").decode(), None), ("", "no")]


def test_only_the_newest_of_each_index_is_sent():
    newest = Newest()
    block = b"".join([cumulative("a", 0), cumulative("x", 1), cumulative("ab", 0), cumulative("abc", 0)])
    assert sent(block, newest) == [((cumulative("x", 1) + cumulative("abc", 0)).decode(), None)]
    assert sent(cumulative("xy", 1) + DONE, newest, last=True) == [((cumulative("xy", 1) + DONE).decode(), None)]


def test_text_that_looks_like_an_index_is_none():
    first, second = cumulative('","index":1}'), cumulative('","index":1}","meta_info":{"index":2}')
    assert sent(first + second, Newest()) == [(second.decode(), None)]


@pytest.mark.parametrize("per_read", [1, 3, 7])
def test_what_is_sent_grows_with_the_answer_and_not_with_its_square(per_read):
    sizes = {}
    for tokens in (1000, 2000, 4000):
        newest, total = Newest(), 0
        for n in range(per_read, tokens + 1, per_read):
            last = n + per_read > tokens
            block = cumulative("x" * n, finish="stop" if last else None) + (DONE if last else b"")
            texts = sent(block, newest, last)
            total += sum(len(text) for text, _ in texts)
            assert not last or texts[-1][0].endswith(block.decode())
        assert total <= (Newest.SHARE + 1) * len(cumulative("x" * tokens)) + 100
        sizes[tokens] = total
    assert sizes[4000] <= 2.3 * sizes[2000] <= 2.3 * 2.3 * sizes[1000]


@DETERMINED
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(1, 30)), max_size=40), st.integers(1, 7))
def test_the_last_of_every_index_arrives_and_none_goes_back(steps, per_read):
    newest, texts, events, seen = Newest(), {}, [], {}
    for index, more in steps:
        texts[index] = texts.get(index, "") + "x" * more
        events.append(cumulative(texts[index], index))
    events.append(DONE)
    for start in range(0, len(events), per_read):
        last = start + per_read >= len(events)
        for text, failed in sent(b"".join(events[start:start + per_read]), newest, last):
            assert failed is None
            for line in text.split("\n\n")[:-1]:
                if line != "data: [DONE]":
                    event = json.loads(line[6:])
                    assert len(event["text"]) > seen.get(event["index"], 0)
                    seen[event["index"]] = len(event["text"])
    assert seen == {index: len(text) for index, text in texts.items()}
    assert text.endswith(DONE.decode())


# --- events that only tell what is new ------------------------------------------------------------------------------

def delta(text, total, index=None, ids=None, **meta):
    body = {"text": text, "output_ids": list(range(len(text))) if ids is None else ids,
            "meta_info": {"completion_tokens": total, **meta}}
    return b"data: " + json.dumps(body if index is None else {**body, "index": index}).encode() + b"\n\n"


def all_sent(events, per_read):
    newest, out = Newest(), []
    for start in range(0, len(events), per_read):
        block = b"".join(events[start:start + per_read])
        out += [text for text, _ in sent(block, newest, start + per_read >= len(events))]
    return "".join(out).encode()


@DETERMINED
@given(st.lists(st.tuples(st.integers(0, 2), st.sampled_from(["", "a", "a", "aa", "é"])), max_size=40),
       st.integers(1, 9), st.booleans())
def test_no_delta_is_left_out(steps, per_read, batch):
    totals, events = {}, []
    for index, text in steps:
        index = index if batch else 0
        totals[index] = totals.get(index, 0) + len(text)
        events.append(delta(text, totals[index], index if batch else None))
    assert all_sent([*events, DONE], per_read) == b"".join([*events, DONE])


@pytest.mark.parametrize("per_read", [1, 2, 9])
@pytest.mark.parametrize("events", [
    # the first has no text yet: every later one begins with it, and tells only what is new
    [delta("", 0), delta("a", 1), delta("aa", 3), delta("a", 4)],
    # equal pieces, and pieces that begin as the one before
    [delta("ha", 2), delta("ha", 4), delta("haha", 8)],
    # a stop of the engine's own tells the whole text and the last id (tokenizer_manager.py, _handle_abort_req)
    [delta("ab", 2), delta("cd", 4), delta("abcd", 4, ids=[9], finish_reason={"type": "abort"})],
    # nothing that tells which of the two they are
    [b'data: {"text": "a", "meta_info": {}}\n\n', b'data: {"text": "ab", "meta_info": {}}\n\n'],
    [b'data: {"output_ids": [1], "meta_info": {"id": 1}}\n\n', b'data: {"output_ids": [2], "meta_info": 5}\n\n'],
    [delta("a", "1"), delta("ab", "2"), delta("abc", None)],
    [b'data: {"text": "a", "output_ids": 1, "meta_info": {"completion_tokens": 1}}\n\n'] * 2,
    # what belongs to one step
    [delta("a", 1, hidden_states=[[1]]), delta("ab", 2, hidden_states=[[2]]), delta("abc", 3, hidden_states=[[3]])],
    # equal comments
    [b": ping\n\n"] * 3,
])
def test_in_doubt_all_is_sent(events, per_read):
    assert all_sent([*events, DONE], per_read) == b"".join([*events, DONE])


def test_comments_and_the_end_are_kept_beside_what_repeats_itself():
    events = [cumulative("a"), b": ping\n\n", cumulative("ab"), b": ping\n\n", cumulative("abc"), DONE]
    assert all_sent(events, 9) == b"".join([events[1], events[3], events[4], DONE])
