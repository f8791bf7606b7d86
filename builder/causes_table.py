"""The table of what the worker says to do when a server ends, in docs/operations.md; `builder.generate` writes it."""

from __future__ import annotations

import re

from server.causes import CAUSES


def table() -> str:
    """One row for each advice, in the order of the causes; `…` for what a last line fills in."""
    told = dict.fromkeys(re.sub(r"\{\d(!v)?\}", "…", cause.advice) for cause in CAUSES)
    return "\n".join(["", "| What to do: |", "|---|", *(f"| {advice} |" for advice in told), ""])
