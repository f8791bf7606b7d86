"""The ids by which the engine knows a request, and by which it is told to stop it.

Pure.
"""

from __future__ import annotations

from typing import Any

from job import shape

_SAFE_RID = 16  # characters; a caller's shorter id may well be the beginning of another job's
# Generating routes make a batch's ids of the one that is given; these want a list (sglang: EmbeddingReqInput).
_NO_PREFIX = ("/v1/embeddings", "/v1/classify", "/encode", "/classify")


def given(path: str, field: str, body: dict[str, Any], job_id: str) -> tuple[str, ...]:
    """Give the request the job's id, unless it brings its own. Returns the ids to abort it by, none if that is unsafe.
    """
    own = body.get(field) is None
    if own:
        # The id of a response is also what the client asks for it by; theirs begin so.
        body[field] = job_id if field == "rid" else f"resp_{job_id}"
    rid = body[field]
    if body.get("background") is True:  # it is to go on when the job is over
        return ()
    # The scheduler aborts every request whose id begins with the one it is given.
    if not isinstance(rid, str) or not own and rid != job_id and len(rid) < _SAFE_RID:
        return ()
    if field != "rid":
        return (rid,)  # one answer, whatever its `input` is a list of
    prompts = shape.of(path, body)
    if not prompts.listed:
        return (rid,)
    names = tuple(f"{rid}_{i}" for i in range(prompts.count))
    if own and path in _NO_PREFIX:
        body["rid"] = list(names)
    return names
