"""A worker's HTTP front behind the face of the platform's stand-in, so that the same tests' jobs go through either.

A job's input becomes the request that an HTTP client would send. What comes back is put down as the platform puts it
down, and each status is compared with what its body says of it: over HTTP it must be true.
"""

from __future__ import annotations

import asyncio
import json
import time
import uuid
from typing import Any

import aiohttp

from local.platform_records import Chunk, Job, Policy
from local.platform_waiting import Handle, Waiting
from tests.support import free_port

KEY = "sesame-for-callers-of-the-tests"
_ROUTES = {"messages": "/v1/chat/completions", "prompt": "/v1/completions"}
_SHAPE = ("message", "type", "param", "code")


def request_of(job_input: dict[str, Any]) -> tuple[str, str, Any]:
    """(method, path, body) with which an HTTP client asks for what this job asks for."""
    if "openai_route" in job_input:
        body = job_input.get("openai_input")
        return "POST" if body else "GET", job_input["openai_route"], body or None
    if "route" in job_input:
        return job_input.get("method", "POST"), job_input["route"], job_input.get("body")
    route = next((route for name, route in _ROUTES.items() if name in job_input), "/generate")
    return "POST", route, job_input


def refusal(status: int, body: dict[str, Any]) -> dict[str, Any]:
    """A refusal's body, OpenAI's or Anthropic's, in one shape. Fails for one whose status is not that of its body."""
    error = body["error"]
    if body.get("type") == "error":  # Anthropic's have no code
        return {"message": error["message"], "type": error["type"], "param": None, "code": status}
    assert set(error) == set(_SHAPE) and error["code"] == status, (status, body)
    return error


def late_error(text: str) -> dict[str, Any] | None:
    """What the last event of a stream says went wrong; None for one that ended well."""
    last = text.rstrip("\n").split("\n\n")[-1]
    if "data: {" not in last:
        return None
    event = json.loads(last.split("data: ", 1)[1])
    if event.get("type") == "response.failed":
        return {"message": event["response"]["error"]["message"], "type": event["response"]["error"]["code"]}
    error = event.get("error")
    return error if isinstance(error, dict) else None


class OverHttp:
    """`async with OverHttp() as front:` and a worker that was started with `front.worker_environ()`."""

    def __init__(self) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.openai_url = f"{self.url}/v1"
        self._waiting = Waiting()
        self._running: dict[str, asyncio.Task] = {}

    async def __aenter__(self) -> OverHttp:
        self._session = aiohttp.ClientSession(
            headers={"Authorization": f"Bearer {KEY}"}, connector=aiohttp.TCPConnector(limit=0),
            timeout=aiohttp.ClientTimeout(total=None), read_bufsize=2**20)
        return self

    async def __aexit__(self, *exc) -> None:
        for task in self._running.values():
            task.cancel()
        await asyncio.gather(*self._running.values(), return_exceptions=True)
        await self._session.close()

    def worker_environ(self) -> dict[str, str]:
        return {"WORKER_MODE": "http", "PORT": str(self.port), "WORKER_API_KEY": KEY}

    async def taking(self, timeout: float) -> None:
        """Wait until the worker says that it takes requests."""
        async with asyncio.timeout(timeout):
            while await self.health() != 200:  # noqa: ASYNC110
                await asyncio.sleep(0.1)

    async def health(self) -> int | None:
        """What the worker says where its health is asked; None when it does not answer."""
        try:
            async with self._session.get(self.url + "/ping") as response:
                return response.status
        except aiohttp.ClientError:
            return None

    # ------------------------------------------------------------ as the platform has it
    async def submit(self, job_input: dict[str, Any]) -> Handle:
        """Send the request; returns at once."""
        job = Job(uuid.uuid4().hex, job_input, "http", Policy(), time.monotonic(), status="IN_PROGRESS")
        self._running[job.id] = asyncio.create_task(self._ask(job))
        return Handle(self._waiting, job)

    async def cancel(self, job_id: str) -> None:
        """Go away, as a client does."""
        task = self._running[job_id]
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    async def _ask(self, job: Job) -> None:
        try:
            await self._answer(job)
        except asyncio.CancelledError:
            job.status = "CANCELLED"
            raise
        except aiohttp.ClientError as error:
            self._failed(job, {"message": f"the connection broke: {error}", "type": "connection", "code": 0})
        except BaseException as error:  # a test that waits for this job shall see why
            self._failed(job, {"message": f"{type(error).__name__}: {error}", "type": "test", "code": -1})
            raise
        finally:
            self._waiting.wake(job.id)

    async def _answer(self, job: Job) -> None:
        method, path, body = request_of(job.input)
        async with self._session.request(method, self.url + path, headers={"X-Request-Id": job.id},
                                         data=None if body is None else json.dumps(body)) as response:
            assert response.headers["X-Request-Id"] == job.id
            if end := {"text/event-stream": b"\n\n", "application/x-ndjson": b"\n"}.get(response.content_type):
                assert response.status == 200
                await self._stream(job, response, end)
                return
            value = json.loads(await response.read())
            if response.status == 200:
                job.output, job.status = [value], "COMPLETED"
            else:
                self._failed(job, refusal(response.status, value))

    async def _stream(self, job: Job, response: aiohttp.ClientResponse, end: bytes) -> None:
        waiting = b""
        async for data in response.content.iter_any():
            *events, waiting = (waiting + data).split(end)
            for event in events:
                job.chunks.append(Chunk(time.monotonic(), (event + end).decode(), len(event + end)))
            self._waiting.wake(job.id)
        assert not waiting, waiting  # no event is cut
        text = "".join(chunk.output for chunk in job.chunks)
        if error := late_error(text):
            self._failed(job, error)
        else:
            job.output, job.status = [chunk.output for chunk in job.chunks], "COMPLETED"

    @staticmethod
    def _failed(job: Job, error: dict[str, Any]) -> None:
        job.error = json.dumps({**dict.fromkeys(_SHAPE), **error, "job_id": job.id})
        job.status = "FAILED"
