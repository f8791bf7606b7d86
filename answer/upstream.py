"""One planned request to the engine, and its answer: chunks of events or one JSON value.

Serves any transport: it knows nothing of RunPod, and of HTTP only what wire.py makes of it. How a stream becomes
chunks is the business of relay.py, what follows an attempt that of outcome.py.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from typing import Any

from answer.outcome import End, Outcome, Step, follows, of_error
from answer.pace import Pace, Silence
from answer.relay import relay
from answer.request import Request
from answer.running import Running
from answer.session import Session
from answer.told import error_event
from answer.value import value_of
from answer.wire import Broke, Http, Network, Reply, Unreached
from clock import awake
from utils import JobError

Piece = str | dict[str, Any] | list[Any]

KEEPALIVE = ": waiting for the engine\n\n"  # an SSE comment: clients ignore it
_RETRY_FIRST, _RETRY_LAST = 0.1, 5.0  # seconds
_STREAM = object()  # an answer that is one


@dataclasses.dataclass(frozen=True)
class Patience:
    """Seconds; 0 means no limit, or never.

    idle: silence of a stream before it fails; request: a request that does not stream; retry: how long a request is
    tried again that was refused for load, or whose connection broke, before anything of its answer was seen;
    keepalive: silence of a stream on an OpenAI route before a comment is sent.
    """

    idle: float = 600.0
    request: float = 3600.0
    retry: float = 60.0
    keepalive: float = 15.0


class ConnectionBroke(JobError):
    """The connection to the engine broke. `life`: the number of the engine's life that ended with it, or None when
    the engine is alive."""

    def __init__(self, message: str, life: int | None) -> None:
        super().__init__(message, type="server_error", code=502)
        self.life = life


class Upstream:
    """All requests of a worker to its engine; make it once, `close` it once.

    chunk_bytes: the largest chunk; posts: chunks a second that all streams share, 0 for no limit; decides: the engine
    was told to end requests by itself (outcome.of_error).
    available: awaited before each attempt, until the engine can take requests; gives the number of its life (1, 2, …)
    and raises JobError when it waited long enough, which is final. fate: awaited when a connection broke, with that
    number: what became of that life in words, None when it goes on.
    """

    def __init__(self, base_url: str, *, api_key: str | None = None, admin_key: str | None = None,
                 patience: Patience | None = None, chunk_bytes: int = 512 * 1024, posts: float = 0,
                 decides: bool = False, available: Callable[[], Awaitable[int]] | None = None,
                 fate: Callable[[int], Awaitable[str | None]] | None = None, network: Network | None = None) -> None:
        self.patience = patience or Patience()
        self.last_sign = awake()  # when anything was last heard from the engine
        self._chunk_bytes, self._pace, self._decides = chunk_bytes, Pace(posts), decides
        # The largest chunk is also the most that waits in memory.
        self._network = network or Http(base_url, api_key, admin_key, max(2**17, chunk_bytes))
        self._available, self._fate = available, fate
        self._running: set[Running] = set()
        self._aborts: set[asyncio.Task[None]] = set()
        self._sessions: set[Session] = set()

    async def close(self) -> None:
        """End what is running, send what is left to abort, then close the connections."""
        carrying = [job.carrying for job in self._running if job.carrying]
        for task in carrying:
            task.cancel()
        await asyncio.gather(*carrying, return_exceptions=True)
        await asyncio.gather(*self._aborts)
        await asyncio.gather(*[session.close(1001) for session in self._sessions], return_exceptions=True)
        await self._network.close()

    @property
    def running(self) -> int:
        """How many requests are under way."""
        return len(self._running)

    def _heard(self) -> None:
        self.last_sign = awake()

    def fail_all(self, error: JobError) -> None:
        """Make every running request fail with `error` now."""
        for job in list(self._running):
            job.fail(error)
        for session in self._sessions:
            session.stop(error)

    async def dial(self, path: str, headers: Mapping[str, str]) -> Session:
        """A web socket to the engine, as soon as there is one; to be closed. Raises JobError."""
        life = await self._available() if self._available else 0
        try:
            socket = await self._network.dial(path, headers)
        except Broke as error:
            failed = (await self._broken(error, life)).error
            assert failed is not None
            raise failed from None

        async def fate() -> str | None:
            return await self._fate(life) if self._fate else None

        session = Session(socket, self._heard, fate, self._sessions.discard)
        self._sessions.add(session)
        return session

    async def ask(self, path: str, body: dict[str, Any], limit: float) -> tuple[int, Any]:
        """(status, JSON value) of one POST that is no job's, with the engine's administrator's key. Raises Broke, and
        TimeoutError after `limit` seconds."""
        async with asyncio.timeout(limit):
            reply = await self._network.send("POST", path, body, admin=True)
            try:
                raw = await reply.whole()
            finally:
                reply.close()
        self._heard()
        try:
            return reply.status, json.loads(raw)
        except ValueError:
            return reply.status, None

    async def run(self, request: Request) -> AsyncGenerator[Piece, None]:
        """Carry `request` to the engine. Yields text chunks of whole events, or one JSON value.

        Raises JobError for every failure. A stream that has begun and then fails first gets an event with the
        error, so that a client that only sees events never takes it for complete. However this generator ends
        early, the engine is told to stop generating.
        """
        job, streamed = Running(request), False
        beat = self.patience.keepalive if request.streams and request.openai else 0
        carrying = asyncio.get_running_loop().create_task(self._carry(job))
        job.begin(carrying)
        self._running.add(job)
        carrying.add_done_callback(lambda _: self._running.discard(job))
        # A cancelled job's generator may be left to the garbage collector while its task is already gone
        # (the SDK cancels in the middle of a POST), so the task's end is what counts.
        task = asyncio.current_task()
        assert task is not None
        task.add_done_callback(job.stop)
        try:
            while True:
                piece = await job.take(beat or None)
                if piece is None and carrying.done():
                    break
                streamed = True
                yield KEEPALIVE if piece is None else piece
            end = _closed(job) if carrying.cancelled() else carrying.result()
            if end.error:
                if streamed:
                    yield error_event(end.error, request.path, request.body, job.last)
                raise end.error
            if end.answer is not None:
                yield end.answer
        finally:
            task.remove_done_callback(job.stop)
            job.stop()

    async def _carry(self, job: Running) -> End:
        """Attempts until one succeeds, fails for good, or has given something."""
        give_up, pause = awake() + self.patience.retry, _RETRY_FIRST
        while True:
            end = await self._attempt(job)
            seen = bool(job.last) or job.request.upload is not None and job.request.upload.spent
            step = follows(end.outcome, seen, awake() + pause <= give_up)
            if step is Step.END:
                return end
            await asyncio.gather(*job.aborts)  # the same id is to be used again
            await asyncio.sleep(pause)
            pause = min(pause * 2, _RETRY_LAST)

    async def _attempt(self, job: Running) -> End:
        request, life = job.request, 0
        try:
            if self._available:
                life = await self._available()
            while request.before and not await request.before(life):
                life = await self._available() if self._available else life
        except JobError as error:
            return End(Outcome.ABSENT, error)
        limit = (self.patience.idle if request.streams else self.patience.request) or None
        reply: Reply | None = None
        in_doubt = True  # whether the engine may be at it still
        silence = Silence(limit)  # never around a delivery

        async def answered() -> Any:
            nonlocal reply
            reply = await self._send(request)
            self._heard()
            streams = reply.status < 400 and reply.content_type == "text/event-stream"
            return _STREAM if streams else value_of(await reply.whole(), reply.status)

        try:
            answer = await silence.wait(answered())
            if answer is not _STREAM:
                return End(Outcome.ANSWERED, answer=answer)
            assert reply is not None
            await relay(reply, job, self._pace, silence=silence, chunk_bytes=self._chunk_bytes, heard=self._heard)
            return End(Outcome.ANSWERED)
        except Broke as error:
            if request.upload and request.upload.error:  # what was sent broke off, not the engine
                return End(Outcome.ANSWERED, request.upload.error)
            end = await self._broken(error, life)
            in_doubt = end.outcome is Outcome.BROKE
            return end
        except TimeoutError:
            return End(Outcome.LATE, JobError(
                f"The engine sent nothing for {limit:g} s (ENGINE_IDLE_TIMEOUT)." if request.streams else
                f"The engine gave no answer within {limit:g} s (REQUEST_TIMEOUT).", type="timeout_error", code=504))
        except JobError as error:
            in_doubt = reply is not None
            return End(of_error(error, read=request.body is None, decides=self._decides), error)
        finally:
            silence.end()
            if not (reply and reply.close()) and in_doubt:
                self._stop_by_name(job)

    async def _broken(self, error: Broke, life: int) -> End:
        fate = await self._fate(life) if self._fate else None
        told = fate or f"The connection to the engine broke ({error})."
        if isinstance(error, Unreached):  # it carried nothing: that request can wait for the next engine
            return End(Outcome.UNREACHED, ConnectionBroke(told, None))
        if fate:
            return End(Outcome.LOST, ConnectionBroke(told, life))
        return End(Outcome.BROKE, ConnectionBroke(told, None))

    async def _send(self, request: Request) -> Reply:
        body = request.upload or (await request.prepare() if request.prepare else request.body)
        if isinstance(body, dict) and request.template_texts:
            # The native body with each text replaced by the token ids of its chat-templated form.
            tokens = [await self._tokens(text) for text in request.template_texts]
            body = {**{k: v for k, v in body.items() if k != "text"},
                    "input_ids": tokens[0] if request.one_text else tokens}
        return await self._network.send(request.method, request.path, body, headers=request.headers)

    async def _tokens(self, text: str) -> Any:
        messages = [{"role": "user", "content": text}]
        reply = await self._network.send("POST", "/tokenize", {"messages": messages})
        try:
            answer = value_of(await reply.whole(), reply.status)
        finally:
            reply.close()
        if not isinstance(answer, dict) or "tokens" not in answer:
            raise JobError("The engine could not apply the chat template.", type="server_error", code=502)
        return answer["tokens"]

    def _stop_by_name(self, job: Running) -> None:
        """Tell the engine to stop a request, without waiting for the answers."""
        job.aborts = [asyncio.get_running_loop().create_task(self._abort(rid)) for rid in job.request.rids]
        for task in job.aborts:
            self._aborts.add(task)
            task.add_done_callback(self._aborts.discard)

    async def _abort(self, rid: str) -> None:
        # The connection is closed as well, so a failure here only means that the engine takes longer to notice.
        with contextlib.suppress(Broke, OSError, TimeoutError):
            async with asyncio.timeout(5):
                reply = await self._network.send("POST", "/abort_request", {"rid": rid}, admin=True)
                try:
                    await reply.whole()
                finally:
                    reply.close()


def _closed(job: Running) -> End:
    return End(Outcome.CLOSING, job.error or JobError(
        "The worker was stopped before this job was done; send it again.", type="overloaded_error", code=503))
