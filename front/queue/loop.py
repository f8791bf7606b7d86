"""Jobs from RunPod's queue: taken, run, stopped and, at the end, drained.

`JobLoop` takes the place of the SDK's JobScaler (runpod/serverless/modules/rp_scale.py), on the SDK's own functions:
`get_job` takes, `handle_job` runs one, `get_stop_signals` hears which to stop, and `JobsProgress` is what the ping and
`get_job` tell the platform. The SDK's own class pauses between these steps, stands still when the platform hands out
more than it was asked for, forgets the stop of a job that has not begun, and waits without a limit at the end.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

from runpod.http_client import TooManyRequests
from runpod.serverless.modules.rp_job import _job_stop_url, get_job, get_stop_signals, handle_job
from runpod.serverless.modules.rp_logger import RunPodLogger, _set_batch_id
from runpod.serverless.modules.worker_state import JobsProgress

import utils
from clock import awake, listen
from front.process import Ending
from front.queue.connections import Connections
from front.queue.delivery import Delivery
from front.queue.polls import Polls

# Seconds, all of them.
# How long the open poll for jobs is left open once the worker has to stop. What the platform assigned before it decided
# so is already on its way and arrives within a round trip; after that, closing the poll loses nothing.
LAST_POLL = 2.0
LAST_POST = 2.0  # how long one POST may take once DRAIN_TIMEOUT is over,
LAST_DELIVERY = 7.0  # and all of them
DEBOUNCE = 5.0  # after "too many requests", as the SDK has it
LONG_POLL = 1.0  # what is answered sooner, and with nothing, is no long poll: pauses grow up to
_PAUSE_EMPTY, _PAUSE_FAILED = 0.1, 5.0  # the first, or after failures the second
# How long a stop is remembered for a job that was never seen here: its hand-out may still be under way.
STOP_KEPT = 10.0
_ENDED_KEPT = 10_000  # ids of jobs that are over

_log = RunPodLogger()


class JobLoop:
    """Runs jobs until `ending` says otherwise; `start` has the shape of the SDK's JobScaler.start.

    limit: jobs at once, which is what is asked for: what the platform hands out beyond it runs as well. At the end no
    more are taken; the running ones go on for as long as they may; then `fail_all` is called, which makes the rest
    fail, and what cannot be delivered within seconds is given up. on_poll is called before each poll for jobs; on_end
    is awaited last, on the jobs' event loop. take, run, hear: the SDK's functions, or others in their place.
    """

    def __init__(self, config: dict[str, Any], *, limit: int, ending: Ending, delivery: Delivery,
                 fail_all: Callable[[], None], on_poll: Callable[[], None], on_end: Callable[[], Awaitable[None]],
                 take: Callable[..., Awaitable[Any]] = get_job, run: Callable[..., Awaitable[Any]] = handle_job,
                 hear: Callable[..., Awaitable[Any]] = get_stop_signals):
        self._config, self._limit, self._ending, self._delivery = config, limit, ending, delivery
        self._fail_all, self._on_poll, self._on_end = fail_all, on_poll, on_end
        self._handle, self._hears = run, hear is not get_stop_signals or _job_stop_url() is not None
        self._jobs, self._stops = Polls(take, self._begin_all), Polls(hear, self._stop_all)
        self._tasks: dict[str, list[asyncio.Task[None]]] = {}  # by job id, in the order in which they came
        self._told: set[asyncio.Task[None]] = set()  # those of them that were stopped
        self._ended: dict[str, None] = {}  # ids of jobs, the newest last
        self._early: dict[str, float] = {}  # stops of jobs that the open poll may bring: id, clock.awake
        self._room = asyncio.Event()
        self._progress = JobsProgress()

    @property
    def running(self) -> list[asyncio.Task[None]]:
        """The tasks of all jobs that are not over."""
        return [task for tasks in self._tasks.values() for task in tasks]

    def start(self) -> None:
        """Run until the worker is told to stop and has drained."""
        self._ending.run(self.run, self.stop)

    async def run(self) -> None:
        """The loop itself, on the running event loop."""
        self._stopping: asyncio.Future[float] = asyncio.get_running_loop().create_future()
        self._stopping.add_done_callback(lambda _: self._jobs.overtake())
        loop = asyncio.get_running_loop()
        deaf = listen(lambda _seconds: loop.call_soon_threadsafe(self._thawed))
        async with Connections() as self._platform:
            hearing = asyncio.create_task(self._hear_stops())
            try:
                await self._take_jobs()
                await self._jobs.close(LAST_POLL)
                await self._drain(self._stopping.result())
            finally:
                deaf()
                hearing.cancel()  # only now: until then a job can still be stopped
                await self._stops.close(0)
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(LAST_DELIVERY):
                        await self._on_end()

    def _thawed(self) -> None:
        self._jobs.thawed()
        self._stops.thawed()
        self._delivery.thawed()

    def stop(self, patience: float) -> None:
        """Take no more jobs; the running ones have `patience` seconds."""
        if not self._stopping.done():
            self._stopping.set_result(awake() + patience)
            utils.log(f"stopping: {len(self.running)} running jobs have {patience:g} s to finish")

    async def _drain(self, deadline: float) -> None:
        if tasks := self.running:
            await asyncio.wait(tasks, timeout=max(0.0, deadline - awake()))
        if tasks := self.running:
            self._fail_all()
            self._delivery.hurry(LAST_POST)
            await asyncio.wait(tasks, timeout=LAST_DELIVERY)
        if tasks := self.running:
            utils.log(f"given up, for the platform takes no answer of theirs: {', '.join(self._tasks)}", "error")
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks, timeout=1)

    # ------------------------------------------------------------ taking
    async def _take_jobs(self) -> None:
        short = 0  # polls in a row that brought nothing, and that at once
        while not self._stopping.done():
            room = self._limit - len(self.running)
            if room <= 0:
                self._room.clear()
                await self._unless_stopping(self._room.wait())
                continue
            began, pause, longest = awake(), 0.0, _PAUSE_EMPTY
            brought: Iterable[Any] | None = ()
            try:
                self._on_poll()
                brought = await self._jobs.answer(self._platform, room)
                self._begin_all(brought or ())
            except TimeoutError:
                _log.debug("The poll for jobs was not answered in time.")
            except TooManyRequests:
                pause = DEBOUNCE
            except Exception as error:
                _log.error(f"Failed to get job. | Error Type: {type(error).__name__} | Error Message: {error}")
                longest = _PAUSE_FAILED
            if not self._jobs.open:
                self._early.clear()
            short = 0 if brought or brought is None or awake() - began >= LONG_POLL else short + 1
            if short > 1:
                pause = max(pause, min(longest, 0.025 * 2.0 ** min(short, 10)))
            if pause:
                await self._unless_stopping(asyncio.sleep(pause))

    async def _unless_stopping(self, awaited: Awaitable[Any]) -> None:
        task = asyncio.ensure_future(awaited)
        await asyncio.wait({task, self._stopping}, return_when=asyncio.FIRST_COMPLETED)
        task.cancel()

    # ------------------------------------------------------------ one job
    def _begin_all(self, jobs: Iterable[Any]) -> None:
        for job in jobs:
            self._begin(job)

    def _begin(self, job: Any) -> None:
        job_id = job.get("id") if isinstance(job, dict) else None
        if not isinstance(job_id, str) or not job_id:
            _log.error("What was taken is no job, for it has no id.")
            return
        tasks = self._tasks.setdefault(job_id, [])
        task = asyncio.create_task(self._run_job(job, tasks[-1] if tasks else None))
        tasks.append(task)
        task.add_done_callback(functools.partial(self._over, job_id))
        self._progress.add(job_id)
        heard = self._early.pop(job_id, None)
        if heard is not None and awake() - heard < STOP_KEPT:
            self._stop(job_id, task)

    async def _run_job(self, job: dict[str, Any], earlier: asyncio.Task[None] | None) -> None:
        if earlier is not None:
            # The platform hands out a job that runs here: it gave it up for lost, or stopped it and was asked to do it
            # again (/retry), and the stop is still on its way. What the earlier run answers from now on answers both.
            taken = awake()
            await asyncio.wait({earlier})
            if self._delivery.answered(earlier, taken):
                return
        _set_batch_id(job.get("batchId"))  # for the SDK's log lines of this task
        try:
            await self._handle(self._platform, self._config, job)
        except Exception as error:  # never without an answer
            _log.error(f"Error handling job: {error}", job["id"])
            failed = utils.JobError(f"Internal error of the worker ({type(error).__name__}).", type="server_error",
                                    code=500)
            await self._delivery.result(self._platform, {"error": failed.to_json(job["id"])}, job)

    def _over(self, job_id: str, task: asyncio.Task[None]) -> None:
        """Clears away after a job, also after one that was stopped before its first step."""
        if task.cancelled():
            _log.info("Job stopped.", job_id)
        elif error := task.exception():
            _log.error(f"Error handling job: {error}", job_id)
        self._told.discard(task)
        self._tasks[job_id].remove(task)
        if not self._tasks[job_id]:
            del self._tasks[job_id]
            self._progress.remove(job_id)
            self._ended.pop(job_id, None)
            self._ended[job_id] = None
            if len(self._ended) > _ENDED_KEPT:
                del self._ended[next(iter(self._ended))]
        self._room.set()

    # ------------------------------------------------------------ stops
    async def _hear_stops(self) -> None:
        if not self._hears:
            _log.warn("RUNPOD_WEBHOOK_GET_JOB names no channel for stops: a cancelled job runs to its end.")
            return
        while True:
            began, pause = awake(), LONG_POLL
            try:
                heard = await self._stops.answer(self._platform)
                self._stop_all(heard or ())
                if heard or heard is None:  # None: overtaken
                    pause = 0.0
            except TimeoutError:
                _log.debug("The poll for stops was not answered in time.")
            except TooManyRequests:
                pause = DEBOUNCE
            except Exception as error:
                _log.error(f"Failed to hear stops. | Error Type: {type(error).__name__} | Error Message: {error}")
            await asyncio.sleep(max(0.0, began + pause - awake()))

    def _stop_all(self, job_ids: Iterable[str]) -> None:
        for job_id in job_ids:
            self.stop_job(job_id)

    def stop_job(self, job_id: str) -> None:
        """The platform wants this job no more.

        Its oldest run is meant that was not stopped yet. A stop for a job that is over is for the run that has ended;
        one for a job never seen here may have overtaken its hand-out, while a poll for jobs is open.
        """
        tasks = self._tasks.get(job_id, [])
        task = next((task for task in tasks if task not in self._told), None)
        if task is not None:
            self._stop(job_id, task)
        elif not tasks and self._jobs.open and job_id not in self._ended:
            self._early[job_id] = awake()

    def _stop(self, job_id: str, task: asyncio.Task[None]) -> None:
        _log.info("Stopping job.", job_id)
        self._told.add(task)
        task.cancel()
