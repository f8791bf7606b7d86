"""One planned request to the engine over HTTP, and its answer: chunks of events or one JSON value.

Serves any transport: it knows nothing of RunPod. Reading stops while a chunk is being delivered; what arrives
meanwhile waits in the connection's buffer and becomes the next chunk. So the first event leaves at once, a slow
delivery makes chunks larger instead of later, and a full buffer slows the engine down instead of growing.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable

import aiohttp
from yarl import URL

import streaming
from failures import error_event, failure
from routes import Request
from utils import JobError


class Upstream:
    """The worker's one HTTP client for the engine; make it once, `close` it once.

    idle_timeout: seconds without a byte after which a stream fails (0: none); request_timeout: seconds a request
    that does not stream may take (0: none); chunk_bytes: the largest chunk; on_lost: says, when the engine's
    connection breaks, what became of the engine (awaited; None when it is alive).
    """

    def __init__(self, base_url: str, *, api_key: str | None = None, admin_key: str | None = None,
                 idle_timeout: float = 600.0, request_timeout: float = 3600.0, chunk_bytes: int = 512 * 1024,
                 on_lost: Callable[[], Awaitable[str | None]] | None = None):
        self._base, self._chunk_bytes = base_url, chunk_bytes
        self._idle, self._limit = idle_timeout or None, request_timeout or None
        self._headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        self._abort_headers = {"Authorization": f"Bearer {admin_key}"} if admin_key else self._headers
        self._on_lost = on_lost
        self._client: aiohttp.ClientSession | None = None
        self._aborts: set[asyncio.Task] = set()

    def _session(self) -> aiohttp.ClientSession:
        if self._client is None:  # made here: it belongs to the event loop that runs the jobs
            self._client = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=30),
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=10),
                # Reading pauses at twice this size: the largest chunk is also the most that waits in memory.
                read_bufsize=max(2**16, self._chunk_bytes // 2),
                headers={"Accept-Encoding": "identity"})
        return self._client

    async def close(self) -> None:
        """Send what is left to abort, then close the connections; running requests break off."""
        await asyncio.gather(*self._aborts)
        if self._client is not None:
            await self._client.close()

    async def run(self, request: Request) -> AsyncIterator[str | dict | list]:
        """Carry `request` to the engine. Yields text chunks of whole events, or one JSON value.

        Raises JobError for every failure. A stream that has begun and then fails first gets an event with the
        error, so that a client that only sees events never takes it for complete. However this generator ends
        early, the engine is told to stop generating.
        """
        job = _Running(self, request)
        # A cancelled job's generator may be left to the garbage collector while its task is already gone
        # (the SDK cancels in the middle of a POST), so the task's end is what counts.
        task = asyncio.current_task()
        task.add_done_callback(job.stop)
        try:
            async with contextlib.aclosing(self._carry(request, job)) as answer:
                async for chunk in answer:
                    yield chunk
            job.finished = True
        except JobError as error:
            if job.streamed:
                yield error_event(error, request.path)
            raise
        finally:
            task.remove_done_callback(job.stop)
            job.stop()

    async def _carry(self, request: Request, job: _Running) -> AsyncIterator[str | dict | list]:
        try:
            body = request.body
            if request.template_texts:
                body = await self._templated(request)
            # A stream says nothing while it waits in the queue and is prefilled: that is silence, not work.
            patience = self._idle if body and body.get("stream") else self._limit
            async with asyncio.timeout(patience) as limit:
                async with self._open(request.method, request.path, body) as response:
                    job.response = response
                    if response.status < 400 and response.content_type == "text/event-stream":
                        limit.reschedule(None)
                        async for chunk in self._events(response, job):
                            yield chunk
                    else:
                        yield await _whole(response)
        except TimeoutError as error:
            if request.body and request.body.get("stream"):
                raise JobError(f"The engine sent nothing for {self._idle:.0f} s (ENGINE_IDLE_TIMEOUT).",
                               type="timeout_error", code=504) from error
            raise JobError(f"The engine gave no answer within {self._limit or 0:.0f} s (REQUEST_TIMEOUT).",
                           type="timeout_error", code=504) from error
        except (aiohttp.ClientError, OSError) as error:
            fate = await self._on_lost() if self._on_lost else None
            raise JobError(fate or f"The connection to the engine broke ({type(error).__name__}).",
                           type="server_error", code=502) from error

    def _open(self, method: str, path: str, body, headers: dict | None = None):
        data = None
        headers = dict(self._headers if headers is None else headers)
        if body is not None:
            try:
                data = json.dumps(body, allow_nan=False).encode()
            except ValueError as error:
                raise JobError("The input holds NaN or Infinity, which JSON does not have.") from error
            headers["Content-Type"] = "application/json"
        # encoded=True: the path comes from the route table and must reach the engine letter by letter.
        return self._session().request(method, URL(self._base + path, encoded=True), data=data, headers=headers,
                                       allow_redirects=False)

    async def _events(self, response: aiohttp.ClientResponse, job: _Running) -> AsyncIterator[str]:
        buffer, ended = streaming.EventBuffer(), False
        while not ended:
            async with asyncio.timeout(self._idle):
                data = await response.content.readany()
            if data:
                buffer.feed(data)
            else:
                ended = True
                buffer.finish()
            events = buffer.take_events()
            failed = None
            for position, event in enumerate(events):
                if failed := streaming.event_failure(event):
                    events = events[:position]
                    break
            for chunk in streaming.chunks(events, self._chunk_bytes):
                job.streamed = True
                yield chunk
            if failed:
                raise failure(failed, response.status)

    async def _templated(self, request: Request) -> dict:
        """The native body with each text replaced by the token ids of its chat-templated form."""
        async def ids(text: str) -> list[int]:
            messages = [{"role": "user", "content": text}]
            async with self._open("POST", "/tokenize", {"messages": messages}) as response:
                return (await _whole(response))["tokens"]

        async with asyncio.timeout(self._limit):
            tokens = [await ids(text) for text in request.template_texts]
        body = {k: v for k, v in request.body.items() if k != "text"}
        return {**body, "input_ids": tokens[0] if request.one_text else tokens}

    def abort(self, rid: str) -> None:
        """Tell the engine to stop a request, without waiting for the answer."""
        task = asyncio.get_running_loop().create_task(self._abort(rid))
        self._aborts.add(task)
        task.add_done_callback(self._aborts.discard)

    async def _abort(self, rid: str) -> None:
        # The connection is closed as well, so a failure here only means that the engine takes longer to notice.
        with contextlib.suppress(aiohttp.ClientError, OSError, TimeoutError):
            async with asyncio.timeout(5):
                async with self._open("POST", "/abort_request", {"rid": rid}, self._abort_headers) as response:
                    await response.read()


class _Running:
    """What has to be undone when a request ends early."""

    def __init__(self, upstream: Upstream, request: Request):
        self.upstream, self.request = upstream, request
        self.response: aiohttp.ClientResponse | None = None
        self.streamed = self.finished = False

    def stop(self, _task=None) -> None:
        """Break the connection and abort by name, once, unless the engine's answer is complete."""
        if self.finished:
            return
        self.finished = True
        if self.response is not None:
            if self.response.content.at_eof():
                return
            self.response.close()
        for rid in self.request.rids:
            self.upstream.abort(rid)


async def _whole(response: aiohttp.ClientResponse) -> dict | list:
    """The answer as a JSON value; raises JobError when it is an error, of whatever status."""
    raw = await response.read()
    try:
        value = json.loads(raw) if raw else None
    except ValueError:
        value = raw.decode("utf-8", "replace")
    if response.status >= 400:
        raise failure(value, response.status)
    if isinstance(value, dict) and (failed := streaming.failure_in(value)):
        raise failure(failed, response.status)
    if isinstance(value, (dict, list)):
        return value
    return {"status": "ok"} if value is None else {"text": str(value)}
