"""Trials with an engine that ends: jobs that are alike, and jobs that wait when the worker gives up."""

from __future__ import annotations

import asyncio

from bench.trial import Trial, ending, failure, prompt, stack, wrong


async def _death(platform, worker, index: int, twins: int, hang: dict) -> list:
    """`twins` identical jobs run when another ends the engine; returns their records, all ended."""
    jobs = [await platform.submit({**hang, "stream": True}) for _ in range(twins)]
    for job in jobs:
        await job.chunk(0)
    deadly = await platform.submit({"messages": prompt({"die_at": 0, "die_code": 3}, f"death {index} ")})
    for job in (*jobs, deadly):
        await job.finished(120)
    return jobs


async def twins() -> list[str]:
    """Identical jobs that run when the engine ends by another's fault are served again afterwards."""
    hang = {"messages": prompt({"tokens": 9, "hang_at": 2, "text": "Paris."})}
    problems = []
    async with stack(SGLANG_MAX_RESTARTS="20", MAX_CONCURRENCY="16") as (platform, worker):
        jobs = await _death(platform, worker, 1, 6, hang)
        problems += [f"a twin ended {job.status} with {failure(job).get('code')}" for job in jobs
                     if job.status != "FAILED" or failure(job).get("code") != 502]
        again = await platform.submit({**hang, "stream": True})
        await again.until(lambda record: record.is_final or record.chunks, 120)
        if again.is_final:
            problems.append(f"after one death the same request was refused: {again.error}")
        await platform.cancel(again.id)
    return problems


async def deadly_request() -> list[str]:
    """A request that was alone at two deaths of the engine is refused from then on, and others are served."""
    problems = []
    deadly = {"messages": prompt({"die_at": 0, "die_code": 3})}
    async with stack(SGLANG_MAX_RESTARTS="20", MAX_CONCURRENCY="4") as (platform, _):
        for expected in (502, 502, 422):
            job = await (await platform.submit(deadly)).finished(120)
            if failure(job).get("code") != expected:
                problems.append(f"{job.status} with {failure(job).get('code')} instead of {expected}")
        other = await (await platform.submit({"messages": prompt({"text": "Paris."})})).finished(120)
        problems += filter(None, [wrong(other, "chat", "Paris.")])
    return problems


async def waiters_at_give_up() -> list[str]:
    """Jobs that wait for a restart when the worker gives up fail with a reason, before it ends with status 1."""
    problems = []
    async with stack(SGLANG_MAX_RESTARTS="1", MAX_CONCURRENCY="8") as (platform, worker):
        first = await platform.submit({"messages": prompt({"die_at": 0, "die_code": 3})})
        await first.finished(120)
        await worker.line("restarted: ", 120)
        hanging = await platform.submit({"messages": prompt({"tokens": 9, "hang_at": 2}), "stream": True})
        await hanging.chunk(0)
        killer = await platform.submit({"messages": prompt({"die_at": 0, "die_code": 4})})
        await asyncio.sleep(0.02)  # the last ones come around the moment of the death, taken before or after it
        late = [await platform.submit({"messages": prompt({"text": "Paris."}, f"late {i} ")}) for i in range(4)]
        status, left = await ending(worker, 120)
        if status != 1 or left:
            problems.append(f"the worker ended with {status} and left {left}")
        for name, job in [("hanging", hanging), ("killer", killer), *[("late", job) for job in late]]:
            if job.status == "IN_QUEUE" or not wrong(job, "chat", "Paris."):
                continue  # never taken: another worker's; or answered just before
            if job.status != "FAILED" or failure(job).get("code") not in (502, 503):
                problems.append(f"{name}: {job.status} {(job.error or '')[:200]}")
    return problems


TRIALS: tuple[Trial, ...] = (twins, deadly_request, waiters_at_give_up)
