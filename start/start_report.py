"""The start in phases: read from the server's own lines, told in one line, as JSON, as a table or as a picture.

    python -m start.start_report LOG > start.svg      a worker's log, or a log of SGLang itself, as a picture
    python -m start.start_report --text LOG           the same as a table

Pure: lines and times in, words out. A line that a later SGLang words differently only makes one phase disappear.
Times are in seconds; where they are counted from is the caller's choice.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from server.diagnosis import SCANNED

PREFIX = "start report "


class Span(NamedTuple):
    """A phase: seconds at which it began and ended. `meanwhile`: it ran beside the server's start."""

    name: str
    start: float
    end: float
    meanwhile: bool = False


class _Mark(NamedTuple):
    name: str
    begins: re.Pattern[str] | None  # None: it begins where the phase before it ended
    ends: re.Pattern[str]


def _mark(name: str, begins: str | None, ends: str) -> _Mark:
    return _Mark(name, re.compile(begins, re.IGNORECASE) if begins else None, re.compile(ends, re.IGNORECASE))


# SGLang's lines, of 0.5.23 and as 0.4 and 0.5.16 had them: entrypoints/engine.py (server_args), entrypoints/
# http_server.py (fired up), distributed/bootstrap.py ("Init parallel", before that model_runner.py's "Init torch
# distributed"), model_executor/model_runner.py (weights), mem_cache/kv_cache_configurator.py (memory pool; "KV Cache is
# allocated" is each pool's own), model_runner_components/cuda_graph_setup.py (graphs: "target prefill", "draft decode",
# "target verify"; older: "Capture cuda graph", "Capture piecewise CUDA graph"), runner/flashinfer_autotune.py; the
# hub's and the loader's progress bars; uvicorn.
_INIT = r"Init (torch distributed|parallel) begin"
_PREFILL = r"(prefill|piecewise)"
MARKS = (
    _mark("server imports", None, rf"server_args=|Load weight begin|{_INIT}"),
    _mark("scheduler imports", None, _INIT),
    _mark("distributed init", _INIT, r"Load weight begin"),
    _mark("download", r"Fetching \d+ files:\s+0%|Start(ing|ed)? download", r"Loading .*shards|Load weight end"),
    _mark("weights", r"Load weight begin", r"Load weight end"),
    _mark("kv cache", None, r"KV Cache is allocated|Memory pool end"),
    _mark("autotune", r"Running FlashInfer autotune", r"FlashInfer autotune completed"),
    _mark("prefill graphs", rf"Capture .*{_PREFILL}.* graph begin", rf"Capture .*{_PREFILL}.* graph end"),
    _mark("decode graphs", rf"Capture (?!.*{_PREFILL}).*graph begin", rf"Capture (?!.*{_PREFILL}).*graph end"),
    _mark("server", None, r"Uvicorn running on|Application startup complete"),
    _mark("server warm-up", None, r"fired up and ready to roll"),
)
_POSITIONS = {mark.name: position for position, mark in enumerate(MARKS)}
# Ended by lines that have other meanings too, so an end alone says nothing.
_BEGUN = {"distributed init", "download"}


class _Open:
    """A phase that announces its beginning: when the first rank began it, and how many began and ended it."""

    def __init__(self, start: float):
        self.start, self.begun, self.ended, self.span = start, 1, 0, -1


class Timeline:
    """The server's phases, from its lines as they come.

    Ranks of one server each print a line: a phase that several have open at once is one span, from the first beginning
    to the last end. A phase that comes again later (a draft model's weights) is a second span of the same name.
    """

    def __init__(self) -> None:
        self.spans: list[Span] = []
        self._open: dict[str, _Open] = {}
        self._reached, self._last = -1, 0.0  # position in MARKS, and when the newest phase ended

    def feed(self, line: str, at: float) -> bool:
        """Take one line, printed at `at`. True when it says that the server is ready; later lines are not looked at."""
        if self._reached == len(MARKS) - 1:
            return False
        head, chained, last = line[:SCANNED], False, self._last
        for position, mark in enumerate(MARKS):
            phase = self._open.get(mark.name)
            if mark.begins and mark.begins.search(head):
                if phase and phase.ended < phase.begun:
                    phase.begun += 1
                else:
                    self._open[mark.name] = _Open(at)
            elif not mark.ends.search(head):
                continue
            elif phase:
                self._end(phase, mark.name, at)
                self._reached = max(self._reached, position)
            elif position > self._reached and not chained and mark.name not in _BEGUN:
                self.spans.append(Span(mark.name, last, at))
                self._reached, self._last, chained = position, at, True
        return self._reached == len(MARKS) - 1

    def running(self) -> list[tuple[str, float]]:
        """(name, beginning) of what has begun and not ended; of what the server is at by the order of its start where
        no line announced a beginning. Empty once it is ready. May be called beside `feed`, from another thread."""
        if self._reached == len(MARKS) - 1:
            return []
        if begun := [(name, phase.start) for name, phase in dict(self._open).items() if phase.ended < phase.begun]:
            return begun
        return [(mark.name, self._last) for mark in MARKS[self._reached + 1:] if mark.begins is None][:1]

    def begun(self, name: str) -> bool:
        """Whether a phase that announces its beginning has begun, or a later one has ended."""
        return name in self._open or self._reached > _POSITIONS[name]

    def over(self, name: str) -> bool:
        """Whether it has ended, for all ranks that began it, or a later one has and no rank told of an end of this.

        A replica may be far beyond what another is still at.
        """
        phase = self._open.get(name)
        if phase and (phase.ended or self._reached <= _POSITIONS[name]) and self._reached < len(MARKS) - 1:
            return phase.begun <= phase.ended
        return self._reached >= _POSITIONS[name]

    def _end(self, phase: _Open, name: str, at: float) -> None:
        if phase.ended == phase.begun:
            return
        phase.ended += 1
        if phase.span < 0:
            phase.span = len(self.spans)
            self.spans.append(Span(name, phase.start, at))
        self.spans[phase.span] = Span(name, phase.start, at)
        self._last = max(self._last, at)


