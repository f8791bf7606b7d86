"""A stand-in for RunPod's serverless platform on loopback: one endpoint, its queue, its workers, its clients.

Start it, start a worker with the environment it prints, then talk to it as to api.runpod.ai:

  POST /v2/ID/run  /runsync[?wait=ms]     GET  /v2/ID/status/JOB    GET|POST /v2/ID/stream/JOB
  POST /v2/ID/cancel/JOB  /purge-queue    GET  /v2/ID/health
  GET|POST /v2/ID/openai/v1/…             streams when the body has "stream": true

Any bearer key is accepted. The worker's side is the protocol of the runpod SDK: job-take, job-take-batch,
job-stream, job-done, job-stop, ping. Nothing is kept on disk.
"""

from __future__ import annotations

import asyncio
import sys
from collections import Counter
from collections.abc import Callable

from aiohttp import web

from local.platform_client import ClientRoutes
from local.platform_faults import Call, Faults
from local.platform_jobs import JobStore
from local.platform_rates import Rates
from local.platform_records import Job, Limits, Policy, Refused, Unknowns
from local.platform_waiting import Handle, Waiting
from local.platform_webhooks import Webhooks
from local.platform_worker import WorkerRoutes

WORKER_KEY = "local-worker-key"
RESULT_SLACK = 2**20  # a result just over its limit must be read to be refused by name, not cut off


