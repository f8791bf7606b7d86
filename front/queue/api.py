"""The SDK's own HTTP server (`--rp_serve_api`, RUNPOD_REALTIME_PORT), with failures that are failures.

Its routes take whatever a generator yields for output, errors too (runpod/serverless/modules/rp_fastapi.py), and its
realtime route cannot run a generator at all. A plain function is served by them as it should be; only /stream insists
on a generator, and is answered here.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Awaitable, Callable
from typing import Any

from fastapi.encoders import jsonable_encoder
from runpod.serverless.modules import rp_fastapi
from runpod.serverless.modules.rp_fastapi import StreamOutput

from front.answers import Handle, is_error


def plain(handle: Handle) -> Callable[[dict[str, Any]], Awaitable[Any]]:
    """A job to the list of its outputs, or to {"error": JSON text}: the shape that the SDK's `run_job` knows."""
    async def answer(job: dict[str, Any]) -> Any:
        outputs = []
        async with contextlib.aclosing(handle(job)) as answers:
            async for output in answers:
                if is_error(output):
                    return output
                outputs.append(output)
        return outputs
    return answer


class WorkerAPI(rp_fastapi.WorkerAPI):  # type: ignore[misc]  # the SDK has no types
    """In place of the SDK's class; `on_end` is awaited when the server ends."""

    def __init__(self, config: dict[str, Any], handle: Handle, on_end: Callable[[], Awaitable[None]]):
        super().__init__({**config, "handler": plain(handle)})
        self.rp_app.router.on_shutdown.append(on_end)

    async def _sim_stream(self, job_id: str) -> StreamOutput:
        job = rp_fastapi.job_list.get(job_id)
        if job is None:
            return jsonable_encoder({"id": job_id, "status": "FAILED", "error": "Job ID not found"})
        answer = await self.config["handler"]({"id": job_id, "input": job.input})
        rp_fastapi.job_list.remove(job_id)
        if is_error(answer):
            return jsonable_encoder({"id": job_id, "status": "FAILED", "error": answer["error"]})
        stream = [{"output": output} for output in answer]
        if job.webhook:
            threading.Thread(target=rp_fastapi._send_webhook, args=(job.webhook, stream), daemon=True).start()
        return jsonable_encoder({"id": job_id, "status": "COMPLETED", "stream": stream})
