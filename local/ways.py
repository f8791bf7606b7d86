"""The two ways to a worker on this machine: through the stand-in for RunPod's queue, and straight over HTTP.

Each is an async context manager with: `name`; `url`, what `/v1/…` is put behind; `at`, where it is, in words;
`port`; `environ()`, a worker's variables for it; `ready()`, which returns when a worker takes requests on it.
"""

from __future__ import annotations

import asyncio
import errno
import os
import socket

import aiohttp

from local.ports import free_port
from local.runpod_platform import Platform

ASK_AGAIN = 0.2  # seconds between two questions for health


class Queue:
    """By way of the platform's stand-in. OSError on entering when the port is taken."""

    name = "queue"

    def __init__(self, port: int = 0):
        self.platform = Platform(port=port)

    async def __aenter__(self) -> Queue:
        await self.platform.__aenter__()
        return self

    async def __aexit__(self, *exc) -> None:
        await self.platform.stop()

    @property
    def port(self) -> int:
        return self.platform.port

    @property
    def url(self) -> str:
        return self.platform.url + "/openai"

    @property
    def at(self) -> str:
        return f"platform: {self.platform.url}"

    def environ(self) -> dict[str, str]:
        return {**self.platform.worker_environ(), "WORKER_MODE": "queue"}

    async def ready(self) -> None:
        begun = self.platform.begun
        await self.platform.wait_for(lambda: begun["job-take"] + begun["job-take-batch"], None)


class Http:
    """The worker itself, on loopback; it takes any key. OSError on entering when the port is taken."""

    name = "http"

    def __init__(self, port: int = 0):
        self._wanted, self.port = port, port

    async def __aenter__(self) -> Http:
        self.port = self._wanted or free_port()
        with socket.socket() as s:  # the worker would find it taken only after a second, and say it in its log
            if s.connect_ex(("127.0.0.1", self.port)) == 0:
                raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))
        return self

    async def __aexit__(self, *exc) -> None:
        pass

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def at(self) -> str:
        return f"worker: {self.url}"

    def environ(self) -> dict[str, str]:
        return {"WORKER_MODE": "http", "HOST": "127.0.0.1", "PORT": str(self.port), "PORT_HEALTH": str(self.port),
                "HEALTH_CHECK_PATH": "/ping", "WORKER_API_KEY": "none"}

    async def ready(self) -> None:
        async with aiohttp.ClientSession() as session:
            while await self._health(session) != 200:  # noqa: ASYNC110
                await asyncio.sleep(ASK_AGAIN)

    async def _health(self, session: aiohttp.ClientSession) -> int | None:
        try:
            async with session.get(self.url + "/ping") as response:
                return response.status
        except aiohttp.ClientError:
            return None
