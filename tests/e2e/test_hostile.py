"""Requests that end a bare engine, sent through the worker to a real one: refused or answered, and nobody is harmed."""

import json

import pytest

from local import corpus
from local.runpod_platform import Platform
from tests.e2e import hostile_inputs as hostile
from tests.support import free_port
from tests.worker import WorkerProcess

pytestmark = pytest.mark.asyncio(loop_scope="session")

PARIS, PARIS_ANSWER = corpus.EXCHANGES[0]
# A grammar that is slow to compile slows the engine down while it is compiled: there is no telling in advance.
SLOW = {"ebnf ambiguous"}


async def settle(platform, cases) -> None:
    jobs = [(case, await platform.submit({"openai_route": case.route, "openai_input": case.body})) for case in cases]
    for case, job in jobs:
        await job.finished(240)
        if job.status == "FAILED":
            error = json.loads(job.error)
            assert error["code"] != 502, (case.name, error)  # 502: the engine died of it
        else:
            assert job.status == "COMPLETED", case.name


async def test_hostile_requests_harm_nobody(platform, worker):
    neighbour = await platform.submit({"messages": [{"role": "user", "content": corpus.LONG_PROMPT}], "temperature": 0,
                                       "max_tokens": 1000})
    await settle(platform, [case for case in hostile.GENERATING if case.name not in SLOW])
    await neighbour.finished(240)
    assert neighbour.output[0]["choices"][0]["message"]["content"] == corpus.LONG_ANSWER
    after = await platform.submit({"messages": [{"role": "user", "content": PARIS}], "temperature": 0})
    await after.finished()
    assert after.output[0]["choices"][0]["message"]["content"] == PARIS_ANSWER
    assert "restarting the engine" not in worker.output


async def test_an_embedding_server_embeds_and_survives(real_environ):
    environ = {**real_environ, "IS_EMBEDDING": "true", "SGLANG_PORT": str(free_port())}
    async with Platform() as platform, WorkerProcess(platform, environ, ready_within=240) as worker:
        await worker.connected()
        await settle(platform, hostile.EMBEDDING)
        body = {"model": corpus.SERVED_NAME, "input": ["Paris", "Rome"]}
        job = await (await platform.submit({"openai_route": "/v1/embeddings", "openai_input": body})).finished()
        assert job.status == "COMPLETED", job.error
        vectors = [entry["embedding"] for entry in job.output[0]["data"]]
        assert len(vectors) == 2 and len(vectors[0]) == 64 and vectors[0] != vectors[1]
        refused = await (await platform.submit({"messages": [{"role": "user", "content": PARIS}]})).finished()
        assert "only embeds" in json.loads(refused.error)["message"]
        assert "restarting the engine" not in worker.output
