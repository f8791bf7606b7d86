"""Whether a `stop_regex` is sure to run quickly, judged by the parsed pattern. Pure.

SGLang searches the end of the answer for the pattern after every token, in the scheduler, with Python's `re`
(managers/schedule_batch.py, _check_str_based_finish): as many tokens as the longest match of any of the request's
patterns has characters, or as its longest stop string has tokens, and one more; the whole answer when a longest match
has no bound (sampling/sampling_params.py, get_max_seq_length). While it searches, nobody gets a token. `re` backtracks,
so what a search can cost is counted here, over the worst text there is.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from re import _compiler, _parser  # type: ignore[attr-defined]
from re import _constants as sre  # type: ignore[attr-defined]
from typing import Any, NamedTuple

from job import runs
from utils import JobError

_LONGEST, _MOST = 256, 32  # bytes of a pattern and patterns of a request that SGLang takes (sampling_params.py)
_STEPS = 500_000  # of one search at worst, by all patterns of a request together: some milliseconds
_ALL_STEPS = 32 * _STEPS  # by all answers of a job together: some tenths of a second
_CHARACTERS = 8  # that one token may stand for
_WHOLE = 1024  # tokens that a search of the whole answer counts for; it takes longer in proportion, and no more
# Of the ranges of all classes of a request together, each class counting for 1,000 more: `re` goes through them one by
# one when it compiles a pattern, which the scheduler does (a tenth of a second for as many, without regard to case).
_IN_CLASSES = 500_000
_ENDLESS = 10**9  # steps or lengths from here on are all the same
_ONE = frozenset((sre.LITERAL, sre.NOT_LITERAL, sre.IN, sre.ANY, sre.CATEGORY, sre.RANGE))
_NAMES = {sre.GROUPREF: "a backreference", sre.GROUPREF_EXISTS: "a condition", sre.ASSERT: "a lookahead or lookbehind",
          sre.ASSERT_NOT: "a lookahead or lookbehind"}
_REMEDY = ("Write it with characters, classes, groups and bounded repeats such as [a-z]{1,20}; a repeat without a "
           "bound may stand after one character and before another, neither of which is in it, as in <[^<>]*>")


# An inline flag or none, one character or class, and a repeat of it without a bound.
_LEADING = re.compile(r"(\(\?[aimsux]+\))?(\\x[0-9a-fA-F]{2}|\\u[0-9a-fA-F]{4}|\\[^\dxu]|\[\^?\]?(?:\\.|[^\]\\])*\]"
                      r"|[^\\\[\](){}^$*+?|])(?:([*+])|\{(\d{1,3}),\})\??", re.DOTALL)


class Cost(NamedTuple):
    """Of an expression, tried at one place of the worst text: `ways` it can match there, all of which `re` may have to
    try; `steps` that it takes to try them; `length`: characters of the longest match as SGLang counts them."""

    ways: int
    steps: int
    length: int


class _Refused(Exception):
    pass


def check(patterns: list[Any], stops: Iterable[str] = (), members: dict[str, int] | None = None) -> int:
    """Raises JobError (400) unless all `stop_regex` patterns of a prompt, which has the stop strings `stops` as well,
    are sure to run quickly, once `reduced`. Returns the steps that they take after every token, see `check_all`.

    members: what is known of the patterns of the job's other prompts, for the same to be added."""
    if len(patterns) > _MOST:
        raise _error(f"holds {len(patterns)} patterns; the limit is {_MOST}.")
    costs, members = [], {} if members is None else members
    for pattern in patterns:
        if not isinstance(pattern, str):
            raise _error("must be a string or a list of strings.")
        if len(pattern.encode("utf-8", "surrogatepass")) > _LONGEST:
            raise _error(f"may have {_LONGEST} bytes a pattern.")
        try:
            parsed = _parser.parse(reduced(pattern))
            items = list(parsed)
            costs.append(_cost(items, parsed.state))
            members[pattern] = _members(items)  # compiled once, however many prompts have it
        except (re.error, RecursionError, OverflowError) as error:
            raise _error(f"{pattern!r} is no regular expression of Python: {error}.") from error
        except _Refused as refused:
            raise _error(f"{pattern!r} has {refused}, which could hold up every other request. {_REMEDY}.") from None
    if sum(members.values()) > _IN_CLASSES:
        raise _error("has classes of so many characters that every other request would wait while it is read. "
                     "Leave out some of them, or shorten their ranges.")
    # Each is searched for in the text that the longest needs.
    longest = max([cost.length for cost in costs] + [len(stop.encode("utf-8", "surrogatepass")) for stop in stops],
                  default=0)
    steps = sum(_steps(cost, longest) for cost in costs)
    if steps > _STEPS:
        raise _error("could take so long on some text that every other request would wait. Shorten its repeats and "
                     "alternatives, or leave out what it begins or ends with: the answer stops where the shorter "
                     "pattern first matches. Beside a `stop` or a pattern that may be found far back, each of them "
                     "looks as far back.")
    return steps


