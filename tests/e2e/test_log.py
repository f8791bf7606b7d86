"""What the real engine writes of requests and answers, and what of it the worker shows."""

import json

import pytest

from server.discretion import NO_TOKEN
from tests.e2e.fronts import OWN_ENGINE

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def failed(platform, job_input) -> dict:
    job = await (await platform.submit(job_input)).finished(120)
    assert job.status == "FAILED", job.output
    return json.loads(job.error)


async def test_the_question_for_the_vocabulary_looks_like_no_error(worker):
    assert "asking the server how many tokens its model has" in worker.output
    assert str(NO_TOKEN) not in worker.output and "Error: logit_bias" not in worker.output
    assert "vocabulary size is unknown" not in worker.output


@OWN_ENGINE
async def test_a_grammar_that_is_not_kept_shows_neither_answer_nor_grammar(platform, worker):
    error = await failed(platform, {"text": "a", "sampling_params": {
        "regex": "(qz)?", "min_new_tokens": 6, "max_new_tokens": 8, "temperature": 1.0}})
    assert "Grammar accept_token failed" in error["message"] and "Accepted" not in error["message"]
    assert "is left out" in await worker.line("Grammar accept_token failed for req")
    for part in ("(qz)?", "Accepted tokens", "Key string"):
        assert part not in worker.output


@OWN_ENGINE
async def test_a_grammar_that_does_not_compile_is_not_shown(platform, worker):
    await failed(platform, {"text": "a", "sampling_params": {"ebnf": "root ::= secret-plan-of-mine ("}})
    assert "is left out" in await worker.line("Hit invalid ebnf")
    assert not [line for line in worker.lines if "secret-plan" in line and "failed with 400" not in line]
