"""What a job may ask for: size, depth, counts, and token ids that the model has.

Pure. Some inputs are not merely refused by the engine, they end it, and with it every other job
(docs/hostile-input.md lists what was tried). They are refused here, before anything is sent.
"""

from __future__ import annotations

import json
from typing import Any

from settings.limits import Limits
from utils import JobError


def check_input(job_input: Any, limits: Limits) -> None:
    """Raises JobError (400 or 413) when a job's input is nested too deep or too large. Costs a walk, no copy."""
    size, level = 0, [job_input]
    for _ in range(limits.depth + 1):
        below: list[Any] = []
        for value in level:
            if isinstance(value, str):
                # As JSON in UTF-8, escapes aside: exact where it matters, which is a factor, not a byte.
                size += len(value) if value.isascii() else len(value.encode("utf-8", "surrogatepass"))
            elif isinstance(value, dict):
                size += 4 * len(value)
                below.extend(value)
                below.extend(value.values())
            elif isinstance(value, list):
                size += 2 * len(value)
                below.extend(value)
            else:
                size += 4
        if size > limits.input_bytes:
            raise JobError(f"The input is larger than {limits.input_bytes / 1e6:g} MB (MAX_INPUT_MB).",
                           type="request_too_large", param="input", code=413)
        if not below:
            return
        level = below
    raise JobError(f"The input is nested deeper than {limits.depth} levels (MAX_INPUT_DEPTH).", param="input")


class ResultBudget:
    """Counts what one job gives back. RunPod refuses a result over 20 MB, and its sender would never hear of it."""

    def __init__(self, limits: Limits):
        self._limit, self._spent = limits.result_bytes, 0

    def spend(self, output: Any) -> None:
        """Raises JobError 413 once everything given back is over the limit."""
        if isinstance(output, str):
            self._spent += len(output) if output.isascii() else len(output.encode("utf-8", "surrogatepass"))
        else:
            self._spent += len(json.dumps(output, ensure_ascii=False).encode("utf-8", "surrogatepass"))
        if self._spent > self._limit:
            raise JobError(f"The result is larger than {self._limit / 1e6:g} MB (MAX_RESULT_MB), more than RunPod "
                           "delivers: ask for less, or stream a route that is not cumulative.",
                           type="request_too_large", code=413)
