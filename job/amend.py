"""What clients mean and the engine does not take, said so that it does: nothing here changes an answer.

Pure: the body that was planned is left as it is. Seen with OpenAI's and vLLM's clients; what SGLang 0.5.23 makes of
each stands in docs/hostile-input.md.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from job import patterns, shape
from job.hazards import largest_id, number
from job.model import ModelFacts


def amended(path: str, body: dict[str, Any]) -> dict[str, Any]:
    """`body` as the engine takes it: with a bias in numbers, also where a client wrote them as strings; greedy where
    `top_p` is 0, and without a limit where `top_k` is 0, neither of which SGLang takes; with a `stop_regex` that begins
    with the least of its first repeat, which stops at the same place; without the empty text beside a picture."""
    body = _each_params(path, body, _sampling)
    if path == "/v1/embeddings" and shape.of(path, body).kind == "parts":
        body["input"] = [_part(entry) for entry in body["input"]]
    return body


def without_unknown_stops(path: str, body: dict[str, Any], facts: ModelFacts) -> dict[str, Any]:
    """`body` without the `stop_token_ids` that the model does not have: it cannot stop at them, and they can end the
    engine. What is no whole number stays, to be refused by name."""
    top = largest_id(facts)

    def known(params: dict[str, Any]) -> dict[str, Any]:
        ids = params.get("stop_token_ids")
        if not isinstance(ids, list):
            return params
        read = [int(one) if isinstance(one, str) and re.fullmatch(r"[+-]?\d{1,40}", one) else one for one in ids]
        return {**params, "stop_token_ids": [one for one in read if type(one) is not int or 0 <= one <= top]}

    return _each_params(path, body, known)


def _each_params(path: str, body: dict[str, Any], change: Callable[[dict[str, Any]], dict[str, Any]]) -> dict[str, Any]:
    """A copy in which the body and its sampling_params, or each of a list of them, are changed. The body of a route
    that is not known here is its sender's own."""
    if not shape.known(path):
        return body
    body = dict(change(body))
    params = body.get("sampling_params")
    if isinstance(params, dict):
        body["sampling_params"] = change(params)
    elif isinstance(params, list):
        body["sampling_params"] = [change(one) if isinstance(one, dict) else one for one in params]
    return body


def _sampling(params: dict[str, Any]) -> dict[str, Any]:
    changed = dict(params)
    if isinstance(params.get("logit_bias"), dict):
        changed["logit_bias"] = {token: _number(value) for token, value in params["logit_bias"].items()}
    if number(params.get("top_p")) == 0:
        del changed["top_p"]
        changed["top_k"] = 1
    elif number(params.get("top_k")) == 0:
        changed["top_k"] = -1
    regex = params.get("stop_regex")
    if isinstance(regex, str):
        changed["stop_regex"] = patterns.reduced(regex)
    elif isinstance(regex, list):
        changed["stop_regex"] = [patterns.reduced(one) if isinstance(one, str) else one for one in regex]
    return changed


def _number(value: Any) -> Any:
    """A bias in a string, as a number; anything else as it is."""
    found = number(value) if isinstance(value, str) else None
    return value if found is None else found


def _part(entry: Any) -> Any:
    """An input of embeddings without an empty text, which would be a prompt of no tokens: null is none."""
    if isinstance(entry, dict) and entry.get("text") == "":
        return {name: value for name, value in entry.items() if name != "text"}
    return entry
