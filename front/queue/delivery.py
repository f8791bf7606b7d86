"""What is posted to the platform: the chunks of a stream, and each job's one result.

`Delivery` takes the place of the SDK's `stream_result` and `send_result` (runpod/serverless/modules/rp_http.py), which
its `handle_job` calls. Those try a POST again that was answered 5xx, three times, but drop it without a word to the
handler when the connection breaks, post a whole answer as a chunk as well as a result, and do not know of the
platform's limits.
"""

from __future__ import annotations

import asyncio
import json
import math
import weakref
from collections.abc import AsyncIterator, Iterator
from typing import Any

import aiohttp
from runpod.serverless.modules.rp_http import JOB_DONE_URL, JOB_STREAM_URL
from runpod.serverless.modules.rp_logger import RunPodLogger

from clock import awake
from front.queue.connections import Connections
from job.refusal import wants_stream
from utils import JobError

MB = 10**6  # the smaller reading of "MB": what passes by it passes by the other
CHUNK_LIMIT, RESULT_LIMIT = MB, 20 * MB  # bytes of a body, escapes and all; RunPod's endpoint reference
_SLICE = 2**16  # characters
_PAUSES = (0.1, 0.3, 1.0, 2.0, 4.0, 8.0, 15.0)  # seconds between the attempts of one POST
_POST_LIMIT, _BYTES_A_SECOND = 30.0, 500_000  # what one attempt may take: seconds, and so many more for its size
_GRACE = 3.0  # seconds that an attempt under way still gets after a thaw, beside those for its size
_GIVE_UP = 60.0  # seconds after which no attempt is begun

_log = RunPodLogger()


class Chunk(str):
    """A piece of an answer that is cheap to show: for its DEBUG lines the SDK makes the repr of every chunk, three
    times, and then does not print them."""

    __slots__ = ()

    def __repr__(self) -> str:
        return f"<{len(self)} characters>"

    def __format__(self, spec: str) -> str:
        return repr(self)


class Undelivered(Exception):
    """A POST was given up. `refused`: the status with which the platform refused it for good, or None."""

    def __init__(self, message: str, refused: int | None):
        super().__init__(message)
        self.refused = refused


class Delivery:
    """The POSTs of all jobs: each with a time limit, and tried again for half a minute, in order.

    A POST that took effect and lost its answer is made again, for nobody can tell: the platform keeps the first result
    of a job, and the parts of a stream are in the result once each.
    """

    def __init__(self) -> None:
        self._limit: float | None = None
        self._open: dict[asyncio.Timeout, float] = {}  # the attempts under way, and the least that each is given
        self._holed: weakref.WeakSet[asyncio.Task[Any]] = weakref.WeakSet()
        self._answered: weakref.WeakKeyDictionary[asyncio.Task[Any], float] = weakref.WeakKeyDictionary()

    def holed(self) -> bool:
        """Whether a chunk of the job that runs in this task was given up: its stream has a hole."""
        return asyncio.current_task() in self._holed

    def answered(self, task: asyncio.Task[Any], since: float) -> bool:
        """Whether the platform took the result of the job that ran in `task`, posted `since` (clock.awake) or later.
        """
        return self._answered.get(task, -math.inf) >= since

    def hurry(self, limit: float) -> None:
        """From now on a POST takes at most `limit` seconds, also those under way; one that took so long is given up."""
        self._limit = limit
        for timeout in self._open:
            _shorten(timeout, limit)

    def thawed(self) -> None:
        """The process was frozen: what waits for an answer may wait for none, and is soon made again."""
        for timeout, least in self._open.items():
            _shorten(timeout, least)

    async def stream(self, session: Connections, job_data: dict[str, Any], job: dict[str, Any]) -> None:
        """Post one part of an answer; in place of the SDK's `stream_result`.

        A whole answer is the result and nothing else. One of a job that asked for a stream is shown there too, if the
        platform takes it.
        """
        whole = not isinstance(job_data.get("output"), str)
        if whole and not streams(job):
            return
        text = _text(job_data)
        if whole and _size(text) > CHUNK_LIMIT:
            return
        try:
            await self._post(session, _url(JOB_STREAM_URL, job, False), text, job["id"])
        except Undelivered as error:
            _log.error(f"A part of the answer was not delivered: {error}", job["id"])
            task = asyncio.current_task()
            if task and not whole:
                self._holed.add(task)

    async def result(self, session: Connections, job_data: dict[str, Any], job: dict[str, Any],
                     is_stream: bool = False) -> None:
        """Post what a job ends with, {"output": …} or {"error": text}; in place of the SDK's `send_result`."""
        url = _url(JOB_DONE_URL, job, is_stream and streams(job))
        text = _text(job_data)
        if (size := _size(text)) > RESULT_LIMIT:
            text = _failed(job, f"The result is {size / MB:.1f} MB of JSON, more than the {RESULT_LIMIT / MB:g} MB "
                           "that RunPod delivers: ask for less, or stream a route that is not cumulative.", 413)
        try:
            try:
                began = await self._post(session, url, text, job["id"], last=True)
            except Undelivered as error:
                if error.refused is None or "error" in job_data:
                    raise
                # Without an answer the job would count as running, or as completed with nothing.
                _log.error(f"The result was refused: {error}", job["id"])
                text = _failed(job, f"The platform refused the result of {size / MB:.1f} MB with status "
                               f"{error.refused}.", error.refused)
                began = await self._post(session, url, text, job["id"], last=True)
            if task := asyncio.current_task():
                self._answered[task] = began
        except Undelivered as error:
            _log.error(f"Failed to return job results. | {error}", job["id"])
        finally:
            _log.info("Finished.", job["id"])

    async def _post(self, session: Connections, url: str, text: str, job_id: str,
                    last: bool = False) -> float:
        """Returns when the attempt that was taken began (clock.awake). Raises Undelivered. last: nothing more is
        posted of this job."""
        headers = {"charset": "utf-8", "Content-Type": "application/x-www-form-urlencoded", "X-Request-ID": job_id}
        if large := len(text) > _SLICE:
            headers["Content-Length"] = str(_size(text))
        for_size, began = len(text) / _BYTES_A_SECOND, awake()
        for pause in (*_PAUSES, None):
            data = _in_turn(_encoded(text)) if large else text.encode("utf-8", "replace")
            attempt = awake()
            try:
                async with asyncio.timeout(_POST_LIMIT + for_size if self._limit is None else self._limit) as timeout:
                    self._open[timeout] = _GRACE + for_size
                    try:
                        async with session.post(url, data=data, headers=headers) as response:
                            await response.read()
                            response.raise_for_status()
                            return attempt
                    finally:
                        del self._open[timeout]
            except (aiohttp.ClientError, ConnectionError, TimeoutError) as error:
                status = getattr(error, "status", None)
                refused = status if status and 400 <= status < 500 and status not in (408, 425, 429) else None
                # In a hurry the job's next POST, which says that it failed, is worth more than one that gets no answer.
                stuck = self._limit is not None and isinstance(error, TimeoutError)
                if stuck and last:  # after it there is no next: one more attempt, or a job that was done is lost
                    stuck = last = False
                if refused or stuck or pause is None or awake() - began > _GIVE_UP:
                    raise Undelivered(f"{type(error).__name__} {status or ''}".strip(), refused) from error
                await asyncio.sleep(pause)
        raise AssertionError  # the last round returns or raises


