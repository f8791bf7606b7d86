"""A request as JSON, in pieces: whoever encodes a large one at once holds up every stream of the worker meanwhile."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import Any, TypeVar

from utils import JobError

_T = TypeVar("_T")
_THREAD = ThreadPoolExecutor(1, "large")
_NODES, _CHARACTERS = 4000, 2**18  # what takes a few milliseconds
_BUNCH = 256  # entries of a large list or object that are looked at together


def is_large(value: Any) -> bool:
    """Whether a JSON value has so many parts, or so much text, that going through it takes more than milliseconds."""
    nodes, characters, stack = 0, 0, [iter((value,))]
    while stack:
        for entry in stack[-1]:
            nodes += 1
            if isinstance(entry, str):
                characters += len(entry)
            elif isinstance(entry, dict):
                characters += sum(map(len, islice(entry, _NODES)))
                stack.append(iter(entry.values()))
            elif isinstance(entry, list):
                stack.append(iter(entry))
            if nodes > _NODES or characters > _CHARACTERS:
                return True
            if isinstance(entry, (dict, list)):
                break
        else:
            stack.pop()
    return False


async def beside(call: Callable[[], _T]) -> _T:
    """What `call` returns or raises, from a thread that gives way to the event loop every few milliseconds, as long as
    no single step of it takes longer. There is one such thread: of several the loop would wait for each."""
    return await asyncio.get_running_loop().run_in_executor(_THREAD, call)


async def encoded(body: Any) -> bytes:
    """`body` as JSON. Raises JobError for NaN and Infinity, which JSON does not have.

    A large one is encoded beside the event loop, a small one at once.
    """
    try:
        if not is_large(body):
            return json.dumps(body, allow_nan=False).encode()
        return await beside(lambda: "".join(pieces(body)).encode())
    except ValueError as error:
        raise JobError("The input holds NaN or Infinity, which JSON does not have.") from error


def pieces(value: Any) -> Iterator[str]:
    """The JSON of a value, cut so that none of its pieces takes long to make."""
    if isinstance(value, str):
        yield '"'
        for start in range(0, len(value), _CHARACTERS):
            yield json.dumps(value[start:start + _CHARACTERS])[1:-1]
        yield '"'
    elif isinstance(value, (list, dict)) and is_large(value):
        yield "[" if isinstance(value, list) else "{"
        entries: Iterator[Any] = iter(value if isinstance(value, list) else value.items())
        first = True
        while bunch := list(islice(entries, _BUNCH)):
            if not first:
                yield ", "
            first = False
            whole = bunch if isinstance(value, list) else dict(bunch)
            yield from _inside(whole, isinstance(value, dict))
        yield "]" if isinstance(value, list) else "}"
    else:
        yield json.dumps(value, allow_nan=False)


def _inside(bunch: list[Any] | dict[str, Any], named: bool) -> Iterator[str]:
    """The JSON of some entries, without the brackets around them."""
    if not is_large(bunch):
        yield json.dumps(bunch, allow_nan=False)[1:-1]
        return
    for number, entry in enumerate(bunch.items() if isinstance(bunch, dict) else bunch):
        if number:
            yield ", "
        if named:
            yield from pieces(entry[0])
            yield ": "
            entry = entry[1]
        yield from pieces(entry)
