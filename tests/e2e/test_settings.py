"""Settings as people write them, on a real SGLang: one start with all of them at once."""

import json

import pytest

from local import corpus
from local.runpod_platform import Platform
from tests.e2e.fronts import http_beside
from tests.support import free_port
from tests.worker import WorkerProcess

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(400)]
TEMPLATE = ("{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
            "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}")


async def test_what_people_write(real_environ, model_path, tmp_path):
    environ = {**real_environ, "SGLANG_PORT": str(free_port()), "XDG_CACHE_HOME": str(tmp_path), "HOME": str(tmp_path),
               "MODEL_ID": f'"{model_path}"', "SERVED_MODEL_NAME": "gpt-oss:120b", "MAX_MODEL_LEN": "'1024'",
               "CUSTOM_CHAT_TEMPLATE": TEMPLATE}
    del environ["MODEL_NAME"]
    async with Platform() as platform, WorkerProcess(platform, environ, ready_within=300) as worker, http_beside(
            await worker.connected()) as (front, _):
        for way in (platform, front):
            listed = await (await way.submit({"openai_route": "/v1/models"})).finished()
            (model,) = listed.output[0]["data"]
            assert (model["id"], model["max_model_len"]) == ("gpt-oss-120b", 1024)
            question, answer = corpus.EXCHANGES[0]
            job = await (await way.submit({"openai_route": "/v1/chat/completions", "openai_input": {
                "model": "gpt-oss-120b", "messages": [{"role": "user", "content": question}], "max_tokens": 40,
                "temperature": 0}})).finished()
            assert job.status == "COMPLETED", json.dumps(job.output)
            assert job.output[0]["choices"][0]["message"]["content"] == answer
