"""What the server's own output says of why it ended.

Pure: lines in, words out. Robust to lines it does not know, which is most of them.
"""

from __future__ import annotations

import re
import string
from collections.abc import Sequence
from typing import Any

from server.causes import CAUSES, STAGES

SCANNED = 2000  # characters of a line that are looked at: causes stand at its beginning, and requests are long
_FRAMES = 120   # lines of a traceback that are looked at
_TRACEBACK = "Traceback (most recent call last)"
_ERROR = re.compile(r"(\w+\.)*(Assertion|Value|Runtime|NotImplemented|Type)Error: ")
_UP = "fired up and ready to roll"


def diagnose(lines: Sequence[str]) -> str | None:
    """One sentence that says what to do about the newest known cause in the server's output, or None."""
    for number in range(len(lines) - 1, -1, -1):
        line = lines[number][:SCANNED]
        traceback: list[str] | None = None
        for cause in CAUSES:
            match = re.search(cause.pattern, line, re.IGNORECASE)
            if match is None:
                continue
            if cause.within:
                traceback = _traceback(lines, number) if traceback is None else traceback
                if not any(re.search(cause.within, frame) for frame in traceback):
                    continue
            return _Filled().format(cause.advice, *(group for group in match.groups() if group))
        if _ERROR.match(line) and (named := _settings_in(line, lines, number)):
            return f"The server refused a setting: check {' and '.join(named)}."
    return None


def last_resort(lines: Sequence[str]) -> str | None:
    """One sentence that says how far a start had come whose cause is not known; None for a server that was up."""
    if any(_UP in line[:SCANNED] for line in lines):
        return None
    for pattern, stage in STAGES:
        for line in reversed(lines):
            if re.search(pattern, line[:SCANNED]):
                return f"The cause is not known here. It ended {stage}; the last that it said of this was: " \
                       f"{line[:SCANNED].strip()[:200]}"
    return None


class _Filled(string.Formatter):
    """{0!v}: a flag as its variable."""

    def convert_field(self, value: Any, conversion: Any) -> Any:
        return _variable(str(value)) if conversion == "v" else value


def _variable(flag: str) -> str:
    return flag.lstrip("-").replace("-", "_").upper()


def _traceback(lines: Sequence[str], number: int) -> list[str]:
    """The lines of the traceback that ends with `lines[number]`; none where that is no error's line."""
    frames: list[str] = []
    for line in reversed(lines[max(0, number - _FRAMES):number]):
        frames.append(line[:SCANNED])
        if _TRACEBACK in line[:SCANNED]:
            break
    return frames


def _settings_in(line: str, lines: Sequence[str], number: int) -> list[str]:
    """The variables of the flags that an error's line names: spelled as flags, or, in SGLang's checks of its own
    arguments, as the words of its code."""
    names = re.findall(r"(?<![\w-])--[a-z][a-z0-9]*(?:-[a-z0-9]+)*", line)
    if not names and any("arg_groups/" in frame or "server_args.py" in frame for frame in _traceback(lines, number)):
        # What stands in quotes is a value.
        names = re.findall(r"\b[a-z]+(?:_[a-z0-9]+)+\b", re.sub(r"'[^']*'", "", line))
    return list(dict.fromkeys(map(_variable, names)))[:3]
