"""Jobs to the engine, whatever transport brings them.

Everything that one job needs stands behind `Worker.handle`; nothing here knows the runpod SDK.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import os
import traceback
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from typing import Any

import utils
from answer.encoding import beside, is_large
from answer.request import Request
from answer.session import Session
from answer.told import error_event
from answer.upstream import ConnectionBroke, Patience, Upstream
from engine import Engine, Served
from job import adapted, context, hazards, limits, marks, measured, parsers, refusal, routes, served, transcription
from job.amend import without_unknown_stops
from job.media_reading import MediaReader
from job.model import ModelFacts, learned
from job.quarantine import Quarantine, digest
from lora.adapters import Adapters
from meter.record import current
from meter.requests import Meter
from settings.config import Settings
from utils import JobError

Piece = str | dict[str, Any] | list[Any]


class Worker:
    """Jobs to the engine. `handle` is the async generator that the SDK runs, once per job, on its event loop.

    comments: silent streams of every /v1 route get them, whoever asks, because their clients know such comments; meter:
    is told of every request. share: where the engine is served by several processes, called when it died of a request
    (perhaps), with the number of its life and the request's digest; its caller hears of it afterwards.
    """

    share: Callable[[int, str], Awaitable[None]] | None = None

    def __init__(self, settings: Settings, engine: Served, comments: bool = False, meter: Meter | None = None):
        self.engine, self.limits, self.facts = engine, settings.limits, ModelFacts()
        self.meter = meter or Meter()
        self.quarantine = Quarantine()
        self.media = MediaReader(settings.media)
        self.stopped: JobError | None = None
        self._comments, self._told_of_tools = comments, False
        self.context = context.of(settings)
        self.upstream = Upstream(
            engine.url, api_key=settings.api_key, admin_key=settings.admin_api_key,
            patience=Patience(settings.idle_timeout, settings.request_timeout, settings.retry_timeout,
                              settings.keepalive),
            chunk_bytes=settings.chunk_bytes, posts=settings.stream_posts,
            decides=_decides(settings), available=lambda: engine.available(settings.wait_timeout), fate=engine.fate)
        self.adapters = Adapters(settings, engine, self.upstream.ask, os.environ) if settings.lora.places else None

    def learn(self, settings: Settings) -> None:
        """Find out, once the engine is ready, what has to be known of the model to refuse what would end it."""
        self.context = served.learned(self.context, self.engine, not settings.skip_tokenizer_init)
        template = marks.template(settings.server_args, settings.model, os.environ, settings.revision)
        self.context = dataclasses.replace(self.context, marks=marks.likely(template) or "")
        if line := served.parsers_line(self.engine, settings.server_args, self.context.marks):
            utils.log(line)
        self.facts = learned(self.engine, settings.model, os.environ, settings.revision)
        if self.adapters:
            self.adapters.learn(*(served.asked(self.engine, path) for path in ("/server_info", "/v1/models",
                                                                               "/model_info")))
            self.context = dataclasses.replace(self.context, sources=self.adapters.sources)
        self.media.learn(self.engine)
        if self.facts.vocabulary is None:
            utils.log("the model's vocabulary size is unknown: token ids in jobs are not checked against it", "warn")

    @property
    def learned(self) -> tuple[Any, ...]:
        """What `learn` found out, for the worker of another process: see `learn_from`."""
        return self.context, self.facts, self.media.settings

    def learn_from(self, learned: tuple[Any, ...]) -> None:
        """Know what another has learned."""
        self.context, self.facts, media = learned
        self.media.hold_to(media)

    def watch(self, on_give_up: Callable[[str], None]) -> None:
        """From now on `on_give_up` is called, in a thread and with the reason, when the engine, which belongs to
        this process, has ended for good. Raises EngineError when it has already."""
        assert isinstance(self.engine, Engine)
        self.engine.watch(last_sign=lambda: self.upstream.last_sign, on_give_up=on_give_up)

    def fail_all(self) -> None:
        """Make every running job fail, and every later one, because the worker has to stop."""
        self.stopped = JobError("The worker was stopped before this job was done; send it again.",
                                type="overloaded_error", code=503)
        self.upstream.fail_all(self.stopped)

    async def close(self) -> None:
        """End what is running, and close the connections."""
        if self.adapters:
            await self.adapters.close()
        await self.upstream.close()

    async def dial(self, model: str | None, headers: Mapping[str, str]) -> Session:
        """A session of /v1/realtime with the engine; to be closed. Raises JobError."""
        if self.stopped:
            raise self.stopped
        transcription.check_realtime(model, self.context)
        return await self.upstream.dial("/v1/realtime", headers)

    async def handle(self, job: dict[str, Any]) -> AsyncGenerator[Piece, None]:
        """Yields text chunks of events, or one JSON value; last, on failure, {"error": JSON text}."""
        job_id = str(job.get("id") or "local")
        record = self.meter.begin("queue", measured.route(job.get("input"), self.context.extra_routes), job_id)
        record.queued = measured.delay(job)
        begun = False
        try:
            async with contextlib.aclosing(self.answer(job.get("input"), job_id)) as answer:
                async for chunk in answer:
                    begun = True
                    yield chunk
        except JobError as error:
            record.failed(error)
            utils.log(f"failed with {error.code} {error.type}: {error.message[:500]}", "warn", job_id)
            if not begun and (event := refusal.event(job.get("input"), error, job_id)):
                yield event
            yield {"error": error.to_json(job_id)}
        except Exception as error:  # a fault of this worker: the trace is for its log, not for the client
            utils.log("internal error\n" + traceback.format_exc(), "error", job_id)
            failed = JobError(f"Internal error of the worker ({type(error).__name__}).", type="server_error",
                              code=500)
            record.failed(failed)
            if not begun and (event := refusal.event(job.get("input"), failed, job_id)):
                yield event
            yield {"error": failed.to_json(job_id)}
        except (asyncio.CancelledError, GeneratorExit):
            record.left()
            raise
        finally:
            record.end()

    async def _checked(self, job_input: Any, job_id: str) -> Request:
        """The request that a job asks for. What takes long to read is read beside the event loop."""
        if not is_large(job_input):
            return self._planned(job_input, job_id)
        return await beside(lambda: self._planned(job_input, job_id))

    def _planned(self, job_input: Any, job_id: str) -> Request:
        limits.check_input(job_input, self.limits)
        request = routes.plan(job_input, self.context, job_id)
        if request.body is not None:
            body = without_unknown_stops(request.path, request.body, self.facts)
            request = request if body is request.body else dataclasses.replace(request, body=body)
        if parsers.check(request.path, request.body, self.context) and not self._told_of_tools:
            self._told_of_tools = True
            utils.log("a request brings tools, but the server has no parser for tool calls, so calls come as text: set "
                      f"{parsers.remedy(self.context.marks)}; said once", "warn", job_id)
        hazards.check(request.path, request.body, self.facts, self.limits)
        if request.upload is None:  # of one that is still to come nobody knows what it is
            self.quarantine.check(request.path, request.body)
        return request

    async def answer(self, job_input: Any, job_id: str) -> AsyncGenerator[Piece, None]:
        """Yields text chunks of events, or one JSON value. Raises JobError; a stream that has begun gets an event of
        its route first."""
        record = current()
        record.id = record.id or job_id
        if self.stopped:
            raise self.stopped
        request = await self._checked(job_input, job_id)
        used = await adapted.needed(request, self.adapters, self.context)
        request = await adapted.listing(request, self.adapters)
        if self._comments and request.path.startswith("/v1/"):
            request = dataclasses.replace(request, openai=True)
        for note in request.notes:
            utils.log(note, "debug", job_id)
        budget, last = limits.ResultBudget(self.limits), ""
        lines = request.lines() if request.lines else None
        measured.planned(record, request)
        if record.carrier:
            request = dataclasses.replace(request, headers={**request.headers, **record.carrier})
        try:
            with contextlib.ExitStack() as held:
                request = adapted.holding(request, used, self.adapters, held)
                ready = await self.media.of(request, held)
                async with contextlib.aclosing(self.upstream.run(ready)) as answer:
                    async for chunk in answer:
                        told = chunk  # of its tokens the engine's own shape tells more
                        if lines and isinstance(chunk, str):
                            chunk = type(chunk)(lines(chunk))
                        if request.reshape and not isinstance(chunk, str):
                            chunk = request.reshape(chunk)
                        try:
                            size = budget.spend(chunk)
                        except JobError as error:
                            if isinstance(chunk, str):  # as upstream.run does: no client may take it for complete
                                event = error_event(error, request.path, request.body, last)
                                yield lines(event) if lines else event
                            raise
                        if isinstance(told, str) and isinstance(chunk, str):
                            record.add(told, chunk)
                            last = last if told.startswith(":") else told
                        else:
                            record.whole(told, size)
                        if chunk or not lines:
                            yield chunk
            if self.adapters and used:
                self.adapters.answered(used)
        except ConnectionBroke as error:
            if self.adapters and used and error.life is not None:
                self.adapters.died(used, error.life)
            # A read is the same for everybody, and harmless.
            if error.life is not None and request.body is not None and request.upload is None:
                self.quarantine.blame(request.path, request.body, error.life)
                if self.share:
                    await self.share(error.life, digest(request.path, request.body))
            raise


def _decides(settings: Settings) -> bool:
    """Whether the server was told to end requests by itself (sglang: environ.py, managers/scheduler.py)."""
    return any(os.environ.get(f"SGLANG_REQ_{kind}_TIMEOUT") for kind in ("RUNNING", "WAITING")) or any(
        flag in settings.server_args for flag in ("--enable-priority-scheduling", "--abort-on-priority-when-disabled"))
