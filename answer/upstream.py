"""One planned request to the engine over HTTP, and its answer: chunks of events or one JSON value.

Serves any transport: it knows nothing of RunPod. How a stream becomes chunks is the business of relay.py.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import re
import time
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable

import aiohttp
from yarl import URL

from answer import streaming
from answer.failures import error_event, failure
from answer.relay import KEEPALIVE, Pace, relay
from answer.request import Request
from answer.running import Running
from utils import JobError

_RETRY_FIRST, _RETRY_LAST = 0.1, 5.0  # seconds
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")


@dataclasses.dataclass(frozen=True)
class Patience:
    """Seconds; 0 means no limit, or never.

    idle: silence of a stream before it fails; request: a request that does not stream; retry: how long a request is
    tried again that was refused for load, or whose connection broke, before anything of its answer was seen;
    keepalive: silence of a stream on an OpenAI route before a comment is sent.
    """

    idle: float = 600.0
    request: float = 3600.0
    retry: float = 60.0
    keepalive: float = 15.0


class ConnectionBroke(JobError):
    """The connection to the engine broke. `engine_lost`: because the engine ended."""

    def __init__(self, message: str, engine_lost: bool):
        super().__init__(message, type="server_error", code=502)
        self.engine_lost = engine_lost


class Upstream:
    """The worker's one HTTP client for the engine; make it once, `close` it once.

    chunk_bytes: the largest chunk; posts: chunks a second that all streams share, 0 for no limit; available: awaited
    before each attempt, until the engine can take requests (raises JobError); fate: awaited when a connection broke:
    what became of the engine, None when it is alive.
    """

    def __init__(self, base_url: str, *, api_key: str | None = None, admin_key: str | None = None,
                 patience: Patience | None = None, chunk_bytes: int = 512 * 1024, posts: float = 0,
                 available: Callable[[], Awaitable[None]] | None = None,
                 fate: Callable[[], Awaitable[str | None]] | None = None):
        self.patience = patience or Patience()
        self.last_sign = time.monotonic()  # when anything was last heard from the engine
        self._base, self._chunk_bytes, self._pace = base_url, chunk_bytes, Pace(posts)
        self._headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        self._abort_headers = {"Authorization": f"Bearer {admin_key}"} if admin_key else self._headers
        self._available, self._fate = available, fate
        self._client: aiohttp.ClientSession | None = None
        self._running: weakref.WeakSet[Running] = weakref.WeakSet()
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

    def _heard(self) -> None:
        self.last_sign = time.monotonic()

    def fail_all(self, error: JobError) -> None:
        """Make every running request fail with `error` now."""
        for job in list(self._running):
            job.fail(error)

    async def run(self, request: Request) -> AsyncIterator[str | dict | list]:
        """Carry `request` to the engine. Yields text chunks of whole events, or one JSON value.

        Raises JobError for every failure. A stream that has begun and then fails first gets an event with the
        error, so that a client that only sees events never takes it for complete. However this generator ends
        early, the engine is told to stop generating.
        """
        job = Running(request, self.abort)
        self._running.add(job)
        # A cancelled job's generator may be left to the garbage collector while its task is already gone
        # (the SDK cancels in the middle of a POST), so the task's end is what counts.
        task = asyncio.current_task()
        task.add_done_callback(job.stop)
        try:
            async with contextlib.aclosing(self._carry(job)) as answer:
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
            self._running.discard(job)

    async def _carry(self, job: Running) -> AsyncIterator[str | dict | list]:
        """Attempts until one succeeds, fails for good, or has produced something."""
        request = job.request
        give_up, pause = time.monotonic() + self.patience.retry, _RETRY_FIRST
        while True:
            try:
                async with contextlib.aclosing(self._attempt(job)) as answer:
                    async for chunk in answer:
                        yield chunk
                return
            except JobError as error:
                # What broke because the engine died may have killed it: that is for its sender to decide.
                load = error.code in (429, 503) or isinstance(error, ConnectionBroke) and not error.engine_lost
                if job.error:
                    raise job.error from error
                if job.produced or not load or time.monotonic() + pause > give_up:
                    raise
                if isinstance(error, ConnectionBroke):  # the engine may still know the id that is to be used again
                    await asyncio.gather(*map(self._abort, request.rids))
            await asyncio.wait({job.failed}, timeout=pause)
            if job.error:
                raise job.error
            pause = min(pause * 2, _RETRY_LAST)

    async def _attempt(self, job: Running) -> AsyncIterator[str | dict | list]:
        patience, request = self.patience, job.request
        limit = (patience.idle if request.streams else patience.request) or None
        deadline = None if limit is None else time.monotonic() + limit
        beat = patience.keepalive if request.streams and request.openai else 0
        try:
            job.opening = asyncio.ensure_future(self._answered(request))
            while not job.opening.done():
                left = None if deadline is None else deadline - time.monotonic()
                if left is not None and left <= 0:
                    raise TimeoutError
                wait = min((t for t in (left, beat or None) if t is not None), default=None)
                await asyncio.wait({job.opening, job.failed}, timeout=wait, return_when=asyncio.FIRST_COMPLETED)
                if job.error:
                    raise job.error
                if beat and not job.opening.done():
                    job.streamed = True
                    yield KEEPALIVE
            response = job.response = job.opening.result()
            self._heard()
            if response.status < 400 and response.content_type == "text/event-stream":
                async for chunk in relay(response, job, self._pace, idle=patience.idle or None, beat=beat or None,
                                         chunk_bytes=self._chunk_bytes, heard=self._heard):
                    yield chunk
            else:
                async with asyncio.timeout(None if deadline is None else max(0, deadline - time.monotonic())):
                    answer = await _whole(response)
                job.produced = True
                yield answer
        except (aiohttp.ClientError, ConnectionError) as error:
            if job.error:
                raise job.error from error
            fate = await self._fate() if self._fate else None
            # One that was never made carried nothing: that request can wait for the next engine.
            lost = fate is not None and not isinstance(error, aiohttp.ClientConnectorError)
            raise ConnectionBroke(fate or f"The connection to the engine broke ({type(error).__name__}).",
                                  lost) from error
        except TimeoutError as error:
            raise JobError(f"The engine sent nothing for {limit:g} s (ENGINE_IDLE_TIMEOUT)." if request.streams else
                           f"The engine gave no answer within {limit:g} s (REQUEST_TIMEOUT).",
                           type="timeout_error", code=504) from error
        finally:
            job.close()

    async def _answered(self, request: Request) -> aiohttp.ClientResponse:
        """The engine's response, its headers read."""
        if self._available:
            await self._available()
        body = await self._templated(request) if request.template_texts else request.body
        return await self._open(request.method, request.path, body)

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

    async def _templated(self, request: Request) -> dict:
        """The native body with each text replaced by the token ids of its chat-templated form."""
        async def ids(text: str) -> list[int]:
            messages = [{"role": "user", "content": text}]
            async with self._open("POST", "/tokenize", {"messages": messages}) as response:
                return (await _whole(response))["tokens"]

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


async def _whole(response: aiohttp.ClientResponse) -> dict | list:
    """The answer as a JSON value; raises JobError when it is an error, of whatever status."""
    raw = await response.read()
    try:
        value = json.loads(raw) if raw else None
        if _SURROGATE.search(raw):  # one without its other half is no UTF-8, and the job could not be delivered
            value = json.loads(json.dumps(value, ensure_ascii=False).encode("utf-8", "replace"))
    except ValueError:
        value = raw.decode("utf-8", "replace")
    if response.status >= 400:
        raise failure(value, response.status)
    if isinstance(value, dict) and (failed := streaming.failure_in(value)):
        raise failure(failed, response.status)
    if isinstance(value, (dict, list)):
        return value
    return {"status": "ok"} if value is None else {"text": str(value)}
