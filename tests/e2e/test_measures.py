"""What a worker over HTTP measures of a real SGLang, and the server's own metrics beside it."""

import asyncio
import json
import re
from pathlib import Path

import aiohttp

from tests.contract.meter.test_lines import line
from tests.support import free_port
from tests.worker import WorkerProcess

CHAT = "/v1/chat/completions"
DASHBOARD = Path(__file__).parents[2] / "docs" / "observability" / "grafana.json"


async def test_counts_are_the_server_s_own_and_its_metrics_stand_beside_the_worker_s(real_environ):
    ports = {name: str(free_port()) for name in ("PORT", "PORT_HEALTH", "SGLANG_PORT")}
    environ = {**real_environ, **ports, "WORKER_MODE": "http", "WORKER_API_KEY": "none", "ENABLE_METRICS": "true",
               "ENABLE_CACHE_REPORT": "true"}
    base = f"http://127.0.0.1:{ports['PORT']}"
    async with WorkerProcess(None, environ) as worker, aiohttp.ClientSession() as session:
        await worker.line("serving over HTTP", 300)
        messages = [{"role": "user", "content": "What is the capital of France?"}]
        for stream in (True, False):
            body = {"messages": messages, "stream": stream, "max_tokens": 40, "temperature": 0}
            body |= {"stream_options": {"include_usage": True}} if stream else {}
            async with session.post(base + CHAT, json=body, headers={"X-Request-Id": f"r-{stream}"}) as response:
                text = await response.text()
            told = json.loads(text.split("data: ")[-2] if stream else text)["usage"]
            said = await line(worker, request_id=f"r-{stream}")
            assert (said["prompt_tokens"], said["completion_tokens"]) == (
                told["prompt_tokens"], told["completion_tokens"])
            assert said["cached_tokens"] == told["prompt_tokens_details"]["cached_tokens"]
            assert said["finish"] == "stop" and "France" not in json.dumps(said) and "Paris" not in json.dumps(said)
        for path, more in (("/v1/messages", {"messages": messages}), ("/v1/responses", {"input": "Hello"}),
                           ("/generate", {"text": "The capital of France is"})):
            body = {**more, "stream": True, "max_tokens": 8, "max_output_tokens": 8}
            body = {k: v for k, v in body.items() if k != {"/v1/messages": "max_output_tokens",
                                                           "/v1/responses": "max_tokens"}.get(path)}
            if path == "/generate":
                body = {**more, "stream": True, "sampling_params": {"max_new_tokens": 8}}
            async with session.post(base + path, json=body, headers={"X-Request-Id": f"r{path}"}) as response:
                assert response.status == 200, await response.text()
                await response.read()
            said = await line(worker, request_id=f"r{path}")
            assert said["prompt_tokens"] > 0 and 0 < said["completion_tokens"] <= 8 and said["ttft_s"] > 0, said
            assert said["finish"], said

        async with asyncio.timeout(60):  # the scheduler tells of itself now and then
            while True:
                async with session.get(f"http://127.0.0.1:{ports['PORT_HEALTH']}/metrics") as response:
                    text = await response.text()
                missing = _queried() - set(re.findall(r"^([\w:]+)[ {]", text, re.MULTILINE))
                if not missing - _RARE:
                    break
        assert "sglang:" in text and "sglang_worker_requests_total" in text


# Nothing was refused or queued here, and a start is not repeated.
_RARE = {"sglang_worker_refusals_total", "sglang_worker_uncounted_requests_total"}


def _queried() -> set[str]:
    text = DASHBOARD.read_text(encoding="utf-8")
    return set(re.findall(r"\b(sglang(?::|_worker_)\w+)", text))
