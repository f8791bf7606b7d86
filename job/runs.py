"""Whether a pattern with repeats that have no bound takes a time in proportion to the text all the same. Pure.

The shape is a beginning, and then runs of other characters with something fixed between
them: "Answer:\\s*[A-D]", "\\n\\d+\\.", '"[^"]*"'. Two things hold in it, and are proved here from the parsed pattern:

- What a run must end at is no character of the run, so it can only end where it ends: giving characters back, one after
  the other, fails at once at each of them.
- A character that the beginning must have is none of a run, so that it does not stand inside a run that was read from
  another place: a character of the text is read in one run, and again only for each place that the beginning has after
  that character and for each fixed one between the runs.
"""

from __future__ import annotations

from collections.abc import Callable
from re import _compiler, _parser  # type: ignore[attr-defined]
from re import _constants as sre  # type: ignore[attr-defined]
from typing import Any

Items = list[tuple[Any, Any]]

_REPEATS = (sre.MAX_REPEAT, sre.MIN_REPEAT)
_CLASSES = (sre.LITERAL, sre.NOT_LITERAL, sre.IN)
_ENUMERATED = 4096  # characters of a class that are compared one by one
# Categories that have no character in common.
_APART = {frozenset(pair) for pair in (
    (sre.CATEGORY_SPACE, sre.CATEGORY_DIGIT), (sre.CATEGORY_SPACE, sre.CATEGORY_WORD),
    (sre.CATEGORY_SPACE, sre.CATEGORY_NOT_SPACE), (sre.CATEGORY_DIGIT, sre.CATEGORY_NOT_DIGIT),
    (sre.CATEGORY_WORD, sre.CATEGORY_NOT_WORD), (sre.CATEGORY_DIGIT, sre.CATEGORY_NOT_WORD))}


def steps(items: Items, state: Any, bounded: Callable[[Items], tuple[int, int, int]]) -> int | None:
    """Steps for each character of a text in which a parsed pattern, `items`, is searched for; None where the proof does
    not hold. `bounded` says of a part without such repeats in how many ways it matches, in how many steps, and how many
    characters at most."""
    items = _opened(items)
    places = [place for place, item in enumerate(items) if _is_run(item)]
    if not places or places[0] == 0:
        return None
    begin, runs = items[:places[0]], [items[place][1][2][0] for place in places]
    marks = [place for place, item in enumerate(begin)
             if item[0] in _CLASSES and all(_apart(item, run, state) for run in runs)]
    if not marks:
        return None
    total, again = 0, 1 + bounded(begin[marks[-1] + 1:])[2]
    for number, place in enumerate(places):
        end = places[number + 1] if number + 1 < len(places) else len(items)
        between = items[place + 1:end]
        follower = _first(items[place + 1:])
        if follower is None or follower is not _END and not _apart(follower, runs[number], state):
            return None
        ways, cost, length = bounded(between)
        if ways > 1 and end < len(items):
            return None
        total += 2 + cost
        again += length
    ways, cost, _ = bounded(begin)
    return cost + again * ways * total


_END = (sre.AT, None)


def _opened(items: Items) -> Items:
    """Without the groups that are written once and change nothing."""
    opened: Items = []
    for kind, value in items:
        if kind is sre.SUBPATTERN and not value[1] and not value[2]:
            opened += _opened(list(value[3]))
        else:
            opened.append((kind, value))
    return opened


def _is_run(item: tuple[Any, Any]) -> bool:
    kind, value = item
    return kind in _REPEATS and value[1] is sre.MAXREPEAT and len(value[2]) == 1 and value[2][0][0] in _CLASSES


def _first(rest: Items) -> tuple[Any, Any] | None:
    """The character that must come first in what follows a run; _END for the end of the pattern or of the text."""
    if not rest:
        return _END
    kind, value = rest[0]
    if kind in _CLASSES:
        return rest[0]
    if kind in _REPEATS and value[0] > 0 and value[2][0][0] in _CLASSES:
        first: tuple[Any, Any] = value[2][0]
        return first
    return _END if kind is sre.AT and len(rest) == 1 else None


def _apart(one: tuple[Any, Any], other: tuple[Any, Any], state: Any) -> bool:
    """Whether two classes have no character in common, as the pattern's flags have it. False where that is unknown."""
    for first, second in ((one, other), (other, one)):
        members = _members(first)
        if members is not None:
            compiled = _compiler.compile(_parser.SubPattern(state, [second]))
            return not any(compiled.match(form) for member in members for form in _forms(member))
    if one[0] is not sre.IN or other[0] is not sre.IN or (sre.NEGATE, None) in (*one[1], *other[1]):
        return False
    if len(one[1]) > 1 or len(other[1]) > 1:
        return all(_apart((sre.IN, [a]), (sre.IN, [b]), state) for a in one[1] for b in other[1])
    (kind, name), (other_kind, other_name) = one[1][0], other[1][0]
    return kind is other_kind is sre.CATEGORY and frozenset((name, other_name)) in _APART


def _members(item: tuple[Any, Any]) -> list[int] | None:
    """The characters of a class, where they are few enough to be told."""
    kind, value = item
    if kind is sre.LITERAL:
        return [value]
    if kind is not sre.IN or not all(entry[0] in (sre.LITERAL, sre.RANGE) for entry in value):
        return None
    ranges = [(entry[1], entry[1]) if entry[0] is sre.LITERAL else entry[1] for entry in value]
    if sum(high - low + 1 for low, high in ranges) > _ENUMERATED:
        return None
    return [code for low, high in ranges for code in range(low, high + 1)]


def _forms(code: int) -> set[str]:
    """A character in both cases: the pattern may not tell them apart."""
    character = chr(code)
    forms = {character, character.lower(), character.upper(), character.casefold(), character.swapcase()}
    return {form for form in forms if len(form) == 1} | {
        "\u212a" for form in forms if form in "kK"} | {"\u017f" for form in forms if form in "sS"}
