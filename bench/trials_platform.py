"""Trials with a platform that does not take what it is given: never, slowly, twice, or because it is too large."""

from __future__ import annotations

import asyncio
import json
import signal

from bench.soak import sample
from bench.trial import Trial, failure, prompt, stack, stopped, wrong
from local.platform_waiting import Handle
from local.runpod_platform import Platform

_NEVER = 3600.0  # seconds
MB = 10**6


async def stuck_post_at_the_end() -> list[str]:
    """SIGTERM while POSTs are taken and never answered: the worker ends within DRAIN_TIMEOUT and some seconds."""
    problems = []
    for kind in ("job-stream", "job-done"):
        async with stack(DRAIN_TIMEOUT="1") as (platform, worker):
            platform.faults.slow(kind, _NEVER)
            await platform.submit({"messages": prompt({"tokens": 9, "tps": 50}), "stream": True})
            await platform.wait_for(lambda p=platform, k=kind: p.begun[k])
            # Ten times what it should take: a bound for a busy machine that still tells it from never.
            problems += [f"{kind}: {problem}" for problem in await stopped(worker, 45, (0, 1))]
    return problems


async def stuck_polls_at_the_end() -> list[str]:
    """SIGTERM while the platform answers no poll, no stop poll and no ping: the worker ends in order."""
    async with stack() as (platform, worker):
        for kind in ("job-take", "job-take-batch", "job-stop", "ping"):
            platform.faults.slow(kind, _NEVER)
        polls = platform.begun["job-take"] + platform.begun["job-take-batch"]
        platform.long_poll = 0.01
        await platform.submit({"messages": prompt({"text": "Paris."})})  # ends the poll under way; the next one sticks
        await platform.wait_for(lambda: platform.begun["job-take"] + platform.begun["job-take-batch"] > polls)
        return await stopped(worker, 45)


async def no_platform_at_the_end() -> list[str]:
    """SIGTERM when the platform is gone, a job running and nothing to be delivered to: the worker ends."""
    async with stack(DRAIN_TIMEOUT="1") as (platform, worker):
        job = await platform.submit({"messages": prompt({"tokens": 9, "hang_at": 2}), "stream": True})
        await job.chunk(0)
        await platform.stop()
        return await stopped(worker, 60, (0, 1))


async def stuck_post() -> list[str]:
    """One POST that is never answered is given up and tried again, and holds up no other job."""
    problems = []
    async with stack(MAX_CONCURRENCY="4") as (platform, _):
        jobs = []
        for kind in ("job-stream", "job-done"):
            job = await platform.submit({"messages": prompt({"text": "Paris is a city."}), "stream": True})
            platform.faults.slow(kind, _NEVER, times=1, job_id=job.id)
            jobs.append(job)
        await asyncio.gather(*(platform.wait_for(lambda k=kind: platform.begun[k]) for kind in (
            "job-stream", "job-done")))
        other = await (await platform.submit({"messages": prompt({"text": "Rome."})})).finished(20)
        problems += filter(None, [wrong(other, "chat", "Rome.")])
        for job in jobs:
            await job.finished(150)
            problems += filter(None, [wrong(job, "chat-stream", "Paris is a city.")])
    return problems


async def lost_answers() -> list[str]:
    """POSTs that took effect and lost their answer: one result, the right one, taken once."""
    problems, jobs = [], []
    async with stack(MAX_CONCURRENCY="8") as (platform, worker):
        for index in range(8):
            text, streamed = f"Answer {index} is Paris.", index % 2 == 0
            job = await platform.submit({"messages": prompt({"text": text}), "stream": streamed})
            for kind in ("job-stream", "job-done") if streamed else ("job-done",):
                if index % 4 < 2:
                    platform.faults.fail(kind, 502, after=True, job_id=job.id)
                else:
                    platform.faults.drop(kind, after=True, job_id=job.id)
            jobs.append((job, "chat-stream" if streamed else "chat", text))
        for job, reading, text in jobs:
            await job.finished(120)
            problems += filter(None, [wrong(job, reading, text)])
            if job.attempts != 1:
                problems.append(f"{job.id} was taken {job.attempts} times")
        # The worker must come to know that they are done, too.
        for job, _, _ in jobs:
            await platform.wait_for(lambda j=job: any(c.status == 200 for c in platform.calls_of("job-done", j.id)), 60)
        problems += await stopped(worker)
        if any("Internal error" in line or "Traceback" in line for line in worker.lines):
            problems.append("the worker reports a fault of its own")
    return problems


_PIECE = 4000  # characters a token: a megabyte has few tokens, and the script stays small


def _filling(text: str, megabytes: float, streamed: bool) -> dict:
    """A script whose result is about so many megabytes of JSON once it is posted."""
    # In a stream the JSON text of an event is text in the result's JSON: escaped twice.
    once = json.dumps(text, ensure_ascii=False)[1:-1]
    posted = json.dumps(once, ensure_ascii=False)[1:-1] if streamed else once
    repeat = round(megabytes * MB / (len(posted.encode()) * _PIECE))
    return {"text": text * _PIECE, "repeat": repeat}


