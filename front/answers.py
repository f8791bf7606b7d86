"""What every front is handed: a function that answers one job."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from typing import Any

# A job, {"id": …, "input": …}, to text chunks of whole events or one JSON value; last, when it fails, an error.
Handle = Callable[[dict[str, Any]], AsyncGenerator[Any, None]]


def is_error(output: Any) -> bool:
    """Whether an output is the failure of its job: {"error": JSON text} and nothing else."""
    return isinstance(output, dict) and set(output) == {"error"}
