"""The scripted engine's HTTP routes: SGLang's own. Those of the tests are in scripted_control.py."""

from __future__ import annotations

import argparse
import asyncio
import functools
import json
import time

from aiohttp import web

from local import scripted_audio as audio
from local import scripted_info
from local import scripted_shapes as shapes
from local.scripted_adapters import Adapters
from local.scripted_control import Control
from local.scripted_faults import Life, Script
from local.scripted_generation import Stream, decode, encode, prompt_of, render, run_request
from local.scripted_state import Engine

MAX_BODY = 256 * 2**20
OPEN_PATHS = ("/health", "/ready", "/metrics", "/_scripted/")  # SGLang serves the first three without a key


class Server:
    """The HTTP routes over one Engine."""

    def __init__(self, options: argparse.Namespace, life: Life, script: Script, children):
        self.options, self.life = options, life
        self.engine = Engine(options, script)
        self.ready_at = time.monotonic() + life.ready_delay
        self.adapters = Adapters(options, self.engine.model, life.adapters)
        self.app = web.Application(client_max_size=MAX_BODY, middlewares=[self.guard, self.adapters.using])
        get, post = self.app.router.add_get, self.app.router.add_post
        Control(self.engine, children).add_to(self.app.router)
        for path in ("/health", "/health_generate", "/ping"):
            get(path, self.health)
        if options.node_rank:  # launch_dummy_health_check_server (sglang: srt/utils/common.py)
            return
        get("/ready", self.health)
        get("/v1/models", self.models)
        get("/v1/models/{model:.+}", self.model)
        for path in ("/model_info", "/get_model_info"):
            get(path, self.model_info)
        for path in ("/server_info", "/get_server_info"):
            get(path, self.server_info)
        get("/v1/loads", self.loads)
        post("/v1/chat/completions", self.chat)
        post("/v1/completions", self.completions)
        post("/v1/messages", self.messages)
        post("/v1/messages/count_tokens", self.count_tokens)
        post("/v1/embeddings", self.embeddings)
        for method in (post, self.app.router.add_put):
            method("/generate", self.generate)
        for path in ("/tokenize", "/v1/tokenize"):
            post(path, self.tokenize)
        for path in ("/detokenize", "/v1/detokenize"):
            post(path, self.detokenize)
        post("/abort_request", self.abort)
        post("/v1/audio/transcriptions", functools.partial(audio.transcriptions, self.engine))
        get("/v1/realtime", functools.partial(audio.realtime, self.engine))
        self.adapters.add_to(self.app.router)

    @web.middleware
    async def guard(self, request: web.Request, handler):
        key = self.options.api_key
        scheme, _, given = request.headers.get("Authorization", "").partition(" ")
        known = scheme.lower() == "bearer" and given == key
        if key and not known and not request.path.startswith(OPEN_PATHS):
            return web.json_response({"error": "Unauthorized"}, status=401)
        try:
            return await handler(request)
        except web.HTTPException as error:
            if error.status < 400 or request.path.startswith("/_scripted/"):
                raise
            anthropic = request.path.startswith("/v1/messages")
            body = shapes.body_error("anthropic" if anthropic else "detail", error.reason, error.status)
            return web.json_response(body, status=error.status)
        except BadBody as error:
            return web.json_response(self.refusal(request, str(error)), status=400)

    def refusal(self, request: web.Request, message: str) -> dict:
        if request.path.startswith("/v1/messages"):
            return shapes.body_error("anthropic", message, 400)
        return shapes.openai_error(message, 400, "Bad Request")

    async def body(self, request: web.Request, *required: str) -> dict:
        try:
            body = json.loads(await request.read())
        except ValueError as error:
            raise BadBody(f"1 validation errors: {{'type': 'json_invalid', 'loc': ('body', 0), "
                          f"'msg': 'JSON decode error', 'ctx': {{'error': {str(error)!r}}}}}") from None
        if not isinstance(body, dict):
            raise BadBody("1 validation errors: {'type': 'model_attributes_type', 'loc': ('body',)}")
        for name in required:
            if name not in body:
                raise BadBody(f"1 validation errors: {{'type': 'missing', 'loc': ('body', {name!r}), "
                              f"'msg': 'Field required'}}")
        return body

    # ------------------------------------------------------------ state of the server
    async def health(self, request: web.Request) -> web.Response:
        if self.engine.draining or time.monotonic() < self.ready_at:
            return web.Response(status=503)
        if self.life.health_status == "hang":
            await asyncio.Event().wait()
        return web.Response(status=int(self.life.health_status))

    def card(self) -> dict:
        name = self.engine.model
        return {"id": name, "object": "model", "created": int(time.time()), "owned_by": "sglang",
                "root": name, "parent": None, "max_model_len": self.options.context_length}

    async def models(self, request: web.Request) -> web.Response:
        return web.json_response({"object": "list", "data": [self.card(), *self.adapters.cards(self.card())]})

    async def model(self, request: web.Request) -> web.Response:
        name = request.match_info["model"]
        if name == self.engine.model:
            return web.json_response(self.card())
        return web.json_response({"error": {
            "message": f"The model '{name}' does not exist", "type": "invalid_request_error",
            "param": "model", "code": "model_not_found"}}, status=404)

    async def model_info(self, request: web.Request) -> web.Response:
        return web.json_response(scripted_info.model_info(self.options, self.engine))

    async def server_info(self, request: web.Request) -> web.Response:
        info = scripted_info.server_info(self.options, self.engine, self.life.ready_delay)
        return web.json_response(info | self.adapters.info())

    async def loads(self, request: web.Request) -> web.Response:
        return web.json_response(scripted_info.loads(self.options, self.engine))

    # ------------------------------------------------------------ inference
    async def chat(self, request: web.Request) -> web.StreamResponse:
        return await self.one(request, shapes.Chat, "messages")

    async def completions(self, request: web.Request) -> web.StreamResponse:
        return await self.one(request, shapes.Completion, "prompt")

    async def messages(self, request: web.Request) -> web.StreamResponse:
        return await self.one(request, shapes.Messages, "model", "messages", "max_tokens")

    async def one(self, request: web.Request, shape, *required: str) -> web.StreamResponse:
        body = await self.body(request, *required)
        prompt = prompt_of(body)
        if len(encode(prompt)) >= self.options.context_length:
            message = (f"The input ({len(encode(prompt))} tokens) is longer than the model's context "
                       f"length ({self.options.context_length} tokens).")
            name = "anthropic" if shape is shapes.Messages else "openai"
            return web.json_response(shapes.body_error(name, message, 400), status=400)
        return await run_request(self.engine, request, body, shape, prompt, rid=body.get("rid"))

    async def generate(self, request: web.Request) -> web.StreamResponse:
        body = await self.body(request)
        if not any(body.get(k) for k in ("text", "input_ids", "input_embeds")):
            return web.json_response({"error": {
                "message": "Either text, input_ids or input_embeds should be provided."}}, status=400)
        if refusal := shapes.sampling_error(body):
            return web.json_response({"error": refusal}, status=400)
        prompts = self.prompts(body)
        if prompts is None:
            return await run_request(self.engine, request, body, shapes.Generate, prompt_of(body),
                                     rid=body.get("rid"))
        rids = body.get("rid") if isinstance(body.get("rid"), list) else [None] * len(prompts)
        stream = Stream(request, self.engine.script) if body.get("stream") else None
        if stream:
            await stream.open()
        jobs = [asyncio.ensure_future(run_request(self.engine, request, body, shapes.Generate, prompt,
                                                  rid=rid, index=i, stream=stream))
                for i, (prompt, rid) in enumerate(zip(prompts, rids, strict=True))]
        try:
            results = await asyncio.gather(*jobs)
        finally:
            for job in jobs:
                job.cancel()
        if not stream:
            failed = next((r for r in results if isinstance(r, web.Response)), None)
            return failed or web.json_response(results, dumps=shapes.compact)
        await stream.send(shapes.DONE)
        await stream.response.write_eof()
        return stream.response

    @staticmethod
    def prompts(body: dict) -> list[str] | None:
        """The prompts of a batch, None for a single one."""
        if isinstance(body.get("text"), list):
            return body["text"]
        ids = body.get("input_ids")
        if isinstance(ids, list) and ids and isinstance(ids[0], list):
            return [decode(one) for one in ids]
        return None

    async def embeddings(self, request: web.Request) -> web.Response:
        body = await self.body(request, "input")
        if not self.options.is_embedding:
            return web.json_response(shapes.openai_error(
                "This model does not appear to be an embedding model by default. Please add "
                "`--is-embedding` when launching the server or try another model."), status=400)
        inputs = body["input"] if isinstance(body["input"], list) else [body["input"]]
        if inputs and isinstance(inputs[0], int):
            inputs = [inputs]
        tokens = [encode(text) if isinstance(text, str) else text for text in inputs]
        for ids in tokens:
            self.engine.state(self.engine.record(request, body, decode(ids)), "finished")
        return web.json_response(shapes.embeddings(tokens, body, self.options.model_path))

    async def tokenize(self, request: web.Request) -> web.Response:
        body = await self.body(request)
        if body.get("messages") is not None:
            tokens = encode(render(body["messages"]))
        elif isinstance(body.get("prompt"), list):
            tokens = [encode(text) for text in body["prompt"]]
        elif isinstance(body.get("prompt"), str):
            tokens = encode(body["prompt"])
        else:
            raise BadBody("1 validation errors: Either prompt or messages must be provided.")
        count = [len(t) for t in tokens] if tokens and isinstance(tokens[0], list) else len(tokens)
        return web.json_response({"tokens": tokens, "count": count,
                                  "max_model_len": self.options.context_length})

    async def detokenize(self, request: web.Request) -> web.Response:
        tokens = (await self.body(request, "tokens"))["tokens"]
        many = bool(tokens) and isinstance(tokens[0], list)
        return web.json_response({"text": [decode(t) for t in tokens] if many else decode(tokens)})

    async def count_tokens(self, request: web.Request) -> web.Response:
        body = await self.body(request, "model", "messages")
        return web.json_response({"input_tokens": len(encode(render(body["messages"])))})

    async def abort(self, request: web.Request) -> web.Response:
        body = await self.body(request)
        self.engine.abort(body.get("rid") or "", bool(body.get("abort_all")))
        return web.Response(status=200)


class BadBody(Exception):
    """A body that the server's validation refuses; the message imitates its form."""