def sentence(ready_after: float, spans: Sequence[Span], before: Sequence[Span] = ()) -> str:
    """One line: how long the start took and each phase; spans of one name are added up."""
    seconds: dict[str, float] = {}
    for span in [*before, *spans]:
        name = f"{span.name} (meanwhile)" if span.meanwhile else span.name
        seconds[name] = seconds.get(name, 0.0) + span.end - span.start
    seconds["readiness"] = max(0.0, ready_after - max([0.0, *(span.end for span in spans)]))
    return f"engine ready after {ready_after:.1f} s: " + ", ".join(f"{k} {v:.1f}" for k, v in seconds.items())


def report(spans: Iterable[Span], running: Sequence[tuple[str, float]] = (), now: float = 0.0) -> dict[str, Any]:
    """{"total_s", "phases": [{"name", "start_s", "end_s"}, …]}, counted from the first beginning.

    "meanwhile": true marks what ran beside the server. `running`: (name, beginning) of what has not ended at `now`:
    these come last, without an "end_s", and "total_s" is the time so far.
    """
    spans = sorted(spans, key=lambda span: (span.start, span.end))
    zero = min((start for start in [*(span.start for span in spans), *(start for _, start in running)]), default=0.0)
    phases: list[dict[str, Any]] = [
        {"name": span.name, "start_s": round(span.start - zero, 3), "end_s": round(span.end - zero, 3)}
        | ({"meanwhile": True} if span.meanwhile else {}) for span in spans]
    phases += [{"name": name, "start_s": round(start - zero, 3)} for name, start in running]
    total = max((round(end - zero, 3) for end in [*(span.end for span in spans), *([now] if running else [])]),
                default=0.0)
    return {"total_s": total, "phases": phases}


def structured(spans: Iterable[Span], facts: Mapping[str, Any] | None = None) -> str:
    """The report, with `facts` beside its phases, as one line: PREFIX and JSON."""
    return PREFIX + json.dumps({**report(spans), **(facts or {})})


def read(lines: Iterable[str]) -> list[Span]:
    """The spans of the newest structured report in a worker's log; else those that SGLang's own lines tell.

    Raises ValueError when there is neither.
    """
    found: list[Span] = []
    timeline, zero = Timeline(), None
    for line in lines:
        if PREFIX in line:
            found = _parsed(line) or found
        elif told := re.match(r"\[(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d)", line):
            at = datetime.fromisoformat(told[1]).timestamp()
            zero = at if zero is None else zero
            timeline.feed(line, at - zero)
        elif zero is not None:  # lines without a time of their own follow one that has
            timeline.feed(line, at - zero)
    if not (found := found or timeline.spans):
        raise ValueError("no start report and no line of a server's start")
    return found


def _parsed(line: str) -> list[Span]:
    # On the platform each line is JSON itself, with the text under "message".
    if line.lstrip().startswith("{"):
        try:
            line = json.loads(line)["message"]
        except (ValueError, KeyError, TypeError):
            return []
    try:
        report = json.JSONDecoder().raw_decode(line[line.index(PREFIX) + len(PREFIX):])[0]
        return [Span(str(phase["name"]), float(phase["start_s"]), float(phase["end_s"]),
                     bool(phase.get("meanwhile"))) for phase in report["phases"]]
    except (ValueError, KeyError, TypeError, AttributeError):
        return []


def table(spans: Sequence[Span], width: int = 50) -> str:
    """The phases as lines of text, each with a bar `width` characters wide at most."""
    zero, total = _extent(spans)
    lines = [f"{'phase':<28} {'from':>8} {'to':>8} {'seconds':>8}"]
    for span in sorted(spans, key=lambda span: (span.start, span.end)):
        left = round((span.start - zero) / total * width)
        bar = ("-" if span.meanwhile else "#") * max(1, round((span.end - span.start) / total * width))
        lines.append(f"{span.name:<28} {span.start - zero:8.1f} {span.end - zero:8.1f} {span.end - span.start:8.1f}  "
                     f"{' ' * left}{bar}")
    return "\n".join([*lines, f"{'total':<28} {'':8} {total:8.1f}"])


def _extent(spans: Sequence[Span]) -> tuple[float, float]:
    zero = min(span.start for span in spans)
    return zero, max(0.001, max(span.end for span in spans) - zero)


def main(arguments: list[str] | None = None) -> int:
    from start.waterfall import svg

    options = argparse.ArgumentParser(prog="python -m start.start_report", description=__doc__.split("\n")[0])
    options.add_argument("log", help="a worker's log, or one of SGLang; - for standard input")
    options.add_argument("--text", action="store_true", help="a table in place of an SVG picture")
    chosen = options.parse_args(arguments)
    try:
        if chosen.log == "-":
            spans = read(sys.stdin)
        else:
            with open(chosen.log, encoding="utf-8", errors="replace") as f:
                spans = read(f)
    except (OSError, ValueError) as error:
        print(f"{chosen.log}: {error}", file=sys.stderr)
        return 1
    print(table(spans) if chosen.text else svg(spans))
    return 0


if __name__ == "__main__":
    sys.exit(main())
