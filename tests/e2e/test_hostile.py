"""Requests that end a bare engine, sent through the worker to a real one: refused or answered, and nobody is harmed."""

import contextlib
import json
import re

import pytest

from local import corpus
from local.runpod_platform import Platform
from tests.e2e import hostile_inputs as hostile
from tests.e2e.fronts import http_beside
from tests.support import free_port
from tests.worker import WorkerProcess

pytestmark = pytest.mark.asyncio(loop_scope="session")

PARIS, PARIS_ANSWER = corpus.EXCHANGES[0]
# A grammar that is slow to compile slows the engine down while it is compiled: there is no telling in advance.
SLOW = {"ebnf ambiguous"}


@contextlib.asynccontextmanager
async def both_before(environ):
    """((platform, HTTP front), worker): both fronts of an engine of one test's own, whose worker it is."""
    async with Platform() as platform, WorkerProcess(platform, environ, ready_within=240) as worker, http_beside(
            await worker.connected()) as (front, _):
        yield (platform, front), worker


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


ODD = [
    ("/v1/score", {"query": "", "items": ["a", "b"], "label_token_ids": [1, 2]}),
    ("/v1/score", {"query": "q", "items": ["", "b"], "label_token_ids": [1, 2]}),
    ("/v1/score", {"query": "q", "items": [], "label_token_ids": [1, 2]}),
    ("/v1/completions", {"prompt": PARIS, "max_tokens": 4, "logprobs": -1}),
    ("/v1/chat/completions", {"messages": [{"role": "user", "content": PARIS}], "max_tokens": 4, "top_p": 0,
                              "logit_bias": {"5": "-100"}, "stop_token_ids": [10**6, -1], "min_tokens": 2}),
    ("/generate", {"text": ["Hello"], "top_logprobs_num": [1], "return_logprob": [True], "logprob_start_len": [0],
                   "sampling_params": [{"max_new_tokens": 4, "logit_bias": {"5": "1.5"}, "stop_token_ids": [600],
                                        "min_new_tokens": 2, "top_p": 0}]}),
    ("/generate", {"input_ids": [[65, 66]], "return_hidden_states": [False], "sampling_params": {"max_new_tokens": 4}}),
]


async def test_odd_requests_that_harm_nobody_are_answered(platform, worker):
    for route, body in ODD:
        job = await (await platform.submit({"openai_route": route, "openai_input": body})).finished(240)
        assert job.status == "COMPLETED", (route, job.error)


@pytest.mark.parametrize("pattern", [r"E[a-z]{1,3}", r"\w+, V", r"s,\s*", r"zzz|\bMars\b", r"(Sat|Ura)(urn|nus)"])
async def test_an_answer_stops_where_its_pattern_is_found(platform, worker, pattern):
    planets, answer = next(exchange for exchange in corpus.EXCHANGES if "planets" in exchange[0])
    body = {"messages": [{"role": "user", "content": planets}], "temperature": 0, "stop_regex": pattern}
    job = await (await platform.submit(body)).finished(240)
    text = job.output[0]["choices"][0]["message"]["content"]
    found = re.search(pattern, answer)
    # The engine leaves the match in, up to the end of the token with which it was complete.
    assert answer.startswith(text) and found.start() < len(text) < found.end() + 12, text


async def test_right_embeds_do_not_end_a_server_of_another_type(real_environ):
    environ = {**real_environ, "DISABLE_RADIX_CACHE": "true", "SGLANG_PORT": str(free_port())}
    async with both_before(environ) as (fronts, worker):
        for platform in fronts:
            for case in hostile.OTHER_TYPE:
                job = await platform.submit({"openai_route": case.route, "openai_input": case.body})
                await job.finished(240)
                assert json.loads(job.error)["code"] == 400 and "bfloat16" in json.loads(job.error)["message"]
            after = await platform.submit({"messages": [{"role": "user", "content": PARIS}], "temperature": 0})
            await after.finished()
            assert after.output[0]["choices"][0]["message"]["content"] == PARIS_ANSWER
        assert "restarting the engine" not in worker.output


async def test_an_embedding_server_embeds_and_survives(real_environ):
    environ = {**real_environ, "IS_EMBEDDING": "true", "SGLANG_PORT": str(free_port())}
    async with both_before(environ) as (fronts, worker):
        for platform in fronts:
            await settle(platform, hostile.EMBEDDING)
            body = {"model": corpus.SERVED_NAME, "input": ["Paris", "Rome"]}
            job = await (await platform.submit({"openai_route": "/v1/embeddings", "openai_input": body})).finished()
            assert job.status == "COMPLETED", job.error
            vectors = [entry["embedding"] for entry in job.output[0]["data"]]
            assert len(vectors) == 2 and len(vectors[0]) == 64 and vectors[0] != vectors[1]
            refused = await (await platform.submit({"messages": [{"role": "user", "content": PARIS}]})).finished()
            assert "only embeds" in json.loads(refused.error)["message"]
        assert "restarting the engine" not in worker.output
