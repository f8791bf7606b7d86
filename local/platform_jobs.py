"""The job store of the platform's stand-in: queue, states, deadlines. No I/O, no clock of its own.

Times are seconds of the injected clock.
"""

from __future__ import annotations

import heapq
import itertools
import json
import time
import uuid
from collections import deque
from collections.abc import Callable

from local.platform_records import Chunk, Job, Limits, Policy, Refused, Worker


class JobStore:
    """All jobs of one endpoint. `on_change(job)` is called after every change of a job; `split_chunks()` says whether
    chunks above the limit are taken."""

    def __init__(self, clock: Callable[[], float] = time.monotonic, limits: Limits | None = None,
                 policy: Policy | None = None, on_change: Callable[[Job], None] = lambda job: None,
                 split_chunks: Callable[[], bool] = lambda: False):
        self.clock, self.limits, self.policy = clock, limits or Limits(), policy or Policy()
        self.on_change, self.split_chunks = on_change, split_chunks
        self.jobs: dict[str, Job] = {}
        self.queue: deque[Job] = deque()
        self.workers: dict[str, Worker] = {}
        self.stops: dict[str, list[str]] = {}
        self.retried = self.oversized_chunks = 0
        self._deadlines: list[tuple[float, int, str, Job]] = []
        self._order = itertools.count()

    # ------------------------------------------------------------ clients
    def submit(self, job_input, source: str = "run", policy: dict | None = None) -> Job:
        """Queue a job; Refused(400) for a policy out of range."""
        prefix, suffix = ("", "-u1") if source == "run" else ("sync-", "-u1")
        job = Job(f"{prefix}{uuid.uuid4()}{suffix}", job_input, source, self._policy(policy), self.clock())
        self.jobs[job.id] = job
        self.queue.append(job)
        self._at(job.created + job.policy.ttl / 1000, "ttl", job)
        self.on_change(job)
        return job

    def _policy(self, wish: dict | None) -> Policy:
        if wish is None:
            return self.policy
        if not isinstance(wish, dict):
            raise Refused(400, "policy must be an object")
        values = {}
        for key, name, bounds in (("executionTimeout", "execution_timeout", self.limits.execution_timeout),
                                  ("ttl", "ttl", self.limits.ttl)):
            value = wish.get(key)
            if value is None:
                continue
            if not isinstance(value, int) or not bounds[0] <= value <= bounds[1]:
                raise Refused(400, f"policy.{key} must be {bounds[0]} to {bounds[1]} milliseconds")
            values[name] = value
        return Policy(**{"execution_timeout": self.policy.execution_timeout, "ttl": self.policy.ttl} | values)

    def get(self, job_id: str) -> Job:
        """The job; Refused(404) when unknown, past its time to live, or no longer kept."""
        job = self.jobs.get(job_id)
        if job is None or job.expired:
            raise Refused(404, f"job {job_id} not found")
        return job

    def cancel(self, job_id: str) -> Job:
        """Cancel a job that has not ended; its worker is told to stop it."""
        job = self.get(job_id)
        self._stop(job, "CANCELLED", None)
        return job

    def news(self, job: Job) -> list[dict]:
        """The stream entries since the last call, text above the chunk limit split into several."""
        fresh, job.read = job.chunks[job.read:], len(job.chunks)
        return [{"output": part} for chunk in fresh for part in self._parts(chunk)]

    def _parts(self, chunk: Chunk) -> list:
        if chunk.size <= self.limits.chunk or not isinstance(chunk.output, str):
            return [chunk.output]
        step = self.limits.chunk // 4  # characters; none is longer than four bytes
        return [chunk.output[i:i + step] for i in range(0, len(chunk.output), step)]

    def purge(self) -> int:
        """Cancel everything that waits; returns how many."""
        waiting = list(self.queue)
        for job in waiting:
            self._stop(job, "CANCELLED", None)
        return len(waiting)

    # ------------------------------------------------------------ workers
    def take(self, worker_id: str, most: int) -> list[Job]:
        """Hand out up to `most` jobs, oldest first."""
        self._worker(worker_id)
        taken = []
        while self.queue and len(taken) < most:
            job = self.queue.popleft()
            job.status, job.worker_id, job.taken = "IN_PROGRESS", worker_id, self.clock()
            job.attempts += 1
            self._at(job.taken + job.policy.execution_timeout / 1000, "execution", job)
            taken.append(job)
            self.on_change(job)
        return taken

    def chunk(self, worker_id: str, job_id: str, body: bytes) -> None:
        """A job-stream POST, {"output": …}. Ignored when the job has ended or is no longer this worker's.

        Refused(400) above the chunk limit, unless such chunks are taken and split for /stream.
        """
        job, payload = self._posted(job_id, body)
        if job.status != "IN_PROGRESS" or job.worker_id != worker_id:
            return
        if len(body) > self.limits.chunk:
            self.oversized_chunks += 1
            if not self.split_chunks():
                raise Refused(400, f"chunk of {len(body)} bytes exceeds {self.limits.chunk}")
        job.chunks.append(Chunk(self.clock(), payload.get("output"), len(body)))
        self.on_change(job)

    def done(self, worker_id: str, job_id: str, body: bytes) -> None:
        """A job-done POST, {"output": …} or {"error": …}; with status IN_PROGRESS only a progress report.

        Refused(400) above the result limit; the job is then COMPLETED without an output, as users of the
        platform report it.
        """
        job, payload = self._posted(job_id, body)
        if job.status != "IN_PROGRESS" or job.worker_id != worker_id:
            return
        if payload.get("status") == "IN_PROGRESS":
            job.progress = payload.get("output")
            self.on_change(job)
            return
        too_large = len(body) > self.limits.result
        if not too_large:
            job.output, job.error = payload.get("output"), payload.get("error")
        self._end(job, "FAILED" if job.error is not None else "COMPLETED")
        if too_large:
            raise Refused(400, f"result of {len(body)} bytes exceeds {self.limits.result}")

    def _posted(self, job_id: str, body: bytes) -> tuple[Job, dict]:
        job = self.jobs.get(job_id)
        if job is None:
            raise Refused(404, f"job {job_id} not found")
        try:
            payload = json.loads(body)
        except ValueError:
            payload = None
        if not isinstance(payload, dict):
            raise Refused(400, "the body must be a JSON object")
        return job, payload

    def take_stops(self, worker_id: str) -> list[str]:
        """The ids of the jobs that this worker has to stop, each told once."""
        return self.stops.pop(worker_id, [])

    def ping(self, worker_id: str, query) -> None:
        """A heartbeat, or the report of a failed fitness check (status=unhealthy, check, reason)."""
        worker = self._worker(worker_id)
        worker.last_ping = self.clock()
        worker.jobs = tuple(filter(None, query.get("job_id", "").split(",")))
        for job in filter(None, map(self.jobs.get, worker.jobs)):
            job.named = worker.last_ping
        worker.version = query.get("runpod_version")
        if query.get("status") == "unhealthy":
            worker.unhealthy = f"{query.get('check')}: {query.get('reason')}"

    def _worker(self, worker_id: str) -> Worker:
        return self.workers.setdefault(worker_id, Worker(worker_id, self.clock()))

    def lost(self, silence: float) -> list[Job]:
        """Jobs in progress whose worker has not pinged for `silence` seconds."""
        edge = self.clock() - silence
        return [job for job in self.jobs.values() if job.status == "IN_PROGRESS"
                and max(self.workers[job.worker_id].last_ping or job.taken, job.taken) <= edge]

    def requeue(self, job_id: str) -> Job:
        """Put a job that its worker lost back at the head of the queue."""
        job = self.get(job_id)
        if job.status != "IN_PROGRESS":
            raise Refused(409, f"job {job_id} is {job.status}")
        job.status, job.worker_id, job.taken = "IN_QUEUE", None, None
        job.chunks.clear()
        job.read = 0
        self.queue.appendleft(job)
        self.retried += 1
        self.on_change(job)
        return job

    # ------------------------------------------------------------ ends and deadlines
    def _stop(self, job: Job, status: str, error: str | None) -> None:
        if job.is_final:
            return
        if job.status == "IN_QUEUE":
            self.queue.remove(job)
        else:
            self.stops.setdefault(job.worker_id, []).append(job.id)
        job.error = error
        self._end(job, status)

    def _end(self, job: Job, status: str) -> None:
        job.status, job.ended = status, self.clock()
        keep = self.limits.keep_run if job.source == "run" else self.limits.keep_runsync
        self._at(job.ended + keep, "forget", job)
        self.on_change(job)

    def _at(self, due: float, what: str, job: Job) -> None:
        heapq.heappush(self._deadlines, (due, next(self._order), what, job))

    def next_deadline(self) -> float | None:
        """When `expire` has something to do, or None."""
        return self._deadlines[0][0] if self._deadlines else None

    def expire(self) -> None:
        """Act on every deadline that has passed."""
        now = self.clock()
        while self._deadlines and self._deadlines[0][0] <= now:
            due, _, what, job = heapq.heappop(self._deadlines)
            if what == "forget":
                self.jobs.pop(job.id, None)
            elif what == "ttl" and not job.is_final:
                job.expired = True
                self._stop(job, "TIMED_OUT", "job exceeded its time to live")
            elif what == "execution" and job.status == "IN_PROGRESS" \
                    and due == job.taken + job.policy.execution_timeout / 1000:
                self._stop(job, "TIMED_OUT",
                           f"job exceeded its execution timeout of {job.policy.execution_timeout} ms")

    def health(self) -> dict:
        """The JSON of /health."""
        states = [job.status for job in self.jobs.values()]
        busy = {job.worker_id for job in self.jobs.values() if job.status == "IN_PROGRESS"}
        sick = {w.id for w in self.workers.values() if w.unhealthy}
        idle = set(self.workers) - busy - sick
        return {"jobs": {"completed": states.count("COMPLETED"), "failed": states.count("FAILED"),
                         "inProgress": states.count("IN_PROGRESS"), "inQueue": states.count("IN_QUEUE"),
                         "retried": self.retried},
                "workers": {"idle": len(idle), "initializing": 0, "ready": len(idle | busy),
                            "running": len(busy), "throttled": 0, "unhealthy": len(sick)}}
