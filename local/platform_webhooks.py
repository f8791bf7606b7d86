"""The stand-in's webhooks: a finished job is posted to the address that came with it.

As RunPod documents it (serverless/endpoints/send-requests): the body is that of /status; where the answer is not 200,
it is tried twice more.
"""

from __future__ import annotations

import asyncio

import aiohttp

from local.platform_records import Job

TRIES, PAUSE = 3, 10.0  # times, seconds between two
LIMIT = aiohttp.ClientTimeout(total=30)


class Webhooks:
    """Addresses by job, and the POSTs under way. pause: seconds before another try."""

    def __init__(self, pause: float = PAUSE):
        self.pause = pause
        self._addresses: dict[str, str] = {}
        self._posts: set[asyncio.Task[None]] = set()

    def expect(self, job: Job, address: str) -> None:
        self._addresses[job.id] = address
        self.changed(job)

    def changed(self, job: Job) -> None:
        """To be told of every change of a job."""
        if job.is_final and (address := self._addresses.pop(job.id, None)):
            post = asyncio.create_task(self._post(address, job.public()))
            self._posts.add(post)
            post.add_done_callback(self._posts.discard)

    async def _post(self, address: str, body: dict) -> None:
        for attempt in range(TRIES):
            if attempt:
                await asyncio.sleep(self.pause)
            try:
                async with aiohttp.ClientSession(timeout=LIMIT) as session, session.post(address, json=body) as answer:
                    if answer.status == 200:
                        return
            except (aiohttp.ClientError, TimeoutError):
                pass

    async def settled(self) -> None:
        """Until none is under way."""
        await asyncio.gather(*self._posts)

    async def stop(self) -> None:
        for post in self._posts:
            post.cancel()
        await asyncio.gather(*self._posts, return_exceptions=True)
