"""What the engine is asked of adapters: to load one, and to let go of one (sglang: entrypoints/http_server.py)."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Any, Protocol

from utils import JobError, log

_SECONDS = 300.0  # of one load or unload; the server counts as hung before


class Post(Protocol):
    """One POST to the engine: (status, JSON). Raises any exception when there was no answer."""

    def __call__(self, path: str, body: dict[str, Any], limit: float) -> Awaitable[tuple[int, Any]]: ...


class Unloadable(JobError):
    """An adapter that the engine refused."""


async def load(post: Post, name: str, folder: str) -> float:
    """Have the adapter in `folder` loaded under `name`; the seconds that it took. Raises Unloadable, and what `post`
    raises."""
    began = asyncio.get_running_loop().time()
    body = {"lora_name": name, "lora_path": folder}
    status, message = _said(await post("/load_lora_adapter", body, _SECONDS))
    if status != 200 and "incomplete unload" in message:  # of a try that only some of its processes carried out
        await post("/unload_lora_adapter", {"lora_name": name}, _SECONDS)
        status, message = _said(await post("/load_lora_adapter", body, _SECONDS))
    if status != 200 and "already loaded" not in message:
        log(f"adapter {name}: the engine refused it: {message[:500] or status}", "warn")
        raise Unloadable(f"The adapter {name[:60]!r} cannot be loaded: the engine refuses it"
                         f"{': ' + message[:300] if message else ''}.", param="model")
    return asyncio.get_running_loop().time() - began


async def unload(post: Post, name: str) -> None:
    """Have it let go of, which waits for the requests that use it. Raises what `post` raises."""
    status, message = _said(await post("/unload_lora_adapter", {"lora_name": name}, _SECONDS))
    if status != 200 and "does not exist" not in message:
        log(f"adapter {name}: the engine did not unload it: {message[:500] or status}", "warn")
    else:
        log(f"adapter {name}: unloaded, the least recently used")


def _said(answer: tuple[int, Any]) -> tuple[int, str]:
    """(status, what the engine says is wrong) of its answer to a load or unload."""
    status, said = answer
    return status, str(said.get("error_message", "")) if isinstance(said, dict) else ""
