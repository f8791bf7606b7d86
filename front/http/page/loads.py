"""How full the engine is, by its own account: asked at most once a second, and never waited for."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from typing import Any

PATH = "/v1/loads?include=core"
EVERY = 1.0      # seconds
_PATIENCE = 2.0  # seconds; the answer takes milliseconds, for it comes from the shared memory of the schedulers


class Loads:
    """get: path and timeout to status and body (engine.py `Engine.get`); it blocks, and is called in a thread."""

    def __init__(self, get: Callable[[str, float], tuple[int | None, bytes]]):
        self._get = get
        self._known: dict[str, Any] | None = None
        self._asked = -EVERY
        self._asking: asyncio.Task[None] | None = None

    def known(self) -> dict[str, Any] | None:
        """The newest answer, see `read`, a second or two old while somebody keeps asking; None when there is none."""
        now = time.monotonic()
        if self._asking is None and now >= self._asked + EVERY:
            if now >= self._asked + 10 * EVERY:  # nobody has looked meanwhile
                self._known = None
            self._asked, self._asking = now, asyncio.create_task(self._ask())
        return self._known

    def forget(self) -> None:
        """What was known is of an engine that is no more."""
        self._known = None

    async def _ask(self) -> None:
        try:
            status, body = await asyncio.to_thread(self._get, PATH, _PATIENCE)
            self._known = read(body) if status == 200 else None
        finally:
            self._asking = None


def read(body: bytes) -> dict[str, Any] | None:
    """{"waiting": requests; "kv_used": 0 to 1; "kv_tokens": that the KV cache holds; "version": of SGLang;
    "accelerator", "accelerators": which, and how many}, over all data-parallel ranks; what the engine does not say is
    None (sglang: entrypoints/v1_loads.py, managers/load_snapshot.py). None for anything else."""
    try:
        told = json.loads(body)
        ranks = [rank for rank in told["loads"] if isinstance(rank, dict)]
    except (ValueError, KeyError, TypeError):
        return None

    def total(name: str) -> float | None:
        values = [rank[name] for rank in ranks if isinstance(rank.get(name), int | float)]
        return sum(values) if values else None

    tokens, used = total("max_total_num_tokens"), total("num_used_tokens")
    count, cards = told.get("num_accelerators"), told.get("accelerator")
    return {"waiting": total("num_waiting_reqs"),
            "kv_used": round(min(1.0, used / tokens), 4) if tokens and used is not None else None,
            "kv_tokens": tokens or None,
            "version": told.get("version") if isinstance(told.get("version"), str) else None,
            "accelerator": cards if isinstance(cards, str) else None,
            "accelerators": count * max(1, len(ranks)) if isinstance(count, int) else None}
