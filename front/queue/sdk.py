"""What this worker relies on of the runpod SDK's inside, for version 1.12.0: its orderly end, and its POSTs.

Used by handler.py alone, which hands in the SDK's own class. A test compares the SDK's source with what was read when
this was written, and fails when it changes.

The SDK's own shutdown (modules/rp_scale.py) stops running jobs' successors at once, but
- waits up to 90 s for a long poll that asks for new jobs, and loses a job which that poll still brings,
- waits as long for the poll that asks which jobs to stop,
- waits for running jobs without a limit.
And it drops the stop of a job that has not begun yet, while it waits in the SDK's queue: that job runs to its end.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

import aiohttp

import utils

# How long a poll for jobs is left open after the signal. What the platform assigned before it decided to stop this
# worker is already on its way and arrives within a round trip; after that, closing the poll loses nothing.
LAST_POLL = 2.0
# How long the stop of a job that has not begun is remembered: far longer than a job waits in the SDK's queue.
STOP_KEPT = 60.0


class Chunk(str):
    """A piece of an answer that is cheap to show: for its DEBUG lines the SDK makes the repr of every chunk, three
    times, and then does not print them."""

    __slots__ = ()

    def __repr__(self) -> str:
        return f"<{len(self)} characters>"

    def __format__(self, spec: str) -> str:
        return repr(self)


def draining(scaler_class: type, *, drain_timeout: float, fail_all: Callable[[], None],
             on_end: Callable[[], Awaitable[None]]) -> type:
    """A subclass of the SDK's JobScaler with an orderly end.

    On SIGTERM or SIGINT: no new jobs; running ones go on for `drain_timeout` seconds, and are delivered; then
    `fail_all` is called, which makes the rest fail; `on_end` is awaited last, on the SDK's event loop. A second
    signal ends the process at once.
    """

    class Scaler(scaler_class):
        def __init__(self, config):
            super().__init__(config)
            self._fetch, self.jobs_fetcher = self.jobs_fetcher, self._take
            self._stop: asyncio.Event | None = None
            self._stopped: dict[str, float] = {}  # jobs to stop that have not begun: id, time.monotonic

        async def run(self):
            self._loop, self._stop, self._idle = asyncio.get_running_loop(), asyncio.Event(), asyncio.Event()
            try:
                await super().run()
            finally:
                await on_end()

        def handle_shutdown(self, signum, frame):
            if self._stop is None:  # the loop is not up yet: there is nothing to drain
                raise SystemExit(0)
            if self._stop.is_set():
                # Not through the log: the signal may have interrupted a line that holds its lock.
                os.write(1, b"second signal: ending at once\n")
                os._exit(128 + signum)
            self._stop.set()
            self._loop.call_soon_threadsafe(self._loop.create_task, self._drain())

        async def _drain(self):
            utils.log(f"stopping: {len(self.jobs_tasks)} running jobs have {drain_timeout:.0f} s to finish "
                      "(DRAIN_TIMEOUT)")
            deadline = time.monotonic() + drain_timeout
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._idle.wait(), max(0.0, deadline - time.monotonic()))
            if not self._idle.is_set():
                fail_all()
                self.kill_worker()

        async def _take(self, session, count):
            # Only a call of this method, when everything that was taken is queued, may end the SDK's loops: a job
            # that is taken after they ended is lost.
            if self._stop.is_set():
                self.kill_worker()
                return None
            poll = asyncio.ensure_future(self._fetch(session, count))
            stop = asyncio.ensure_future(self._stop.wait())
            try:
                await asyncio.wait({poll, stop}, return_when=asyncio.FIRST_COMPLETED)
                if not poll.done():
                    await asyncio.wait({poll}, timeout=LAST_POLL)
                return poll.result() if poll.done() else None
            finally:
                poll.cancel()
                stop.cancel()

        async def stop_job(self, job_id):
            found = await super().stop_job(job_id)
            if not found:  # it waits in the SDK's queue, or is still on its way here, or is over
                now = time.monotonic()
                self._stopped = {k: at for k, at in self._stopped.items() if now - at < STOP_KEPT} | {job_id: now}
            return found

        async def handle_job(self, session, job):
            if self._stopped.pop(job["id"], None) is not None:
                asyncio.current_task().cancel()  # takes effect at the job's first wait; the SDK then clears it away
            await super().handle_job(session, job)

        async def run_jobs(self, session):
            try:
                await super().run_jobs(session)
            finally:
                self._idle.set()

        async def monitor_stop_signals(self, session):
            watch = asyncio.ensure_future(super().monitor_stop_signals(session))
            await self._idle.wait()  # until then a job can still be cancelled
            watch.cancel()
            await asyncio.wait({watch})

    return Scaler


_SLICE = 2**16  # characters
_PAUSES = (0.1, 0.3, 1.0, 2.0, 4.0, 8.0, 15.0)  # seconds between the attempts of one POST


def persistent(rp_http) -> weakref.WeakSet[asyncio.Task]:
    """Make the SDK's POSTs of chunks and results persistent; `rp_http` is its module of that name.

    The SDK tries a POST again that was answered 5xx, three times, but drops it without a word to the handler when the
    connection breaks. Here both are tried again for half a minute, in order: the job's next chunk waits. Returns the
    tasks of the jobs of which a POST was given up in the end: their streams have a hole.
    """
    undelivered: weakref.WeakSet[asyncio.Task] = weakref.WeakSet()

    async def transmit(client_session, url, job_data):
        headers = {"charset": "utf-8", "Content-Type": "application/x-www-form-urlencoded"}
        if large := len(job_data) > _SLICE:
            headers["Content-Length"] = str(sum(map(len, _encoded(job_data))))
        for pause in (*_PAUSES, None):
            try:
                data = _in_turn(_encoded(job_data)) if large else job_data
                async with client_session.post(url, data=data, headers=headers) as response:
                    await response.read()
                    response.raise_for_status()
                    return
            except (aiohttp.ClientError, ConnectionError, TimeoutError) as error:
                status = getattr(error, "status", None)
                hopeless = status is not None and status < 500 and status not in (408, 425, 429)
                if pause is None or hopeless:
                    undelivered.add(asyncio.current_task())
                    raise aiohttp.ClientError(f"POST given up: {type(error).__name__} {status or ''}") from error
                await asyncio.sleep(pause)

    rp_http._transmit = transmit
    return undelivered


def _encoded(text: str) -> Iterator[bytes]:
    """A large body in pieces: as a whole, its bytes would lie in memory once more, or twice, beside the text."""
    return (text[start:start + _SLICE].encode() for start in range(0, len(text), _SLICE))


async def _in_turn(pieces: Iterator[bytes]) -> AsyncIterator[bytes]:
    for piece in pieces:
        yield piece
        await asyncio.sleep(0)  # the loop writes what it was given before it is given more