def _delivered(job: Handle, platform: Platform) -> str | None:
    """What is wrong with the end of a job whose result is near the platform's limit."""
    posts = [(call.size, call.status) for call in platform.calls_of("job-done", job.id)]
    if any(status == 400 for _, status in posts):
        return f"a result was posted that the platform refused: {posts}"
    refused = [c.size for c in platform.calls_of("job-stream", job.id) if c.status == 400]
    if refused:
        return f"a chunk was posted that the platform refused: {refused}"
    if job.status == "COMPLETED":
        return None if job.output else "completed without its output"
    if job.status == "FAILED" and failure(job).get("code") == 413:
        return None
    return f"{job.status}: {(job.error or '')[:200]}"


async def results_around_20_mb() -> list[str]:
    """Results just below and above 20 MB of JSON arrive whole or fail with 413, whatever their text is made of."""
    problems = []
    async with stack(MAX_CONCURRENCY="1") as (platform, worker):
        for text in ("x", '"', "🦜", "\x01"):  # one, two and six letters of JSON each, and one of four bytes
            for streamed in (False, True):
                for megabytes in (17.0, 21.0):
                    script = _filling(text, megabytes, streamed)
                    job = await platform.submit({"messages": prompt(script), "stream": streamed})
                    await job.finished(120)
                    bad = _delivered(job, platform)
                    if not bad and (job.status == "COMPLETED") != (megabytes < 20):
                        bad = f"{job.status}: {(job.error or '')[:200]}"
                    if not bad and job.status == "COMPLETED":
                        bad = wrong(job, "chat-stream" if streamed else "chat", script["text"] * script["repeat"])
                    if bad:
                        problems.append(f"{text!r}, {'streamed' if streamed else 'whole'}, {megabytes} MB: {bad}"[:400])
                    job.record.output = None
                    job.record.chunks.clear()
        job = await (await platform.submit({"messages": prompt({"text": "Paris."})})).finished(60)
        problems += filter(None, [wrong(job, "chat", "Paris.")])
    return problems


_STREAMS, _TOKEN = 8, 1000


async def slow_reader() -> list[str]:
    """The platform takes one chunk a second, the engine makes 1,000 tokens a second: memory stays bounded."""
    problems = []
    async with stack(MAX_CONCURRENCY=str(_STREAMS), STREAM_CHUNK_KIB="64") as (platform, worker):
        warm = await platform.submit({"messages": prompt({"tokens": 2000, "token_bytes": _TOKEN}), "stream": True})
        await warm.finished(60)
        platform.faults.slow("job-stream", 1.0)
        before = sample(worker.process.pid, 0).values["resident MB"]
        script = {"tokens": 60_000, "token_bytes": _TOKEN, "tps": 1000}
        jobs = [await platform.submit({"messages": prompt(script, f"{i} "), "stream": True}) for i in range(_STREAMS)]
        for job in jobs:
            await job.until(lambda record: len(record.chunks) >= 12, 120)
        grown = sample(worker.process.pid, 0).values["resident MB"] - before
        delivered = sum(chunk.size for job in jobs for chunk in job.chunks) / MB
        made = _STREAMS * 12 * 1000 * _TOKEN / MB
        # What was delivered stays until the result is posted, in at most three copies; beside it every stream has
        # its buffers. Without a bound the rest of what the engine would have made by now lies there too.
        allowed = 3 * delivered + 1.5 * _STREAMS
        if grown > allowed:
            problems.append(f"grew by {grown:.1f} MB with {delivered:.1f} MB delivered (allowed {allowed:.1f}; "
                            f"an engine that nobody slows down makes {made:.0f} MB)")
        for job in jobs:
            await platform.cancel(job.id)
        platform.faults.clear()
        after = await (await platform.submit({"messages": prompt({"text": "Paris."})})).finished(60)
        problems += filter(None, [wrong(after, "chat", "Paris.")])
    return problems


async def second_signal() -> list[str]:
    """A second SIGTERM ends a worker at once that still has jobs, and its engine with it."""
    async with stack(DRAIN_TIMEOUT="600") as (platform, worker):
        job = await platform.submit({"messages": prompt({"tokens": 9, "hang_at": 2}), "stream": True})
        await job.chunk(0)
        worker.process.send_signal(signal.SIGTERM)
        await worker.line("stopping: ")
        return await stopped(worker, 45, (128 + signal.SIGTERM,))


TRIALS: tuple[Trial, ...] = (stuck_post_at_the_end, stuck_polls_at_the_end, no_platform_at_the_end, stuck_post,
                             lost_answers, results_around_20_mb, slow_reader, second_signal)
