"""One request of each kind through the worker and the engine before the first job, so that no job pays for a first.

SGLang's own warm-up is one short /generate, or one /encode. What it leaves cold is what most jobs take: the chat
template, the streaming path with its parsers, a prefill longer than a few tokens; and the worker's own code. With
FlashBoot, the platform freezes a worker that is warm in all of these.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from typing import TYPE_CHECKING, Any

import utils
from clock import awake
from engine import Engine
from job.model import ModelFacts
from settings.config import Settings

if TYPE_CHECKING:
    from job.worker import Worker

_WORDS = 400  # of the longer prompt: more than one tile of any prefill kernel, and less than one chunk
_CLOSING = 5.0  # seconds


def requests(settings: Settings, facts: ModelFacts, chats: bool) -> dict[str, dict[str, Any]]:
    """{name: input of a job} for what this model can do; `chats`: it has a chat template."""
    model = settings.served_model_name
    if settings.is_embedding or not facts.generates:
        return {"embeddings": {"openai_route": "/v1/embeddings", "openai_input": {"model": model, "input": "Hello"}}}
    sampling = {"max_new_tokens": 4, "temperature": 0}
    if settings.skip_tokenizer_init:
        return {"generate": {"input_ids": [10, 11, 12, 13], "sampling_params": sampling}}
    words = min(_WORDS, (facts.context or 4 * _WORDS) // 4)  # two tokens a word are many
    wanted = {"prefill": {"text": "word " * words, "apply_chat_template": False, "sampling_params": sampling}}
    if chats:
        wanted["chat"] = {"openai_route": "/v1/chat/completions", "openai_input": {
            "model": model, "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 4, "temperature": 0,
            "stream": True}}
    return wanted


def run(settings: Settings, engine: Engine, facts: ModelFacts) -> None:
    """Send the requests, one after another, for `warmup_timeout` seconds together. A failure is a line in the log."""
    began, limit = awake(), settings.start.warmup_timeout
    try:
        told = asyncio.run(_run(settings, engine, facts, began + limit))
        utils.log(f"warm-up: {', '.join(told) or 'nothing was answered'} in {awake() - began:.1f} s")
    except Exception as error:
        utils.log(f"warm-up: {type(error).__name__}: {error}", "warn")


async def _run(settings: Settings, engine: Engine, facts: ModelFacts, deadline: float) -> list[str]:
    from job.worker import Worker  # here: this module is loaded before the server, that one while it starts

    # A worker of its own, because connections belong to one event loop, and the jobs' loop is the SDK's, which begins
    # to take jobs as soon as it runs.
    worker, told = Worker(settings, engine), []
    worker.facts = facts
    try:
        chats = await asyncio.to_thread(_chats, engine, max(0.1, deadline - awake()))
        for name, job_input in requests(settings, facts, chats).items():
            began = awake()
            try:
                async with asyncio.timeout(deadline - began):
                    failed = await _ask(worker, name, job_input)
            except TimeoutError:
                utils.log(f"warm-up: {name} was not done within {settings.start.warmup_timeout:.0f} s "
                          "(WARMUP_TIMEOUT)", "warn")
                break
            told.append(f"{name} failed" if failed else f"{name} {awake() - began:.2f} s")
    finally:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_CLOSING):
                await worker.upstream.close()
    return told


def _chats(engine: Engine, timeout: float) -> bool:
    # Refused where the model has no template.
    messages = {"messages": [{"role": "user", "content": "Hello"}]}
    return engine.get("/tokenize", timeout, json.dumps(messages).encode())[0] == 200


async def _ask(worker: Worker, name: str, job_input: dict[str, Any]) -> bool:
    """Whether the request failed; the worker has then logged why."""
    failed = False
    async with contextlib.aclosing(worker.handle({"id": f"warm-up-{name}", "input": job_input})) as outputs:
        async for output in outputs:
            failed = isinstance(output, dict) and set(output) == {"error"}
    return failed
