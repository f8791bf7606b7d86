"""How the scripted engine answers one request: pacing, faults on the way, the stream's bytes."""

from __future__ import annotations

import asyncio

from aiohttp import web

from local import scripted_shapes as shapes
from local.scripted_faults import EOL, Script, end_process, find_script, pieces_of, without_script
from local.scripted_state import Engine, Record

BATCH = 64  # tokens per write of an unpaced stream
SSE = {"Content-Type": "text/event-stream; charset=utf-8"}


async def due_tokens(engine: Engine, record: Record, script: Script, pieces):
    """Yield (index, pieces) batches as they fall due; acts out the faults on the way.

    Ends early when aborted (record.abort_asked) or at `error_at`.
    """
    loop, index, total = engine.pacer.loop, 0, len(pieces)
    start = loop.time() + script.first_delay_ms / 1000
    if script.first_delay_ms:
        await engine.pause(record, start)
    while not record.abort_asked:
        fault = script.next_fault(index)
        if fault == index:
            if script.die_at == index:
                end_process(script.die_code)
            if script.drop_at == index:
                raise Dropped
            if script.error_at == index:
                return
            engine.state(record, "hanging")
            while not (record.released or record.abort_asked):
                await engine.pause(record, None)
            engine.state(record, "running")
            script = script.updated({"hang_at": None})
            start = loop.time() - (index / script.tps if script.tps else 0)
            continue
        if index >= total:
            return
        end = min(total, index + BATCH, total if fault is None else fault)
        if script.tps:
            if loop.time() < start + index / script.tps:
                await engine.pause(record, start + index / script.tps)
            due = int((loop.time() - start) * script.tps + 1e-6) + 1
            end = min(end, max(due, index + 1))
            if record.abort_asked:
                return
        yield index, pieces[index:end]
        index = end
        if not script.tps:
            await asyncio.sleep(0)


class Dropped(Exception):
    """The connection was reset on purpose."""


def prompt_of(body: dict) -> str:
    """The text the model would see, near enough to count it and to find a script in it."""
    if isinstance(body.get("messages"), list):
        return render(body["messages"])
    for key in ("text", "prompt", "input"):
        if isinstance(body.get(key), str):
            return body[key]
        if isinstance(body.get(key), list) and body[key] and isinstance(body[key][0], str):
            return body[key][0]
    ids = body.get("input_ids") or body.get("prompt") or []
    if ids and isinstance(ids[0], list):
        ids = ids[0]
    return decode(ids) if all(isinstance(i, int) for i in ids) else ""


def render(messages: list) -> str:
    """A ChatML rendering; content parts are joined."""
    out = []
    for message in messages:
        content = message.get("content") if isinstance(message, dict) else message
        if isinstance(content, list):
            content = "".join(part.get("text", "") for part in content if isinstance(part, dict))
        role = message.get("role", "user") if isinstance(message, dict) else "user"
        out.append(f"<|im_start|>{role}\n{content or ''}<|im_end|>\n")
    return "".join(out) + "<|im_start|>assistant\n"


def encode(text: str) -> list[int]:
    """Token ids of this engine: the UTF-8 bytes."""
    return list(text.encode("utf-8"))


def decode(ids: list[int]) -> str:
    return bytes(i % 256 for i in ids).decode("utf-8", errors="replace")


def answer_pieces(script: Script, body: dict, prompt: str) -> tuple[list[str], str]:
    """The answer's tokens and its finish reason."""
    sampling = body.get("sampling_params")
    limit = (sampling[0] if isinstance(sampling, list) and sampling else sampling or {}).get("max_new_tokens")
    limit = next((v for v in (body.get("max_completion_tokens"), body.get("max_tokens"), limit)
                  if isinstance(v, int)), None)
    text = without_script(prompt) if script.echo else script.text
    if text is not None:
        pieces = [text] * script.repeat if script.repeat else [text[i:i + 4] for i in range(0, len(text), 4)]
        cut = pieces[:script.tokens if script.tokens is not None else limit]
        return cut, script.finish or ("stop" if len(cut) == len(pieces) else "length")
    count = script.tokens if script.tokens is not None else limit if limit is not None else 16
    return [f"t{i} ".ljust(script.token_bytes, "x") for i in range(count)], script.finish or "length"


