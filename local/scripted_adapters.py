"""The scripted engine's LoRA adapters: loaded, unloaded, used, as SGLang's registry counts them.

GET  /_scripted/adapters   {"loaded": […], "events": [{"what", "name", "beside", "running"}, …]}, oldest first: `beside`
                           counts other loads under way at its begin, `running` the requests that use the adapter; with
                           ?what=&count= it answers once there are so many such events
POST /_scripted/adapters   {"hold": […], "refuse": {name: message}, "die": […]}: from now on loads of these hang until
                           they are no longer held, fail, or end the process
"""

from __future__ import annotations

import argparse
import asyncio
import json
from collections import Counter

from aiohttp import web

from local.scripted_faults import end_process

_USING = ("/v1/chat/completions", "/v1/completions", "/v1/messages", "/v1/embeddings", "/generate")


class Adapters:
    """options: the command line's; model: the name that is served; faults: that it begins with."""

    def __init__(self, options: argparse.Namespace, model: str, faults: dict):
        self.options, self.model = options, model
        named = (element.partition("=") for element in options.lora_paths or ())
        self.loaded = {name: path or name for name, _, path in named}
        self.once = dict(self.loaded)  # SGLang loads these again by itself
        self.running, self.loading = Counter(), 0
        self.events: list[dict] = []
        self.faults = {"hold": [], "refuse": {}, "die": [], **faults}
        self.news, self.noted = asyncio.Condition(), asyncio.Event()
        self.lock = asyncio.Lock()  # SGLang's lora_update_lock

    def add_to(self, router: web.UrlDispatcher) -> None:
        router.add_post("/load_lora_adapter", self.load)
        router.add_post("/unload_lora_adapter", self.unload)
        router.add_get("/_scripted/adapters", self.show)
        router.add_post("/_scripted/adapters", self.steer)

    def note(self, what: str, name: str) -> None:
        self.events.append({"what": what, "name": name, "beside": self.loading, "running": self.running[name]})
        self.noted.set()

    def cards(self, card: dict) -> list[dict]:
        return [{**card, "id": name, "root": path, "parent": self.model, "max_model_len": None}
                for name, path in self.loaded.items()]

    def info(self) -> dict:
        """What /server_info has of them."""
        return {"enable_lora": self.options.enable_lora or None, "max_lora_rank": self.options.max_lora_rank,
                "lora_target_modules": self.options.lora_target_modules, "max_loaded_loras":
                    self.options.max_loaded_loras, "max_loras_per_batch": 8}

    async def show(self, request: web.Request) -> web.Response:
        what, count = request.query.get("what"), int(request.query.get("count", 1))
        while what and sum(event["what"] == what for event in self.events) < count:
            self.noted.clear()
            await self.noted.wait()
        return web.json_response({"loaded": list(self.loaded), "events": self.events})

    async def steer(self, request: web.Request) -> web.Response:
        self.faults |= json.loads(await request.read())
        async with self.news:
            self.news.notify_all()
        return web.json_response({})

    async def load(self, request: web.Request) -> web.Response:
        body = json.loads(await request.read())
        name = body["lora_name"]
        self.note("load", name)
        self.loading += 1
        try:
            async with self.lock, self.news:
                await self.news.wait_for(lambda: name not in self.faults["hold"])
        finally:
            self.loading -= 1
        if name in self.faults["die"]:
            end_process(1)
        message = self.faults["refuse"].get(name) or (
            f"Failed to load LoRA adapter {name} because it is already loaded" if name in self.loaded else "")
        if not message:
            self.loaded[name] = self.once[name] = body["lora_path"]
            self.note("loaded", name)
        return web.json_response({"success": not message, "error_message": message, "loaded_adapters": self.loaded},
                                 status=400 if message else 200)

    async def unload(self, request: web.Request) -> web.Response:
        name = json.loads(await request.read())["lora_name"]
        if name not in self.loaded:
            return web.json_response({"success": False, "error_message": f"LoRA with name {name} does not exist."},
                                     status=400)
        self.note("unload", name)
        async with self.lock, self.news:
            await self.news.wait_for(lambda: not self.running[name])
        self.loaded.pop(name, None)
        return web.json_response({"success": True, "error_message": "", "loaded_adapters": self.loaded})

    @web.middleware
    async def using(self, request: web.Request, handler):
        """Each request counts for its adapters as long as it runs; one for an adapter that is not there is refused."""
        if request.method != "POST" or request.path not in _USING:
            return await handler(request)
        names = _names(await request.read(), self.model)
        for name in names:
            if name not in self.loaded:
                self.note("absent", name)
                return web.json_response({"object": "error", "message": f"Got LoRA adapter that has never been loaded: "
                                          f"{name}", "type": "BadRequestError", "param": None, "code": 400}, status=400)
        self.running.update(names)
        try:
            return await handler(request)
        finally:
            self.running.subtract(names)
            async with self.news:
                self.news.notify_all()


def _names(raw: bytes, model: str) -> set[str]:
    try:
        body = json.loads(raw)
    except ValueError:
        return set()
    if not isinstance(body, dict):
        return set()
    named = str(body.get("model") or "").removeprefix(f"{model}:")
    if named != body.get("model"):
        return {named} - {""}
    own = body.get("lora_path")
    return {name for name in (own if isinstance(own, list) else [own]) if name}
