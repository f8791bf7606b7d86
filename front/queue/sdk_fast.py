"""What stands in the runpod SDK 1.12.0 between a waiting job and its start, taken away.

Used by handler.py alone, and only while SDK_FAST_START is on; off, the SDK's own loops run. The same test that guards
sdk.py fails when the SDK's source changes. In modules/rp_scale.py, as read:

- A job that is queued is already counted as in progress, and `current_occupancy` adds the queue to that. A burst that
  fills half of the concurrency therefore looks like a full worker, and taking jobs stops for a second.
- A worker that really is full looks again only once a second: a slot that is free stays empty for half of it.
- A job that was taken starts when `run_jobs` next looks into the queue, which is every 100 ms.
- A job whose task is cancelled before its first step is counted as in progress for ever.
"""

from __future__ import annotations

import asyncio


def prompt(scaler_class: type) -> type:
    """A subclass of the SDK's JobScaler that takes a job as soon as there is room, and starts it as soon as it is
    taken."""

    class Scaler(scaler_class):
        def __init__(self, config):
            super().__init__(config)
            self._queued, self._room = asyncio.Event(), asyncio.Event()
            self._no_more = False  # nothing is put into the queue any more

        def current_occupancy(self) -> int:
            return self.job_progress.get_job_count()

        async def set_scale(self):
            # The SDK's get_jobs begins each of its rounds here: what the last one took is in the queue by now.
            self._queued.set()
            await super().set_scale()
            while self.is_alive() and self.current_occupancy() >= self.current_concurrency:
                self._room.clear()
                await self._room.wait()

        def kill_worker(self):
            super().kill_worker()
            self._room.set()

        async def get_jobs(self, session):
            try:
                await super().get_jobs(session)
            finally:
                self._no_more = True
                self._queued.set()

        async def run_jobs(self, session):
            running: set[asyncio.Task] = set()
            while True:
                self._queued.clear()
                while not self.jobs_queue.empty():
                    job = self.jobs_queue.get_nowait()
                    task = asyncio.create_task(self.handle_job(session, job))
                    self.jobs_tasks[job["id"]] = task
                    running.add(task)
                    task.add_done_callback(running.discard)
                    task.add_done_callback(lambda task, job=job: self._over(task, job))
                if self._no_more:
                    break
                await self._queued.wait()
            await asyncio.gather(*running, return_exceptions=True)

        def _over(self, task: asyncio.Task, job: dict) -> None:
            if not task.cancelled():
                task.exception()  # the SDK has logged it
            if self.jobs_tasks.get(job["id"]) is task:  # cancelled before it began: nobody else clears it away
                del self.jobs_tasks[job["id"]]
                self.job_progress.remove(job)
            self._room.set()

    return Scaler
