"""What sdk.py and handler.py rely on inside the runpod SDK. A change there is to be read before the pin moves."""

import hashlib
import inspect
import json
from types import SimpleNamespace

import aiohttp
import pytest
import runpod
from aiohttp import web
from aiohttp.test_utils import TestServer
from runpod.serverless import worker
from runpod.serverless.modules import rp_handler, rp_http, rp_job, rp_ping, rp_scale, worker_state

from front.queue import sdk

RELIED_ON = {
    "JobScaler": (rp_scale.JobScaler, "b9b75d9270a3ae4f"),
    "handle_job": (rp_job.handle_job, "849f93639768bc87"),
    "run_job_generator": (rp_job.run_job_generator, "a6742b7e5a56f3f8"),
    "get_job": (rp_job.get_job, "8ce238208ca5261a"),
    "get_stop_signals": (rp_job.get_stop_signals, "031a55cb85064132"),
    "_transmit": (rp_http._transmit, "fc9d60458af96c8a"),
    "_handle_result": (rp_http._handle_result, "ce88ccb812bcc41f"),
    "is_generator": (rp_handler.is_generator, "c9ff901decbea7f9"),
    "run_worker": (worker.run_worker, "ce0b9b3f79f9f9d3"),
    "Heartbeat": (rp_ping.Heartbeat, "aa0c15420df377b2"),
    "JobsProgress": (worker_state.JobsProgress, "36fc501c771d8f2f"),
}


def digest(thing) -> str:
    return hashlib.sha256(inspect.getsource(thing).encode()).hexdigest()[:16]


def test_the_version_is_the_one_that_was_read():
    assert runpod.__version__ == "1.12.0"


@pytest.mark.parametrize("name", RELIED_ON)
def test_the_source_is_the_one_that_was_read(name):
    thing, expected = RELIED_ON[name]
    assert digest(thing) == expected, (
        f"{name} of the runpod SDK changed: read it again, check sdk.py and handler.py against it, "
        f"and note {digest(thing)}")


def test_the_names_that_are_replaced_are_looked_up_when_they_are_used():
    assert "rp_scale.JobScaler(config)" in inspect.getsource(worker.run_worker)
    assert "await _transmit(session, url, serialized_job_data)" in inspect.getsource(rp_http._handle_result)
    for name in ("get_jobs", "run_jobs", "monitor_stop_signals"):
        assert f"self.{name}(session)" in inspect.getsource(rp_scale.JobScaler.run)
    assert "self.handle_job(session, job)" in inspect.getsource(rp_scale.JobScaler.run_jobs)
    assert "self.stop_job(job_id)" in inspect.getsource(rp_scale.JobScaler.monitor_stop_signals)
    assert "self.jobs_fetcher(session, jobs_needed)" in inspect.getsource(rp_scale.JobScaler.get_jobs)


def test_a_chunk_is_text_whose_picture_is_short():
    chunk = sdk.Chunk("data: é\n\n")
    assert chunk == "data: é\n\n" and json.dumps({"output": chunk}, ensure_ascii=False) == '{"output": "data: é\\n\\n"}'
    assert f"{({'output': chunk})}" == "{'output': <9 characters>}" and f"{chunk}" == "<9 characters>"
    assert "".join([chunk, chunk]) == "data: é\n\ndata: é\n\n"


@pytest.mark.parametrize("text", ["{}", "a", "é\n€😀" * 200_000, "a" * (2**15 + 1), "a" * 2**15])
async def test_a_post_arrives_whole_whatever_its_size_also_when_it_is_repeated(text):
    arrived = []

    async def take(request):
        arrived.append((await request.read(), request.headers.get("Content-Length"),
                        request.headers.get("Transfer-Encoding"), request.headers["Content-Type"]))
        return web.Response(status=502 if len(arrived) == 1 else 200)

    app = web.Application(client_max_size=2**24)
    app.router.add_post("/done", take)
    module = SimpleNamespace()
    undelivered = sdk.persistent(module)
    async with TestServer(app) as server, aiohttp.ClientSession() as session:
        await module._transmit(session, server.make_url("/done"), text)
    body = text.encode()
    assert arrived == [(body, str(len(body)), None, "application/x-www-form-urlencoded")] * 2
    assert not undelivered
