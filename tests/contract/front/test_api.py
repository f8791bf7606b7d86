"""The SDK's own HTTP server in front of the worker: what fails is FAILED, what does not arrives."""

import asyncio
import json
import signal

import aiohttp
import pytest

from tests.support import free_port, say
from tests.worker import WorkerProcess, contract_environ

GOOD = {"messages": say({"text": "Paris."})}
STREAM = {**GOOD, "stream": True}
WRONG = [({}, 400), ({"model": "nope", "messages": say({})}, 404),
         ({"messages": say({"status": 500, "error_message": "no"})}, 500),
         ({"messages": say({"tokens": 9, "error_at": 3, "error": "openai"}), "stream": True}, 400)]


class API:
    def __init__(self, session, url, worker):
        self.session, self.url, self.worker = session, url, worker

    async def post(self, path, body=None):
        async with self.session.post(self.url + path, json=body) as response:
            assert response.status == 200, await response.text()
            return await response.json()

    async def reachable(self):
        async with asyncio.timeout(60):
            while True:
                try:
                    async with self.session.get(self.url + "/openapi.json") as response:
                        return response.status
                except aiohttp.ClientConnectorError:
                    assert self.worker.process.returncode is None, self.worker.output
                    await asyncio.sleep(0.1)


@pytest.fixture
async def api():
    port = free_port()
    async with WorkerProcess(None, contract_environ(), "--rp_serve_api", "--rp_api_port", str(port)) as worker, \
            aiohttp.ClientSession() as session:
        found = API(session, f"http://localhost:{port}", worker)
        await found.reachable()
        yield found


def failed(answer, code):
    assert answer["status"] == "FAILED" and "output" not in answer and "stream" not in answer
    error = json.loads(answer["error"])
    assert error["code"] == code and error["message"] and "Traceback" not in answer["error"]


async def test_every_route_answers_and_every_failure_is_one(api):
    whole = await api.post("/runsync", {"input": GOOD})
    assert whole["status"] == "COMPLETED" and whole["output"][0]["choices"][0]["message"]["content"] == "Paris."
    streamed = await api.post("/runsync", {"input": STREAM})
    assert streamed["status"] == "COMPLETED" and "".join(streamed["output"]).endswith("data: [DONE]\n\n")
    for job_input, expected in ((GOOD, "Paris."), (STREAM, "[DONE]")):
        for path in ("stream", "status"):
            queued = await api.post("/run", {"input": job_input})
            answer = await api.post(f"/{path}/{queued['id']}")
            assert answer["status"] == "COMPLETED" and answer["id"] == queued["id"]
            parts = answer["stream"] if path == "stream" else [{"output": part} for part in answer["output"]]
            assert parts and all(set(part) == {"output"} for part in parts) and expected in json.dumps(parts)
            assert (await api.post(f"/{path}/{queued['id']}"))["status"] == "FAILED"  # once

    for job_input, code in WRONG:
        failed(await api.post("/runsync", {"input": job_input}), code)
        for path in ("stream", "status"):
            queued = await api.post("/run", {"input": job_input})
            failed(await api.post(f"/{path}/{queued['id']}"), code)

    api.worker.process.send_signal(signal.SIGTERM)
    assert await api.worker.ended() == 0
    assert "Unclosed" not in api.worker.output and "Traceback" not in api.worker.output


async def test_the_realtime_route_answers_and_its_failures_are_failures():
    port = free_port()
    environ = contract_environ(RUNPOD_REALTIME_PORT=str(port), RUNPOD_ENDPOINT_ID="here")
    async with WorkerProcess(None, environ) as worker, aiohttp.ClientSession() as session:
        api = API(session, f"http://127.0.0.1:{port}", worker)
        await api.reachable()
        whole = await api.post("/here/realtime", {"id": "a", "input": GOOD})
        assert whole["output"][0]["choices"][0]["message"]["content"] == "Paris." and "error" not in whole
        streamed = await api.post("/here/realtime", {"id": "b", "input": STREAM})
        assert "".join(streamed["output"]).endswith("data: [DONE]\n\n")
        for job_input, code in WRONG:
            answer = await api.post("/here/realtime", {"id": "c", "input": job_input})
            assert "output" not in answer and json.loads(answer["error"])["code"] == code
