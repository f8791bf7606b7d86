"""A stand-in for RunPod's load balancer before workers on this machine, as far as RunPod documents it.

Which worker gets a request, and what X-Runpod-Worker-Id changes about it (serverless/load-balancing/overview and
worker-affinity of RunPod's documentation). Not its edge: no keys, no TLS, no limit of a body or of a request's time.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import itertools
from collections.abc import Mapping

import aiohttp
from aiohttp import hdrs, web

AFFINITY = "X-Runpod-Worker-Id"
_MODES = ("strict", "strict-resume")
_ASK_AGAIN = 0.05  # seconds between two questions for health, or for room
_OWN = {hdrs.TRANSFER_ENCODING, hdrs.CONTENT_LENGTH, hdrs.CONNECTION, hdrs.DATE, hdrs.SERVER}  # of one connection alone


@dataclasses.dataclass
class Backend:
    """A worker: its id, its address, whether its health said 200, and its requests under way."""

    id: str
    url: str
    ready: bool = False
    running: int = 0


def wanted(header: str) -> tuple[str, str]:
    """(mode, worker's id) of the header: the id alone is a wish, "soft" here. ("", "") for none."""
    mode, _, name = header.strip().rpartition(" ")
    if mode and mode not in _MODES:  # no word of RunPod's: all of it is the id, and of no worker
        return "soft", header.strip()
    return (mode or "soft", name) if name else ("", "")


class Balancer:
    """`async with Balancer({"w-1": "http://127.0.0.1:8001", …}) as balancer:`, then requests go to `balancer.url`.

    places: requests that a worker has at most, beyond which it is at capacity. patience, strict_patience: seconds that
    a request waits for any worker, and for the one that it names; RunPod's own are the defaults. resume: is told the id
    of a worker that strict-resume wants back.
    """

    def __init__(self, workers: Mapping[str, str], *, places: int = 1000, patience: float = 120.0,
                 strict_patience: float = 300.0, health_path: str = "/ping"):
        self.backends = {name: Backend(name, url) for name, url in workers.items()}
        self.resumed: list[str] = []
        self._places, self._patience, self._strict_patience = places, patience, strict_patience
        self._health_path = health_path
        self._turns = itertools.count()
        self.url = ""

    async def __aenter__(self) -> Balancer:
        self._session = aiohttp.ClientSession(auto_decompress=False, timeout=aiohttp.ClientTimeout(total=None))
        app = web.Application(client_max_size=2**25)
        app.router.add_route("*", "/{path:.*}", self._request)
        # A client that goes away ends its request to the worker too.
        self._runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        self._asking = [asyncio.create_task(self._watch(backend)) for backend in self.backends.values()]
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._asking:
            task.cancel()
        await asyncio.gather(*self._asking, return_exceptions=True)
        await self._runner.cleanup()
        await self._session.close()

    async def _watch(self, backend: Backend) -> None:
        while True:
            try:
                async with self._session.get(backend.url + self._health_path) as response:
                    backend.ready = response.status == 200
            except aiohttp.ClientError:
                backend.ready = False
            await asyncio.sleep(_ASK_AGAIN)

    # ------------------------------------------------------------ which worker
    def _any(self) -> Backend | None:
        """The one with the least to do, one after the other among those that have as much."""
        free = [each for each in self.backends.values() if each.ready and each.running < self._places]
        least = [each for each in free if each.running == min(other.running for other in free)]
        return least[next(self._turns) % len(least)] if least else None

    async def _soft(self, name: str) -> Backend | None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._patience):
                while True:
                    meant = self.backends.get(name)
                    if meant and meant.ready and meant.running < self._places:
                        return meant
                    if found := self._any():
                        return found
                    await asyncio.sleep(_ASK_AGAIN)
        return None

    async def _strict(self, mode: str, name: str) -> Backend | web.Response:
        meant = self.backends.get(name)
        if meant is None or not (meant.ready or mode == "strict-resume"):
            return _refusal(404, "affinity_worker_gone")
        if not meant.ready:
            self.resumed.append(name)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._strict_patience):
                while not (meant.ready and meant.running < self._places):  # noqa: ASYNC110
                    await asyncio.sleep(_ASK_AGAIN)
                return meant
        return _refusal(400, "worker_timeout")

    # ------------------------------------------------------------ the way there and back
    async def _request(self, request: web.Request) -> web.StreamResponse:
        mode, name = wanted(request.headers.get(AFFINITY, ""))
        chosen = await (self._strict(mode, name) if mode in _MODES else self._soft(name))
        if not isinstance(chosen, Backend):
            return chosen or _refusal(400, "no workers available")
        chosen.running += 1
        try:
            return await self._carried(request, chosen)
        finally:
            chosen.running -= 1

    async def _carried(self, request: web.Request, backend: Backend) -> web.StreamResponse:
        headers = {key: value for key, value in request.headers.items() if key not in (hdrs.HOST, AFFINITY)}
        async with self._session.request(request.method, backend.url + request.raw_path, headers=headers,
                                         data=await request.read()) as told:
            kept = {key: value for key, value in told.headers.items() if key not in _OWN}
            answer = web.StreamResponse(status=told.status, headers={**kept, AFFINITY: backend.id})
            await answer.prepare(request)
            async for piece in told.content.iter_any():
                await answer.write(piece)
            await answer.write_eof()
            return answer


def _refusal(status: int, reason: str) -> web.Response:
    return web.json_response({"error": reason}, status=status)
