"""The clients' side of the platform's stand-in: /run, /runsync, /status, /stream, /cancel, /health,
/purge-queue and the OpenAI route.

A key comes as Bearer or in `x-api-key`, and HEAD is answered as GET is. A failed job answers 500 on the OpenAI route
with the job's JSON, the worker's error string under "error". Once a stream has begun there is no status to change:
the connection is cut, so that no client takes a broken answer for a whole one, unless a setting says otherwise. What
the platform does there, and in some other places, is not documented: see platform_records.UNKNOWNS.
"""

from __future__ import annotations

import asyncio
import contextlib
import json

from aiohttp import web

from local.platform_records import Job, Refused

DEFAULT_WAIT_MS = 90_000
GET_INPUTS = {"empty": {}, "null": None, "absent": ...}
SSE = {"Content-Type": "text/event-stream; charset=utf-8", "Cache-Control": "no-cache"}


class ClientRoutes:
    """The handlers; `platform` is the Platform they belong to."""

    def __init__(self, platform):
        self.platform = platform

    @property
    def store(self):
        return self.platform.store

    def add_to(self, router: web.UrlDispatcher, base: str) -> None:
        for method, path, handler in (
                ("POST", "/run", self.run), ("POST", "/runsync", self.runsync),
                ("GET", "/status/{job}", self.status), ("POST", "/status/{job}", self.status),
                ("GET", "/stream/{job}", self.stream), ("POST", "/stream/{job}", self.stream),
                ("POST", "/cancel/{job}", self.cancel), ("GET", "/health", self.health),
                ("POST", "/purge-queue", self.purge),
                ("GET", "/openai/{path:.+}", self.openai), ("POST", "/openai/{path:.+}", self.openai)):
            keyed = self._keyed(path.split("/")[1], handler)
            router.add_route(method, base + path, keyed)
            if method == "GET":  # the web server leaves the body out
                router.add_route("HEAD", base + path, keyed)

    def _keyed(self, kind: str, handler):
        async def keyed(request: web.Request) -> web.StreamResponse:
            if self.platform.auth and not _key(request):
                raise Refused(401, "missing key: send the header Authorization: Bearer KEY")
            if self.platform.rates is None:
                return await handler(request)
            with self.platform.rates.counted(kind):
                return await handler(request)
        return keyed

    # ------------------------------------------------------------ the queue's API
    async def run(self, request: web.Request) -> web.Response:
        job = await self._submit(request, "run", self.store.limits.run_body)
        return web.json_response({"id": job.id, "status": job.status})

    async def runsync(self, request: web.Request) -> web.Response:
        low, high = self.store.limits.wait
        try:
            wait = int(request.query.get("wait", DEFAULT_WAIT_MS))
        except ValueError:
            wait = -1
        if not low <= wait <= high:
            raise Refused(400, f"wait must be {low} to {high} milliseconds")
        job = await self._submit(request, "runsync", self.store.limits.runsync_body)
        with contextlib.suppress(TimeoutError):
            await self.platform.until(job.id, lambda: job.is_final, wait / 1000)
        return web.json_response(self.store.get(job.id).public())

    async def _submit(self, request: web.Request, source: str, limit: int) -> Job:
        body = await self._body(request, limit)
        if not isinstance(body.get("input"), dict):
            raise Refused(400, "the body must have an object under `input`")
        address = body.get("webhook")
        if address is not None and not isinstance(address, str):
            raise Refused(400, "`webhook` must be an address")
        job = self.store.submit(body["input"], source, body.get("policy"))
        if address:
            self.platform.webhooks.expect(job, address)
        return job

    async def _body(self, request: web.Request, limit: int) -> dict:
        if (request.content_length or 0) > limit:
            raise Refused(413, f"request body of {request.content_length} bytes exceeds {limit}")
        data = await request.read()
        if len(data) > limit:
            raise Refused(413, f"request body of {len(data)} bytes exceeds {limit}")
        try:
            body = json.loads(data)
        except ValueError:
            body = None
        if not isinstance(body, dict):
            raise Refused(400, "the body must be a JSON object")
        return body

    def _job(self, request: web.Request) -> Job:
        return self.store.get(request.match_info["job"])

    async def status(self, request: web.Request) -> web.Response:
        return web.json_response(self._job(request).public())

    async def stream(self, request: web.Request) -> web.Response:
        job = self._job(request)
        answer = {"status": job.status, "stream": self.store.news(job)}
        if job.error is not None:
            answer["error"] = job.error
        return web.json_response(answer)

    async def cancel(self, request: web.Request) -> web.Response:
        job = self.store.cancel(request.match_info["job"])
        return web.json_response({"id": job.id, "status": job.status})

    async def health(self, request: web.Request) -> web.Response:
        return web.json_response(self.store.health())

    async def purge(self, request: web.Request) -> web.Response:
        return web.json_response({"removed": self.store.purge(), "status": "completed"})

    # ------------------------------------------------------------ the OpenAI route
    async def openai(self, request: web.Request) -> web.StreamResponse:
        job_input = {"openai_route": self._path_as_sent(request)}
        body = await self._openai_body(request)
        if body is not ...:
            job_input["openai_input"] = body
        job = self.store.submit(job_input, "openai")
        streamed = isinstance(body, dict) and body.get("stream") is True
        try:
            if streamed:
                return await self._relay(request, job)
            await self._final(job)
            return self._whole(job)
        except (asyncio.CancelledError, ConnectionError):
            if not job.is_final and (streamed or self.platform.unknowns.abandoned == "cancel"):
                self.store.cancel(job.id)
            raise

    def _path_as_sent(self, request: web.Request) -> str:
        """What follows the prefix in the request's first line, query and percent-encoding untouched.

        Whether RunPod hands them on so is not documented; a worker has to cope with it.
        """
        prefix = f"/v2/{self.platform.endpoint_id}/openai"
        _, found, sent = request.raw_path.partition(prefix)  # a proxy's request begins with the host
        return sent if found else "/" + request.match_info["path"]

    async def _openai_body(self, request: web.Request):
        """The body of a POST that has one; otherwise what stands for none: a worker cannot tell it from a GET."""
        if request.method == "POST" and (request.can_read_body and await request.read()):
            return await self._body(request, self.store.limits.runsync_body)
        return GET_INPUTS[self.platform.unknowns.get_input]

    async def _final(self, job: Job) -> None:
        await self.platform.until(job.id, lambda: job.is_final, None)

    def _whole(self, job: Job) -> web.Response:
        if job.status != "COMPLETED":
            return web.json_response(job.public(), status=500)
        output = job.output
        if isinstance(output, list) and len(output) == 1:
            output = output[0]
        return web.json_response(output)

    async def _relay(self, request: web.Request, job: Job) -> web.StreamResponse:
        response, sent = web.StreamResponse(headers=SSE), 0
        if self.platform.unknowns.stream_header == "at-once":
            await response.prepare(request)
        while True:
            await self.platform.until(
                job.id, lambda seen=sent: job.is_final or len(job.chunks) > seen, None)
            for chunk in job.chunks[sent:]:
                if not response.prepared:
                    await response.prepare(request)
                text = chunk.output if isinstance(chunk.output, str) \
                    else f"data: {json.dumps(chunk.output, ensure_ascii=False)}\n\n"
                await response.write(text.encode("utf-8"))
                sent += 1
            if job.is_final and sent == len(job.chunks):
                break
        if not response.prepared:
            return self._whole(job)
        if job.status != "COMPLETED" and self.platform.unknowns.failed_stream == "cut":
            request.transport.abort()
            return response
        await response.write_eof()
        return response


def _key(request: web.Request) -> str:
    """The key of a client; Anthropic's clients have a header of their own for it."""
    scheme, _, key = request.headers.get("Authorization", "").partition(" ")
    return key.strip() if scheme.lower() == "bearer" and key.strip() else request.headers.get("x-api-key", "").strip()