class Platform:
    """The platform in this process: `async with Platform(port=0) as p:`.

    p.url: base URL of the clients' API, ending in /v2/ENDPOINT. p.store: the jobs. p.faults: planned faults.
    p.calls: every worker call, in order; p.posts: how many of each kind were answered, p.begun: how many came
    in (a long poll is answered late). post_delay_ms may be changed while
    running: it is the round trip of every job-stream and job-done POST, half before it takes effect.
    unknowns: what RunPod does not document, may be replaced while running. rate_limits: answer 429 beyond them.
    longest_address: bytes of one that is read; what is longer is answered 400, as ordinary servers do above 8 KB.
    """

    def __init__(self, host: str = "127.0.0.1", port: int = 0, endpoint_id: str = "local",
                 post_delay_ms: float = 0.0, limits: Limits | None = None, policy: Policy | None = None,
                 long_poll: float = 20.0, auth: bool = True, public_url: str | None = None,
                 unknowns: Unknowns | None = None, rate_limits: bool = False,
                 longest_address: int = 8190, log: Callable[[str], None] = lambda line: None):
        self.host, self.port, self.endpoint_id = host, port, endpoint_id
        self.post_delay_ms, self.long_poll, self.auth = post_delay_ms, long_poll, auth
        self.unknowns = unknowns or Unknowns()
        self.public_url, self.longest_address, self.log = public_url, longest_address, log
        self.rates = Rates() if rate_limits else None
        self.store = JobStore(limits=limits, policy=policy, on_change=self._changed,
                              split_chunks=lambda: self.unknowns.large_chunk == "split")
        self.faults, self.calls, self.posts, self.begun = Faults(), [], Counter(), Counter()
        self.waiting = Waiting()
        self.webhooks = Webhooks()
        self._timer: asyncio.TimerHandle | None = None
        self._runner: web.AppRunner | None = None
        self.closing = asyncio.Event()

    # ------------------------------------------------------------ life
    async def __aenter__(self) -> Platform:
        largest = max(self.store.limits.runsync_body, self.store.limits.result) + RESULT_SLACK
        app = web.Application(client_max_size=2 * largest, middlewares=[self._refusals])
        base = f"/v2/{self.endpoint_id}"
        WorkerRoutes(self).add_to(app.router, base)
        ClientRoutes(self).add_to(app.router, base)
        # handler_cancellation: an OpenAI stream whose client goes away must cancel its job.
        self._runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=1,
                                     max_line_size=self.longest_address)
        await self._runner.setup()
        await web.TCPSite(self._runner, self.host, self.port, backlog=1024).start()
        self.port = self._runner.addresses[0][1]
        return self

    async def __aexit__(self, *exc) -> None:
        await self.stop()

    async def stop(self) -> None:
        """Nobody answers on the port from now on. May be called more than once."""
        self.closing.set()
        if self._timer:
            self._timer.cancel()
        self.waiting.wake_all()
        await self.webhooks.stop()
        await self._runner.cleanup()

    @property
    def url(self) -> str:
        host = "127.0.0.1" if self.host == "0.0.0.0" else self.host
        return f"{self.public_url or f'http://{host}:{self.port}'}/v2/{self.endpoint_id}"

    @property
    def openai_url(self) -> str:
        """The base URL of an OpenAI client."""
        return self.url + "/openai/v1"

    def worker_environ(self, worker_id: str = "worker-1") -> dict[str, str]:
        """The variables that the platform sets for a worker's process."""
        return {"RUNPOD_WEBHOOK_GET_JOB": f"{self.url}/job-take/$ID?gpu=local",
                "RUNPOD_WEBHOOK_POST_OUTPUT": f"{self.url}/job-done/$RUNPOD_POD_ID/$ID?gpu=local",
                "RUNPOD_WEBHOOK_POST_STREAM": f"{self.url}/job-stream/$RUNPOD_POD_ID/$ID?gpu=local",
                "RUNPOD_WEBHOOK_PING": f"{self.url}/ping/$RUNPOD_POD_ID",
                "RUNPOD_ENDPOINT_ID": self.endpoint_id, "RUNPOD_POD_ID": worker_id,
                "RUNPOD_POD_HOSTNAME": worker_id, "RUNPOD_AI_API_KEY": WORKER_KEY,
                "RUNPOD_PING_INTERVAL": "10000"}

    # ------------------------------------------------------------ for tests, in this process
    async def submit(self, job_input, *, source: str = "run", policy: dict | None = None) -> Handle:
        """Queue a job as POST /run does."""
        return Handle(self.waiting, self.store.submit(job_input, source, policy))

    def job(self, job_id: str) -> Handle:
        return Handle(self.waiting, self.store.get(job_id))

    async def cancel(self, job_id: str) -> None:
        self.store.cancel(job_id)

    def requeue(self, job_id: str) -> None:
        self.store.requeue(job_id)

    def lost(self, silence: float) -> list[Job]:
        """Jobs in progress whose worker has not pinged for `silence` seconds."""
        return self.store.lost(silence)

    def calls_of(self, kind: str, job_id: str | None = None) -> list[Call]:
        return [c for c in self.calls if c.kind == kind and job_id in (None, c.job_id)]

    async def wait_for(self, predicate: Callable[[], object], timeout: float = 30.0):
        """The first true value of `predicate()`, tried again after every job change and worker call."""
        return await self.until(None, predicate, timeout)

    async def until(self, key: str | None, predicate, timeout: float | None):
        """As `wait_for`, but woken only by `key`: a job's id, "queue" (a job waits), "stop" (a job ended).

        With hundreds of open streams a chunk must wake its own reader, not all of them.
        """
        return await self.waiting.until(key, predicate, timeout)

    def _changed(self, job: Job) -> None:
        if job.status != "IN_PROGRESS" or not job.chunks:
            self.log(f"{job.id} {job.status}" + (f": {job.error}" if job.error else ""))
        self.wake(job.id)
        self.webhooks.changed(job)
        if job.status == "IN_QUEUE":
            self.wake("queue")
        elif job.is_final:
            self.wake("stop")
        self.wake(None)
        self._arm()

    def wake(self, key: str | None) -> None:
        self.waiting.wake(key)

    def _arm(self) -> None:
        due = self.store.next_deadline()
        if due is None or self.closing.is_set():
            return
        if self._timer:
            self._timer.cancel()
        # The store's clock is time.monotonic, and the event loop's may be another one.
        delay = max(0.0, due - self.store.clock())
        self._timer = asyncio.get_running_loop().call_later(delay, self._expire)

    def _expire(self) -> None:
        self.store.expire()
        self._arm()

    @web.middleware
    async def _refusals(self, request: web.Request, handler):
        try:
            return await handler(request)
        except Refused as refused:
            return web.json_response({"error": refused.message}, status=refused.status)
        except web.HTTPException as error:
            return web.json_response({"error": error.reason}, status=error.status)


if __name__ == "__main__":
    from local.platform_program import main
    sys.exit(main())
