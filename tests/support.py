"""Helpers of several test suites: free ports, and a scripted engine to talk to."""

from __future__ import annotations

import asyncio
import inspect
import json
import os
import sys
import urllib.parse
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

from engine import Engine
from local.ports import free_port  # noqa: F401  whoever needs one has it from here

ROOT = Path(__file__).resolve().parent.parent
LAUNCH = f"{sys.executable} -m local.scripted_engine"


def say(script: dict, text: str = "") -> list[dict]:
    """Chat messages that make the scripted engine treat the request as `script` says."""
    return [{"role": "user", "content": f"{text}#script {json.dumps(script)}"}]


async def until(look: Callable[[], Any], within: float = 60.0) -> Any:
    """What `look` gives, awaited where it has to be, as soon as that is true. TimeoutError after `within` seconds."""
    async with asyncio.timeout(within):
        while True:
            found = look()
            if found := await found if inspect.isawaitable(found) else found:
                return found
            await asyncio.sleep(0.02)


class Scripted:
    """A running scripted engine: `url`, `engine`, and what it has seen."""

    def __init__(self, *flags: str, life: dict | None = None):
        port = free_port()
        command = [*LAUNCH.split(), "--port", str(port), "--served-model-name", "tiny", *flags]
        environ = {**os.environ, "PYTHONPATH": str(ROOT), "SCRIPTED_ENGINE_LIFE": json.dumps(life or {})}
        key = flags[flags.index("--api-key") + 1] if "--api-key" in flags else None
        self.engine = Engine(command, environ, port=port, api_key=key, on_line=lambda line: None)
        self.url = self.engine.url

    def __enter__(self) -> Scripted:
        self.engine.start()
        self.engine.wait_ready()
        return self

    def __exit__(self, *_) -> None:
        self.engine.stop(0)

    def _ask(self, path: str, **query) -> list[dict]:
        with urllib.request.urlopen(f"{self.url}{path}?{urllib.parse.urlencode(query)}", timeout=40) as response:
            return json.load(response)

    def seen(self, **query) -> list[dict]:
        """The recorded requests that match (rid, path, state), oldest first."""
        return self._ask("/_scripted/requests", **query)

    def wait(self, **query) -> list[dict]:
        """The same, as soon as there is one; an HTTP error after 30 s."""
        return self._ask("/_scripted/wait", **query)
