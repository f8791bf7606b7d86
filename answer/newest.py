"""What has to be sent of a native /generate stream, whose events may each repeat the answer so far.

Pure. Whether they do is the server's own setting (--incremental-streaming-output, however it was given), and every
event tells it: SGLang counts the answer's tokens in `meta_info.completion_tokens`, and an event that repeats the
answer holds as many `output_ids`, one that holds only what is new fewer (managers/tokenizer_manager.py,
_handle_batch_output). Nothing is left out before the events have shown that they repeat each other.
"""

from __future__ import annotations

import json
import re
from typing import Any

from answer.streaming import event_data

# The end of an event with an answer, and the index of that answer in a batch, which SGLang puts last
# (managers/tokenizer_manager.py, _stream_batch_responses). Inside a text its quotes would be escaped.
_ANSWER_END = re.compile(rb'(?:"index":\s?(\d+))?\}\s*\Z')
_TAIL = 64  # bytes that hold it
_OF_ONE_STEP = ("hidden_states", "routed_experts", "indexer_topk")  # in meta_info; no later event repeats these


class Newest:
    """An event that a newer one of the same index repeats says nothing any more. And because each is as long as the
    answer, sending one for every few tokens would cost its square: at most `SHARE` times the answer's own bytes are
    sent, so the later events come further apart, each when the answer has grown by its `SHARE`th part.

    repeats: None until the events have shown whether they repeat the answer; False is final, and then every event is
    sent at once.
    """

    SHARE = 64

    def __init__(self) -> None:
        self.repeats: bool | None = None
        self._counts: dict[Any, int] = {}  # tokens that the first answers of each index told of
        self._held: dict[object, bytes] = {}
        self._sizes: dict[object, int] = {}  # of the newest event of each index
        self._sent = 0

    def add(self, events: list[bytes]) -> None:
        """Take in whole events, in order."""
        for event in events:
            if self.repeats is None:
                self._learn(event)
                if self.repeats:  # those that are held may be left out after all
                    held, self._held = list(self._held.values()), {}
                    self.add(held)
            key = self._index(event) if self.repeats else None
            if key is None:
                self._held[object()] = event
                continue
            self._held.pop(key, None)
            self._held[key] = event
            self._sizes[key] = len(event)

    def take(self, everything: bool = False) -> list[bytes]:
        """The events to send now, in order; `everything` that is held back at the stream's end."""
        size = sum(map(len, self._held.values()))
        if self.repeats and not everything and self._sent + size > self.SHARE * sum(self._sizes.values()):
            return []
        events, self._held = list(self._held.values()), {}
        self._sent += size
        return events

    @staticmethod
    def _index(event: bytes) -> bytes | None:
        """Of which answer of a batch this event tells; None when it is no answer: comments, the end, an error."""
        found = _ANSWER_END.search(event, max(0, len(event) - _TAIL))
        return (found[1] or b"") if found and b'"meta_info"' in event else None

    def _learn(self, event: bytes) -> None:
        if b'"meta_info"' not in event:
            return
        try:
            answer = json.loads(event_data(event))
            meta, ids = answer["meta_info"], answer["output_ids"]
            count, held = meta["completion_tokens"], len(ids)
        except (ValueError, RecursionError, KeyError, TypeError):
            self.repeats = False  # in doubt
            return
        index = answer.get("index")
        if not isinstance(ids, list) or not isinstance(count, int) or held != count or any(
                name in meta for name in _OF_ONE_STEP) or not isinstance(index, int | None):
            self.repeats = False
        elif count > self._counts.get(index, count) > 0:  # it holds those that an earlier one told of, and more
            self.repeats = True
        else:
            self._counts[index] = count