def check_all(steps: float) -> None:
    """Raises JobError (400) when all answers of a job together take more `steps` after a token than others can wait."""
    if steps > _ALL_STEPS:
        raise _error("would be searched for in so many answers at once that every other request would wait. Send fewer "
                     "prompts in one job, or a pattern without `*`, `+` and long repeats.")


def reduced(pattern: str) -> str:
    """A pattern that is found whenever `pattern` is, at the same place of the answer, and searched for in less time:
    "(?:\\d)\\.\\d+" for "\\d+\\.\\d+". What a first repeat takes beyond its least makes no difference to whether the
    rest is found. `pattern` itself where it does not begin with one such repeat.

    The group is there because the engine looks for the pattern as a plain string too, and would cut the answer there
    (sglang: managers/detokenizer_manager.py, trim_matched_stop)."""
    found = _LEADING.match(pattern) if len(pattern) <= _LONGEST else None
    if not found:
        return pattern
    flags, one, sign, least = found.groups("")
    low = int(least) if least else int(sign == "+")
    rest = pattern[found.end():]
    shorter = f"{flags}(?:{one if low == 1 else f'{one}{{{low}}}' if low else ''}){rest}"
    return shorter if not _LEADING.match(rest) and _same_but_first(pattern, shorter, low) else pattern


def _same_but_first(pattern: str, shorter: str, low: int) -> bool:
    """Whether `shorter` is `pattern` with `low` of the character that `pattern` begins with any number of."""
    try:
        (kind, repeat), *rest = list(_parser.parse(pattern))
        items = list(_parser.parse(shorter))
    except (re.error, RecursionError, OverflowError, ValueError):
        return False
    if kind not in (sre.MAX_REPEAT, sre.MIN_REPEAT) or repeat[:2] != (low, sre.MAXREPEAT) or not rest:
        return False
    first = list(repeat[2])
    begin = [] if low == 0 else first if low == 1 else [(sre.MAX_REPEAT, (low, low, repeat[2]))]
    return len(first) == 1 and first[0][0] in _ONE and repr(begin + rest) == repr(items)


def _error(message: str) -> JobError:
    return JobError(f"`stop_regex` {message}", param="stop_regex")


def search_steps(pattern: str) -> int:
    """Steps of one search for `pattern` in the worst text that SGLang may give it."""
    parsed = _parser.parse(pattern)
    cost = _cost(list(parsed), parsed.state)
    return _steps(cost, cost.length)


def _cost(items: list[tuple[Any, Any]], state: Any) -> Cost:
    if separated := _separated(items):
        return separated
    try:
        return _sequence(items, last=True)
    except _Refused:
        steps = runs.steps(items, state, lambda part: _sequence(part, last=False))
        if steps is None:
            raise
        return Cost(1, min(steps, _ENDLESS), _ENDLESS)


def _steps(cost: Cost, longest: int) -> int:
    """Steps of one search in a text that may hold a match of `longest` characters."""
    return min(_ENDLESS, min(longest + 1, _WHOLE) * _CHARACTERS * max(1, cost.steps))


def _members(items: Any) -> int:
    """What the classes in a parsed pattern count for, see _IN_CLASSES."""
    if isinstance(items, tuple) and len(items) == 2 and items[0] is sre.IN:
        spans = [int(value[1] - value[0]) for kind, value in items[1] if kind is sre.RANGE]
        return 1000 + sum(min(span, 2**16) for span in spans)
    if isinstance(items, (list, tuple, _parser.SubPattern)):
        return sum(map(_members, items))
    return 0


