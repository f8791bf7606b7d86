"""The workers' side of the platform's stand-in, as the runpod SDK speaks it.

job-take (one job), job-take-batch (a list) and job-stop are long polls, answered 204 when nothing comes;
job-stream and job-done take a job's output; ping is a heartbeat. Any worker key is accepted.
"""

from __future__ import annotations

import asyncio
import time

from aiohttp import web

from local.platform_faults import Call
from local.platform_records import Refused


class WorkerRoutes:
    """The handlers; `platform` is the Platform they belong to."""

    def __init__(self, platform):
        self.platform = platform

    def add_to(self, router: web.UrlDispatcher, base: str) -> None:
        for kind, handler in (("job-take", self._take), ("job-take-batch", self._take),
                              ("job-stop", self._job_stop), ("ping", self._ping)):
            router.add_get(f"{base}/{kind}/{{worker}}", self._worker_call(kind, handler))
        store = self.platform.store
        for kind, accept in (("job-stream", store.chunk), ("job-done", store.done)):
            router.add_post(f"{base}/{kind}/{{worker}}/{{job}}", self._worker_call(kind, self._post(accept)))

    def _worker_call(self, kind: str, handler):
        """`handler(request, worker_id, job_id, body)`, recorded, with the delay and the planned faults."""
        async def call(request: web.Request) -> web.StreamResponse:
            worker_id, job_id = request.match_info["worker"], request.match_info.get("job")
            self.platform.begun[kind] += 1
            self.platform.wake(None)
            body = await request.read()
            arrived = time.monotonic()
            fault = self.platform.faults.pick(kind, job_id)
            half = self.platform.post_delay_ms / 2000 if request.method == "POST" else 0.0
            response, dropped = None, False
            try:
                await _sleep(half + (fault.seconds if fault else 0.0))
                if not request.headers.get("Authorization"):
                    raise Refused(401, "no worker key")
                planned = fault and (fault.status or fault.dropped)
                if not planned or fault.after:
                    response = await handler(request, worker_id, job_id, body)
                if planned:
                    dropped = fault.dropped
                    response = web.json_response({"error": "planned fault"}, status=fault.status or 500)
            except Refused as refused:
                response = web.json_response({"error": refused.message}, status=refused.status)
            await _sleep(half)
            self.platform.posts[kind] += 1
            self.platform.calls.append(Call(arrived, kind, worker_id, job_id, len(body),
                                            0 if dropped else response.status))
            self.platform.wake(None)
            if dropped:
                request.transport.abort()
            return response
        return call

    def _post(self, accept):
        async def post(request: web.Request, worker_id: str, job_id: str, body: bytes) -> web.Response:
            accept(worker_id, job_id, body)
            return web.json_response({})
        return post

    async def _take(self, request: web.Request, worker_id: str, _job_id, _body) -> web.Response:
        batch = "/job-take-batch/" in request.path
        most = max(1, int(request.query.get("batch_size", 1))) if batch else 1

        def ready():
            return self.platform.store.queue or self.platform.closing.is_set()
        if not await self._held("queue", ready) or self.platform.closing.is_set():
            return web.Response(status=204)
        if request.transport is None or request.transport.is_closing():  # who asked has gone
            return web.Response(status=204)
        jobs = [{"id": job.id, "input": job.input} for job in self.platform.store.take(worker_id, most)]
        return web.json_response(jobs if batch else jobs[0])

    async def _job_stop(self, request: web.Request, worker_id: str, _job_id, _body) -> web.Response:
        ids: list[str] = []

        def ready():
            ids.extend(self.platform.store.take_stops(worker_id))
            return ids or self.platform.closing.is_set()
        await self._held("stop", ready)
        return web.json_response({"jobsToStop": ids}) if ids else web.Response(status=204)

    async def _held(self, key: str, ready):
        """A long poll: `ready()` when true, None after `long_poll` seconds."""
        try:
            return await self.platform.until(key, ready, self.platform.long_poll)
        except TimeoutError:
            return None

    async def _ping(self, request: web.Request, worker_id: str, _job_id, _body) -> web.Response:
        self.platform.store.ping(worker_id, request.query)
        return web.json_response({})


async def _sleep(seconds: float) -> None:
    if seconds > 0:
        await asyncio.sleep(seconds)
