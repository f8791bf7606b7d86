"""What a job may ask for, in numbers; job/limits.py and job/hazards.py hold jobs to it. Pure."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True)
class Limits:
    """input_bytes: of a job's input as JSON without spaces; depth: of nested lists and objects; batch: prompts in a job
    times answers to each, twice as many where nothing is generated; result_bytes: of everything a job gives back, as
    JSON; grammar_bytes: of a regular expression, schema or grammar."""

    input_bytes: int = 20_000_000
    depth: int = 100
    batch: int = 1024
    result_bytes: int = 19_000_000
    grammar_bytes: int = 65_536