class Stream:
    """The streamed response of one request: headers on the first byte, writes cut as scripted."""

    def __init__(self, request: web.Request, script: Script):
        self.request, self.script = request, script
        self.response = web.StreamResponse(headers=SSE | script.headers)

    async def open(self) -> None:
        if not self.response.prepared:
            await self.response.prepare(self.request)

    async def send(self, text: str) -> None:
        if not text:
            return
        if self.script.eol != "lf":
            text = text.replace("\n", EOL[self.script.eol])
        payload = text.encode("utf-8")
        await self.open()
        if self.script.cut is None:
            await self.response.write(payload)
            return
        for piece in pieces_of(payload, self.script.cut):
            await self.response.write(piece)
            # Two writes in one loop turn would reach the reader as one segment.
            await asyncio.sleep(self.script.cut_ms / 1000)


async def run_request(engine: Engine, request: web.Request, body: dict, shape_class,
                      prompt: str, rid: str | None = None, index: int | None = None, stream=None):
    """One generation from admission to its end; returns the response, or for a batch member its object."""
    script = engine.script.updated(find_script(body, prompt))
    record = engine.record(request, body, prompt, rid)
    extra = {} if index is None else {"index": index}
    shape = shape_class(body, record.rid, engine.model, len(encode(prompt)), **extra)
    alone = index is None
    admitted = False
    try:
        if script.status is not None:
            engine.state(record, "failed")
            failure = script.body if script.body is not None else shapes.body_error(
                script.error, script.error_message, script.status)
            text = failure if isinstance(failure, str) else shapes.compact(failure)
            headers = script.headers if "Content-Type" in script.headers else {
                **script.headers, "Content-Type": "application/json"}
            return web.Response(status=script.status, text=text, headers=headers)
        if engine.slots <= 0 and len(engine.queue) >= engine.options.max_queued_requests:
            engine.state(record, "failed")
            return queue_full(request, record, shape_class)
        admitted = await engine.admit(record)
        pieces, reason = answer_pieces(script, body, prompt)
        out = stream or (Stream(request, script) if record.stream else None)
        if out and shape_class is shapes.Generate:  # the other routes hold their headers for the first token
            await out.open()
        if script.reasoning and isinstance(shape, shapes.Chat):
            shape.reasoning = script.reasoning
        head, sent = shape.head(), []
        async for first, batch in due_tokens(engine, record, script, pieces):
            sent += batch
            if out:
                mark = ": keep-alive\n\n" if script.comments else ""
                events = [mark + shape.token(first + i, piece) for i, piece in enumerate(batch)]
                await out.send(head + "".join(events))
                head = ""
            record.tokens = first + len(batch)
            if engine.watchers:
                engine.changed()
        if record.abort_asked:
            reason = "abort"
        failed = record.tokens == script.error_at and reason != "abort"
        if not out:
            if failed:
                engine.state(record, "failed")
                return web.json_response(shapes.body_error(
                    script.error if isinstance(script.error, str) else None, script.error_message,
                    script.error_code), status=script.error_code)
            whole = shape.whole("".join(sent), len(sent), reason)
            engine.state(record, "aborted" if reason == "abort" else "finished")
            return web.json_response(whole, dumps=shapes.compact, headers=script.headers) if alone else whole
        if not failed or shape_class is shapes.Messages:  # the other routes begin with the error
            await out.send(head)
        if failed:
            await out.send(error_event(script, record.rid))
        else:
            await out.send(shape.finish(record.tokens, reason))
        if alone:
            if script.done and shape_class is not shapes.Messages:
                await out.send(shapes.DONE)
            await out.response.write_eof()
        engine.state(record, "failed" if failed else "aborted" if reason == "abort" else "finished")
        return out.response
    except Dropped:
        engine.state(record, "dropped")
        request.transport.abort()
        raise asyncio.CancelledError from None
    except (asyncio.CancelledError, ConnectionError):
        if record.ended is None:
            engine.state(record, "disconnected")
        raise
    finally:
        if record.ended is None:
            engine.state(record, "failed")
        if admitted:
            engine.leave()


def error_event(script: Script, rid: str) -> str:
    if isinstance(script.error, (dict, list)):
        return shapes.data(script.error)
    if script.error is None or script.error in shapes.EVENT_ERRORS:
        return shapes.event_error(script.error or "openai", script.error_message, script.error_code, rid)
    return script.error


def queue_full(request: web.Request, record: Record, shape_class) -> web.Response:
    """What the server says when --max-queued-requests is reached: 503, but a 200 when streamed."""
    message = "The request queue is full."
    if not record.stream:
        name = {shapes.Generate: "generate", shapes.Messages: "anthropic"}.get(shape_class, "openai")
        return web.json_response(shapes.body_error(name, message, 503), status=503)
    name = {shapes.Generate: "generate-abort", shapes.Messages: "anthropic"}.get(shape_class, "openai")
    text = shapes.event_error(name, message, 503, record.rid)
    return web.Response(text=text + shapes.DONE, headers=SSE)