def _separated(items: list[tuple[Any, Any]]) -> Cost | None:
    """Of a pattern such as \\n\\s*\\n: one character two or three times, and between them any number of others. Where
    these may be that character too, a run of them in which it stands so often is a match, so it stands less often in
    any other; where not, a run ends at it. Either way there is little to try again, and None for all else."""
    marks, repeats = items[::2], [value for _, value in items[1::2]]
    if len(items) not in (3, 5) or marks[0][0] is not sre.LITERAL or marks != marks[:1] * len(marks):
        return None
    if any(kind not in (sre.MAX_REPEAT, sre.MIN_REPEAT) for kind, _ in items[1::2]) or any(
            (low, high, len(inner)) != (0, sre.MAXREPEAT, 1) or inner[0][0] is not sre.IN
            for low, high, inner in repeats):
        return None
    within = [bool(_compiler.compile(inner).match(chr(marks[0][1]))) for _, _, inner in repeats]
    if any(within) and not (all(within) and repr(repeats) == repr(repeats[:1] * len(repeats))):
        return None
    return Cost(1, 2 ** len(marks), _ENDLESS)


def _sequence(items: list[tuple[Any, Any]], last: bool) -> Cost:
    """One after the other: what follows is tried again for every way in which what stands before it matches."""
    ways, steps, length = 1, 0, 0
    for place, (kind, value) in enumerate(items):
        # What may be left out cannot fail.
        item = _item(kind, value, last and all(_optional(*later) for later in items[place + 1:]))
        steps += ways * item.steps
        ways *= item.ways
        length += item.length
        ways, steps, length = min(ways, _ENDLESS), min(steps, _ENDLESS), min(length, _ENDLESS)
    return Cost(ways, steps, length)


def _optional(kind: Any, value: Any) -> bool:
    return kind in (sre.MAX_REPEAT, sre.MIN_REPEAT) and value[0] == 0


def _item(kind: Any, value: Any, last: bool) -> Cost:
    """`last`: nothing that could fail comes after it, so the first way in which it matches ends the search."""
    if kind is sre.NOT_LITERAL:
        return Cost(1, 1, _ENDLESS)  # SGLang does not know this one, and takes it for endless
    if kind in _ONE:
        return Cost(1, 1, 1)
    if kind is sre.AT:
        return Cost(1, 1, 0)
    if kind is sre.SUBPATTERN:
        return _sequence(list(value[3]), last)
    if kind is sre.BRANCH:
        branches = [_sequence(list(branch), last) for branch in value[1]]
        return Cost(sum(b.ways for b in branches), sum(b.steps + 1 for b in branches), max(b.length for b in branches))
    if kind in (sre.MAX_REPEAT, sre.MIN_REPEAT):
        low, high, body = value
        return _repeat(low, high, body, last)
    raise _Refused(_NAMES.get(kind, "a possessive or atomic part"))


def _repeat(low: int, high: int, items: Any, last: bool) -> Cost:
    inner = _sequence(list(items), False)
    if high is sre.MAXREPEAT:
        # At the end of a pattern nothing can fail after it: it takes what there is, and the search is over.
        if not last or len(items) != 1 or items[0][0] not in _ONE:
            raise _Refused("a repeat without a bound (*, + or {n,}) before its end, or of a group")
        return Cost(1, low + 1, _ENDLESS)
    length = min(_ENDLESS, high * inner.length)
    if len(items) == 1 and items[0][0] in _ONE:
        return Cost(high - low + 1, high + 1, length)
    if inner.ways == 1:
        return Cost(high - low + 1, high * (inner.steps + 1) + 1, length)
    ways = steps = 0
    reached = 1  # ways to match the first n of them
    for n in range(high + 1):
        ways += reached if n >= low else 0
        if n < high:
            steps += reached * (inner.steps + 1)
        reached *= inner.ways
        if steps > _ENDLESS:
            return Cost(_ENDLESS, _ENDLESS, length)
    return Cost(ways, steps + 1, length)
