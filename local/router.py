"""SGLang's router before workers on this machine, with the very options that docker-compose.router.yml gives it.

`async with Router(urls, key) as router:` runs it from an environment of its own (environments.py `router_python()`).
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import shlex
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import aiohttp
import yaml

from local import environments
from local.ports import free_port

COMPOSE = environments.ROOT / "docker-compose.router.yml"
_VARIABLE = re.compile(r"\$\{(\w+)(?::?[-?]([^}]*))?\}")


def options(environ: Mapping[str, str], changed: Mapping[str, Sequence[str]],
            dropped: Collection[str] = ()) -> list[str]:
    """The router's command line as Compose makes it of these variables. changed: options with other words; dropped:
    options that are left to the router's own defaults."""
    command = yaml.safe_load(COMPOSE.read_text(encoding="utf-8"))["services"]["router"]["command"]
    given: dict[str, list[str]] = {}
    for word in shlex.split(_VARIABLE.sub(lambda found: environ.get(found[1], found[2] or ""), command)):
        if word.startswith("--"):
            given[word] = words = []
        else:
            words.append(word)
    assert {*changed, *dropped} <= given.keys(), "what is changed has to be there"
    return [word for name, words in {**given, **changed}.items() if name not in dropped for word in (name, *words)]


class Router:
    """A router process. urls: of the workers that it begins with; key: theirs, and its callers'; log: the file of its
    output; changed, dropped: see options(). `url`: where it listens; `metrics_url`: where it tells its figures."""

    def __init__(self, urls: Sequence[str], key: str, log: Path, *, changed: Mapping[str, Sequence[str]] | None = None,
                 dropped: Collection[str] = ()):
        port, metrics_port = free_port(), free_port()
        self.url, self.metrics_url = f"http://127.0.0.1:{port}", f"http://127.0.0.1:{metrics_port}/metrics"
        self.log, self._key = log, key
        self._options = options({"WORKER_URLS": " ".join(urls), "WORKER_API_KEY": key}, {
            "--host": ["127.0.0.1"], "--port": [str(port)], "--prometheus-host": ["127.0.0.1"],
            "--prometheus-port": [str(metrics_port)], **(changed or {})}, dropped)
        self.process: asyncio.subprocess.Process | None = None

    async def __aenter__(self) -> Router:
        python = await asyncio.to_thread(environments.router_python)
        with open(self.log, "ab") as output:
            self.process = await asyncio.create_subprocess_exec(
                str(python), "-m", "sglang_router.launch_router", *self._options, stdout=output,
                stderr=asyncio.subprocess.STDOUT)
        self._session = aiohttp.ClientSession(headers={"Authorization": f"Bearer {self._key}"})
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._session.close()
        assert self.process is not None
        if self.process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self.process.kill()
        await self.process.wait()

    async def workers(self) -> dict[str, dict[str, Any]]:
        """{url: what the router says of that worker}; none while it does not listen yet."""
        with contextlib.suppress(aiohttp.ClientConnectionError):
            async with self._session.get(f"{self.url}/workers") as response:
                return {one["url"]: one for one in (await response.json())["workers"]}
        return {}

    async def sees(self, *urls: str, within: float = 60.0) -> None:
        """Wait until it takes these workers, and no others, for healthy."""
        await self.until(lambda workers: {url for url in workers if workers[url]["is_healthy"]} == set(urls), within)

    async def until(self, seen: Callable[[dict[str, dict[str, Any]]], bool], within: float = 60.0) -> None:
        """Wait until `seen` says so of workers(); fails with them and the end of the log."""
        try:
            async with asyncio.timeout(within):
                while not seen(workers := await self.workers()):  # noqa: ASYNC110
                    await asyncio.sleep(0.05)
        except TimeoutError:
            tail = self.log.read_text(errors="replace")[-3000:]
            raise AssertionError(f"the router sees {workers}; the end of its log:\n{tail}") from None

    async def add(self, url: str) -> None:
        """Have it take another worker; returns before it knows whether that is there."""
        async with self._session.post(f"{self.url}/workers", json={"url": url, "api_key": self._key}) as response:
            assert response.status == 202, await response.text()

    async def remove(self, url: str) -> None:
        """Have it forget a worker."""
        number = (await self.workers())[url]["id"]
        async with self._session.delete(f"{self.url}/workers/{number}") as response:
            assert response.status == 202, await response.text()