def _shorten(timeout: asyncio.Timeout, limit: float) -> None:
    if not timeout.expired():
        latest = asyncio.get_running_loop().time() + limit
        timeout.reschedule(min(latest, timeout.when() or latest))


def streams(job: dict[str, Any]) -> bool:
    """Whether a job asks for a stream: with `stream` in its input, or in the body for a route in there."""
    given = job.get("input")
    parts = (given, given.get("openai_input"), given.get("body")) if isinstance(given, dict) else ()
    route = given.get("route") if isinstance(given, dict) else None
    return any(isinstance(part, dict) and wants_stream(part, route if isinstance(route, str) else "")
               for part in parts)


def parts(text: str) -> Iterator[Chunk]:
    """`text`, of whole events, as chunks that the platform takes: cut between events, within one only if it must be."""
    if 7 * len(text) < CHUNK_LIMIT or _size(_text({"output": text})) <= CHUNK_LIMIT:  # at most six a letter
        yield Chunk(text)
        return
    middle = len(text) // 2
    ends = text.rfind("\n\n", 0, middle) + 2, text.find("\n\n", middle) + 2
    cut = min((end for end in ends if 1 < end < len(text)), key=lambda end: abs(end - middle), default=middle)
    yield from parts(text[:cut])
    yield from parts(text[cut:])


def _failed(job: dict[str, Any], message: str, code: int) -> str:
    kind = "request_too_large" if code == 413 else "server_error"
    return _text({"error": JobError(message, type=kind, code=code).to_json(job["id"])})


def _url(template: str, job: dict[str, Any], is_stream: bool) -> str:
    return f"{template.replace('$ID', job['id'])}&isStream={'true' if is_stream else 'false'}"


def _text(job_data: dict[str, Any]) -> str:
    return json.dumps(job_data, ensure_ascii=False)


def _size(text: str) -> int:
    """Bytes of `text` in UTF-8."""
    return len(text) if text.isascii() else sum(map(len, _encoded(text)))


def _encoded(text: str) -> Iterator[bytes]:
    """A large body in pieces: as a whole, its bytes would lie in memory once more, or twice, beside the text."""
    # A lone surrogate is no UTF-8: better shown as a question mark than a job without an answer.
    return (text[start:start + _SLICE].encode("utf-8", "replace") for start in range(0, len(text), _SLICE))


async def _in_turn(pieces: Iterator[bytes]) -> AsyncIterator[bytes]:
    for piece in pieces:
        yield piece
        await asyncio.sleep(0)  # the loop writes what it was given before it is given more
