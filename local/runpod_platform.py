"""A stand-in for RunPod's serverless platform on loopback: one endpoint, its queue, its workers, its clients.

Start it, start a worker with the environment it prints, then talk to it as to api.runpod.ai:

  POST /v2/ID/run  /runsync[?wait=ms]     GET  /v2/ID/status/JOB    GET|POST /v2/ID/stream/JOB
  POST /v2/ID/cancel/JOB  /purge-queue    GET  /v2/ID/health
  GET|POST /v2/ID/openai/v1/…             streams when the body has "stream": true

Any bearer key is accepted. The worker's side is the protocol of the runpod SDK: job-take, job-take-batch,
job-stream, job-done, job-stop, ping. Nothing is kept on disk.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
from collections import Counter
from collections.abc import Callable

from aiohttp import web

from local.platform_client import ClientRoutes
from local.platform_faults import Call, Faults
from local.platform_jobs import JobStore
from local.platform_rates import Rates
from local.platform_records import Job, Limits, Policy, Refused
from local.platform_worker import WorkerRoutes

WORKER_KEY = "local-worker-key"
GET_INPUTS = {"empty": {}, "null": None, "absent": ...}
RESULT_SLACK = 2**20  # a result just over its limit must be read to be refused by name, not cut off


class Platform:
    """The platform in this process: `async with Platform(port=0) as p:`.

    p.url: base URL of the clients' API, ending in /v2/ENDPOINT. p.store: the jobs. p.faults: planned faults.
    p.calls: every worker call, in order; p.posts: how many of each kind were answered, p.begun: how many came
    in (a long poll is answered late). post_delay_ms may be changed while
    running: it is the round trip of every job-stream and job-done POST, half before it takes effect.
    get_input: what the job of a GET on the OpenAI route carries as openai_input: "empty" ({}), "null" or
    "absent": which one the platform sends is not documented. rate_limits: answer 429 beyond them.
    """

    def __init__(self, host: str = "127.0.0.1", port: int = 0, endpoint_id: str = "local",
                 post_delay_ms: float = 0.0, limits: Limits | None = None, policy: Policy | None = None,
                 long_poll: float = 20.0, auth: bool = True, public_url: str | None = None,
                 get_input: str = "empty", rate_limits: bool = False,
                 log: Callable[[str], None] = lambda line: None):
        self.host, self.port, self.endpoint_id = host, port, endpoint_id
        self.post_delay_ms, self.long_poll, self.auth = post_delay_ms, long_poll, auth
        self.get_input = GET_INPUTS[get_input]
        self.public_url, self.log = public_url, log
        self.rates = Rates() if rate_limits else None
        self.store = JobStore(limits=limits, policy=policy, on_change=self._changed)
        self.faults, self.calls, self.posts, self.begun = Faults(), [], Counter(), Counter()
        self._waiters: dict[str | None, list[asyncio.Future]] = {}
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
        self._runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=1)
        await self._runner.setup()
        await web.TCPSite(self._runner, self.host, self.port, backlog=1024).start()
        self.port = self._runner.addresses[0][1]
        return self

    async def __aexit__(self, *exc) -> None:
        self.closing.set()
        if self._timer:
            self._timer.cancel()
        self._wake_all()
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
        return Handle(self, self.store.submit(job_input, source, policy))

    def job(self, job_id: str) -> Handle:
        return Handle(self, self.store.get(job_id))

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
        async with asyncio.timeout(timeout):
            while not (value := predicate()):
                waiter = asyncio.get_running_loop().create_future()
                waiters = self._waiters.setdefault(key, [])
                waiters.append(waiter)
                try:
                    await waiter
                finally:
                    if waiter in waiters:
                        waiters.remove(waiter)
                    if not waiters and self._waiters.get(key) is waiters:
                        del self._waiters[key]
            return value

    def _changed(self, job: Job) -> None:
        if job.status != "IN_PROGRESS" or not job.chunks:
            self.log(f"{job.id} {job.status}" + (f": {job.error}" if job.error else ""))
        self.wake(job.id)
        if job.status == "IN_QUEUE":
            self.wake("queue")
        elif job.is_final:
            self.wake("stop")
        self.wake(None)
        self._arm()

    def wake(self, key: str | None) -> None:
        for waiter in list(self._waiters.get(key, ())):
            if not waiter.done():
                waiter.set_result(None)

    def _wake_all(self) -> None:
        for key in list(self._waiters):
            self.wake(key)

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


class Handle:
    """A job seen from this process: the store's fields, and waiting for what happens to them."""

    def __init__(self, platform: Platform, job: Job):
        self._platform, self.record = platform, job

    def __getattr__(self, name: str):
        return getattr(self.record, name)

    async def until(self, predicate: Callable[[Job], object], timeout: float = 60.0):
        return await self._platform.until(self.id, lambda: predicate(self.record), timeout)

    async def finished(self, timeout: float = 60.0) -> Handle:
        """Wait for a final state."""
        await self.until(lambda job: job.is_final, timeout)
        return self

    async def chunk(self, index: int = 0, timeout: float = 60.0):
        """Wait for chunk number `index`; returns its output."""
        await self.until(lambda job: len(job.chunks) > index, timeout)
        return self.chunks[index].output


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(prog="python -m local.runpod_platform", description=__doc__,
                                formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    p.add_argument("--port", type=int, default=8000, help="0 picks a free one (default: %(default)s)")
    p.add_argument("--endpoint-id", default="local", metavar="ID", help="default: %(default)s")
    p.add_argument("--public-url", metavar="URL", help="how workers and clients reach it, when not by the "
                                                       "address above (http://platform:8000)")
    p.add_argument("--post-delay-ms", type=float, default=0.0, metavar="MS",
                   help="round trip of every POST of a worker (default: %(default)s)")
    p.add_argument("--execution-timeout-ms", type=int, default=Policy.execution_timeout, metavar="MS",
                   help="how long a job may run (default: %(default)s)")
    p.add_argument("--ttl-ms", type=int, default=Policy.ttl, metavar="MS",
                   help="how long a job may exist before it ends (default: %(default)s)")
    p.add_argument("--keep-result-s", type=float, default=Limits.keep_run, metavar="S",
                   help="how long a result is kept, that of /runsync a minute at most (default: %(default)s)")
    p.add_argument("--long-poll-s", type=float, default=20.0, metavar="S",
                   help="how long job-take and job-stop are held open (default: %(default)s)")
    p.add_argument("--get-input", choices=sorted(GET_INPUTS), default="empty",
                   help="the openai_input of a GET on the OpenAI route (default: %(default)s)")
    p.add_argument("--rate-limits", action="store_true", help="answer 429 beyond the documented rates")
    p.add_argument("--no-auth", action="store_true", help="answer clients without a key")
    p.add_argument("--quiet", action="store_true", help="no line per change of a job")
    return p


async def run(options: argparse.Namespace) -> None:
    limits = Limits(keep_run=options.keep_result_s, keep_runsync=min(options.keep_result_s,
                                                                     Limits.keep_runsync))
    policy = Policy(options.execution_timeout_ms, options.ttl_ms)

    def say(line: str) -> None:
        print(line, flush=True)
    platform = Platform(options.host, options.port, options.endpoint_id, options.post_delay_ms, limits,
                        policy, options.long_poll_s, not options.no_auth, options.public_url,
                        options.get_input, options.rate_limits,
                        log=(lambda line: None) if options.quiet else say)
    async with platform:
        say(f"platform: {platform.url}\nopenai:   {platform.openai_url}\n\nA worker's environment:")
        for name, value in platform.worker_environ().items():
            say(f"export {name}='{value}'")
        stopped = asyncio.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, stopped.set)
        await stopped.wait()


def main(argv: list[str] | None = None) -> int:
    try:
        asyncio.run(run(parser().parse_args(argv)))
    except OSError as error:
        print(f"cannot listen: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
