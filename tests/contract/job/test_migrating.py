"""docs/migrating.md: the inputs that the older worker-sglang and worker-vllm document, through a whole worker."""

import json

import pytest

from builder.migration import WORKERS, of_input
from tests.worker import WorkerProcess, contract_environ, error_of

# What the scripted engine has no part of, or what only a network gives: their routes are looked at in the unit tests.
ELSEWHERE = ("/v1/responses", "/v1/embeddings", "image_data", "/health", "your_model_input_key")
INPUTS = [job_input for told in WORKERS.values() for job_input in told["inputs"]
          if not any(word in json.dumps(job_input) for word in ELSEWHERE)]


@pytest.fixture
async def worker(platform):
    environ = contract_environ(MODEL_NAME="org/model", SERVED_MODEL_NAME="", SCRIPTED_ENGINE_SCRIPT=json.dumps(
        {"text": "Paris."}))
    async with WorkerProcess(platform, environ) as process:
        yield await process.connected()


async def test_every_documented_input_is_answered_or_refused_as_the_page_says(platform, worker):
    for job_input in INPUTS:
        job = await (await platform.submit(job_input)).finished(60)
        said = of_input(job_input)
        if said.startswith("refused: "):
            assert said == "refused: " + error_of(job)["message"], job_input
            continue
        assert job.status == "COMPLETED", (job_input, job.error)
        body = job_input.get("openai_input") or job_input.get("body") or job_input
        if body.get("stream"):
            assert job.text.startswith("data: ") and job.text.endswith("data: [DONE]\n\n"), job_input
            continue
        [answer] = job.output
        if said.endswith("/v1/models`"):
            assert [model["id"] for model in answer["data"]] == ["org/model"]
        elif said.endswith("/generate`"):
            answers = answer if isinstance(answer, list) else [answer]
            assert [one["text"] for one in answers] == ["Paris."] * (2 if isinstance(body.get("text"), list) else 1)
        else:
            [choice] = answer["choices"]
            assert (choice["message"]["content"] if "message" in choice else choice["text"]) == "Paris.", job_input
