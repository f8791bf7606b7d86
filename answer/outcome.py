"""How one attempt to carry a request to the engine ended, and what follows. Pure.

SGLang has one status, 503, for what it refused before it ran and for what it ended by a decision of its own. Only the
former is worth another attempt: the latter was the operator's wish, and would be decided the same way again.
"""

from __future__ import annotations

import dataclasses
import enum
from typing import Any

from utils import JobError


class Outcome(enum.Enum):
    """How an attempt ended."""

    ANSWERED = "the engine answered, or refused for good"
    REFUSED = "the engine had no room, before anything ran"
    UNREACHED = "no connection was made, nothing was carried"
    BROKE = "the connection broke, and the engine lives"
    LOST = "the connection broke because the engine ended"
    ABSENT = "no engine came up in time"
    CLOSING = "the worker is closing"
    LATE = "the engine took longer than it may"


class Step(enum.Enum):
    """What follows: END gives the caller what there is, an answer or the error; AGAIN is another attempt."""

    END = "end"
    AGAIN = "again"


@dataclasses.dataclass(frozen=True)
class End:
    """One attempt's end. `answer`: the JSON value that is the whole answer; a stream was handed over before."""

    outcome: Outcome
    error: JobError | None = None
    answer: dict[str, Any] | list[Any] | None = None


# What follows while nothing of the answer was seen and there is time left. A request whose engine died may have
# killed it: whether it is sent again is for its sender to decide.
FOLLOWS = {
    Outcome.ANSWERED: Step.END,
    Outcome.REFUSED: Step.AGAIN,
    Outcome.UNREACHED: Step.AGAIN,
    Outcome.BROKE: Step.AGAIN,
    Outcome.LOST: Step.END,
    Outcome.ABSENT: Step.END,
    Outcome.CLOSING: Step.END,
    Outcome.LATE: Step.END,
}

# What SGLang 0.5.23 says with status 503 when it ends a request by a decision of its own, by the beginning of the
# text, and where (paths in sglang/srt).
DECISIONS = (
    ("Request waiting timeout reached.", "managers/scheduler.py: _poll_timeout_aborts, SGLANG_REQ_WAITING_TIMEOUT"),
    ("Request running timeout reached.", "managers/scheduler.py: _poll_timeout_aborts, SGLANG_REQ_RUNNING_TIMEOUT"),
    ("The request is aborted by a higher priority request.", "managers/scheduler.py: _abort_on_queued_limit"),
    ("Using priority is disabled for this server.", "managers/scheduler.py: _set_or_validate_priority"),
    ("Retracted under decode memory pressure", "managers/schedule_batch.py: retract_decode"),
    ("External KV cache load failed", "mem_cache/unified_radix_cache.py: finish_external_linker_loads"),
    ("The encoder did not return multimodal embeddings.",
     "managers/tokenizer_manager.py: _reject_missing_dispatched_encoder_embedding"),
    ("Abort in waiting queue", "managers/tokenizer_manager.py: _handle_abort_req, rust_server/server.py: push_abort"),
)
# /v1/messages hides what a 5xx is about when it does not stream (entrypoints/anthropic/serving.py).
_NAMELESS = "Internal server error"


def follows(outcome: Outcome, seen: bool, in_time: bool) -> Step:
    """The next step. seen: something of the answer was handed over, or the request cannot be sent twice; in_time:
    another attempt is in time."""
    return Step.END if seen or not in_time else FOLLOWS[outcome]


def of_error(error: JobError, *, read: bool, decides: bool) -> Outcome:
    """Whether the engine's error is one of load. read: the request only asks for a state, which the error then is;
    decides: the engine was told to end requests by itself, so one that it does not explain may be one of those."""
    if read or error.code not in (429, 503) or error.message.startswith(tuple(text for text, _ in DECISIONS)):
        return Outcome.ANSWERED
    return Outcome.ANSWERED if decides and error.message == _NAMELESS else Outcome.REFUSED
