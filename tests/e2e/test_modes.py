"""Modes of SGLang that work on a CPU, on a real one: two stages of the model behind two tokenizers and detokenizers."""

import json

import pytest

from local import corpus
from local.runpod_platform import Platform
from tests.e2e.fronts import http_beside
from tests.support import free_port
from tests.worker import WorkerProcess

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(500)]


async def test_stages_and_processes_before_them_answer_as_one_does(real_environ, tmp_path):
    environ = {**real_environ, "SGLANG_PORT": str(free_port()), "XDG_CACHE_HOME": str(tmp_path), "HOME": str(tmp_path),
               "PP_SIZE": "2", "TOKENIZER_WORKER_NUM": "2", "DETOKENIZER_WORKER_NUM": "2",
               "SGLANG_CPU_OMP_THREADS_BIND": "0|1"}  # of each rank, on a machine with one NUMA node
    del environ["API_KEY"]  # several tokenizers take none
    async with Platform() as platform, WorkerProcess(platform, environ, ready_within=400) as worker, http_beside(
            await worker.connected()) as (front, _):
        for way in (platform, front):
            for question, answer in corpus.EXCHANGES[:3]:
                job = await (await way.submit({"openai_route": "/v1/chat/completions", "openai_input": {
                    "model": corpus.SERVED_NAME, "messages": [{"role": "user", "content": question}], "max_tokens": 40,
                    "temperature": 0}})).finished()
                assert job.status == "COMPLETED", json.dumps(job.output)
                assert job.output[0]["choices"][0]["message"]["content"] == answer
