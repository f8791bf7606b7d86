"""What the Python programs share. Standard library only: a client's environment has nothing of the worker's."""

from __future__ import annotations

import asyncio
import inspect
import json
import os
import sys
import time
from typing import Any

FACTS: dict[str, Any] = json.loads(os.environ["CLIENT_FACTS"])
URL, KEY, MODEL, WAY, KIND = (FACTS[name] for name in ("url", "key", "model", "way", "kind"))
QUESTION, ANSWER = FACTS["question"], FACTS["answer"]
USER = [{"role": "user", "content": QUESTION}]
WEATHER = [{"role": "user", "content": FACTS["weather_prompt"]}]
LONG = [{"role": "user", "content": FACTS["long_prompt"]}]


def same(seen: Any, wanted: Any) -> None:
    """Raises AssertionError that shows both."""
    if seen != wanted:
        raise AssertionError(f"{seen!r} in place of {wanted!r}")


def refused(error: BaseException) -> str:
    """How the client shows a refusal: its own class, and the text that a user sees."""
    return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"


async def _run(functions: dict[str, Any]) -> int:
    failed = 0
    for name, function in functions.items():
        began = time.monotonic()
        try:
            seen = function()
            if inspect.isawaitable(seen):
                seen = await seen
            ok = True
        except Exception as error:
            seen, ok = refused(error), False
            failed += 1
        print(json.dumps({"check": name, "ok": ok, "seen": seen or "", "seconds": round(time.monotonic() - began, 2)}),
              flush=True)
    return failed


def run(*functions: Any) -> None:
    """Run the checks of this kind of server, named as their functions are; the exit status says whether any failed."""
    named = {function.__name__: function for function in functions}
    sys.exit(1 if asyncio.run(_run(named)) else 0)
