"""The scripted engine's audio: /v1/audio/transcriptions, and /v1/realtime as a web socket.

A file's bytes stand for what is said in it: a script in them is found as in any prompt. As SGLang 0.5.23
(entrypoints/openai/serving_transcription.py, entrypoints/openai/realtime/).
"""

from __future__ import annotations

import asyncio
import base64
import json
import time
import uuid

from aiohttp import WSMsgType, web

from local import scripted_shapes as shapes
from local.scripted_faults import end_process
from local.scripted_generation import run_request
from local.scripted_state import Engine

FORMATS = ("json", "text", "verbose_json")


class Transcription:
    """/v1/audio/transcriptions."""

    def __init__(self, body: dict, rid: str, model: str, prompt_tokens: int):
        self.rid, self.model, self.body = f"trsc-{uuid.uuid4().hex}", body["model"], body
        self.created, self.seconds = int(time.time()), 1

    def _chunk(self, delta: dict, reason: str | None = None) -> str:
        return shapes.data({"id": self.rid, "object": "transcription.chunk", "created": self.created,
                            "model": self.model, "choices": [{"delta": delta, "finish_reason": reason}],
                            "usage": None})

    def head(self) -> str:
        return ""

    def token(self, index: int, piece: str) -> str:
        return self._chunk({"role": None, "content": piece, "reasoning_content": None, "tool_calls": None})

    def finish(self, tokens: int, reason: str) -> str:
        return self._chunk({"role": None, "content": None, "reasoning_content": None, "tool_calls": None}, reason)

    def whole(self, text: str, tokens: int, reason: str) -> dict:
        usage = {"type": "duration", "seconds": self.seconds}
        if self.body["response_format"] == "verbose_json":
            return {"task": "transcribe", "language": self.body.get("language"), "duration": 1.0, "text": text,
                    "segments": [{"id": 0, "start": 0.0, "end": 1.0, "text": text}], "usage": usage}
        return {"text": text, "usage": usage}


async def transcriptions(engine: Engine, request: web.Request) -> web.StreamResponse:
    """Refuses as the framework does what is no whole form, or has no file."""
    try:
        form = await request.post()
    except ValueError as error:
        return web.json_response({"detail": f"There was an error parsing the body: {error}"}, status=400)
    file = form.get("file")
    if not isinstance(file, web.FileField):
        return web.json_response(shapes.openai_error(
            "1 validation errors: {'type': 'missing', 'loc': ('body', 'file'), 'msg': 'Field required'}", 400,
            "Bad Request"), status=400)
    body = {"model": "default", "response_format": "json",
            **{name: value for name, value in form.items() if isinstance(value, str)},
            "timestamp_granularities": form.getall("timestamp_granularities[]", [])}
    if body["response_format"] not in FORMATS:
        return web.json_response({"error": {"message": "Only 'json', 'text', and 'verbose_json' formats supported"}},
                                 status=400)
    data = file.file.read()
    body |= {"stream": body.get("stream") == "true", "filename": file.filename, "bytes": len(data),
             "content_type": file.content_type, "messages": None}
    answer = await run_request(engine, request, body, Transcription, data.decode("utf-8", "replace"))
    if body["response_format"] == "text" and not body["stream"] and answer.status == 200:
        return web.Response(text=json.loads(answer.text)["text"], content_type="text/plain")
    return answer


async def realtime(engine: Engine, request: web.Request) -> web.StreamResponse:
    """One session: what is appended is said again, word by word. Events of a test's own: `_close` with a code and
    `_die`."""
    socket = web.WebSocketResponse(max_msg_size=16 * 2**20)
    await socket.prepare(request)
    record = engine.record(request, None, "")
    engine.state(record, "running")
    heard = b""

    async def tell(kind: str, **fields) -> None:
        await socket.send_str(json.dumps({"event_id": f"event_{uuid.uuid4().hex}", "type": kind, **fields}))

    await tell("session.created", session={"type": "transcription", "id": record.rid})
    try:
        async for message in socket:
            if message.type is not WSMsgType.TEXT:
                await tell("error", error={"type": "invalid_request_error", "code": "invalid_frame",
                                           "message": "Binary frames are not supported"})
                continue
            event = json.loads(message.data)
            match event.get("type"):
                case "session.update":
                    await tell("session.updated", session=event.get("session"))
                case "input_audio_buffer.append":
                    heard += base64.b64decode(event["audio"])
                    record.tokens = len(heard)
                    engine.changed()
                case "input_audio_buffer.commit":
                    for word in heard.decode("utf-8", "replace").split():
                        await tell("conversation.item.input_audio_transcription.delta", delta=word + " ")
                    await tell("conversation.item.input_audio_transcription.completed",
                               transcript=heard.decode("utf-8", "replace"))
                    heard = b""
                case "_close":
                    await socket.close(code=event["code"], message=b"as told")
                case "_die":
                    end_process(1)
                case kind:
                    await tell("error", error={"type": "invalid_request_error", "code": "unknown_event",
                                               "message": f"Unknown event type: {kind}"})
    except asyncio.CancelledError:
        engine.state(record, "disconnected")
        raise
    finally:
        if record.ended is None:
            engine.state(record, "disconnected" if socket.close_code in (None, 1006) else "finished")
    return socket
