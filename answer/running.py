"""One running request to the engine, and what has to be undone when it ends early."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import aiohttp

from answer.request import Request
from utils import JobError


class Running:
    """`abort(rid)` tells the engine to stop a request by name.

    streamed: the client has seen something; produced: something of the engine's answer; finished: nothing is left to
    undo; failed: done once `fail` was called, whose error is in `error`.
    """

    def __init__(self, request: Request, abort: Callable[[str], None]):
        self.request, self._abort = request, abort
        self.opening: asyncio.Future | None = None
        self.response: aiohttp.ClientResponse | None = None
        self.streamed = self.produced = self.finished = False
        self.failed = asyncio.get_running_loop().create_future()
        self.error: JobError | None = None
        self._unfinished = False  # the engine may still be working on it

    def fail(self, error: JobError) -> None:
        """End the request with `error`, wherever it is waiting."""
        if self.error is None:
            self.error = error
            self.failed.set_result(None)
            if self.response is not None:
                self.response.close()  # a pending read fails at once

    def close(self) -> None:
        """Break the connection of this attempt, unless its answer is complete."""
        opening, response, self.opening, self.response = self.opening, self.response, None, None
        if opening is not None and not opening.done():
            opening.cancel()
            self._unfinished = True
        elif opening is not None and response is None and not opening.cancelled() and opening.exception() is None:
            response = opening.result()
        if response is not None and not response.content.at_eof():
            response.close()
            self._unfinished = True

    def stop(self, _task: asyncio.Task | None = None) -> None:
        """Once: break the connection, and abort by name what the engine may still be working on."""
        if self.finished:
            return
        self.finished = True
        self.close()
        if self._unfinished:
            for rid in self.request.rids:
                self._abort(rid)
