"""The platform's stand-in against the real runpod SDK in its production mode, and the real openai client.

The worker is a process of its own with a small handler; nothing of this project runs in it.
"""

import asyncio
import contextlib
import io
import json
import os
import signal
import sys

import aiohttp
import openai
import pytest
import pytest_asyncio

from local.platform_records import Limits, Policy, Refused, Unknowns
from local.runpod_platform import Platform

# One loop for all: the worker that most tests share takes seconds to start.
pytestmark = pytest.mark.asyncio(loop_scope="module")
module_fixture = pytest_asyncio.fixture(scope="module", loop_scope="module")
function_fixture = pytest_asyncio.fixture(loop_scope="module")
SHORT = Limits(execution_timeout=(1, 10**9), ttl=(1, 10**9))

HANDLER = '''
import asyncio, os, sys
import runpod

CONCURRENCY = int(os.environ["TEST_CONCURRENCY"])

async def handler(job):
    body = job["input"]
    wish = body.get("openai_input") or body
    wish = wish.get("metadata") or wish
    if wish.get("fail"):
        yield "before"
        raise ValueError("no such luck")
    if wish.get("error"):
        yield {"error": wish["error"]}
        return
    if wish.get("big"):
        yield "x" * wish["big"]
        return
    if wish.get("hang"):
        yield "started"
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            open(wish["hang"], "w").write("cancelled")
            raise
    if body.get("openai_route") == "/v1/models":
        yield {"object": "list", "data": [{"id": "m", "object": "model", "created": 0, "owned_by": "o"}],
               "seen": body.get("openai_input", "absent")}
        return
    count = int(wish.get("count", 3))
    if body.get("openai_route") and not body["openai_input"].get("stream"):
        yield {"id": "1", "object": "chat.completion", "created": 0, "model": "m", "choices": [
            {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "Paris."}}]}
        return
    if body.get("openai_route"):
        for word in ["Pa", "ris", ". \\u00e9\\U0001f99c"]:
            yield ('data: {"id":"1","object":"chat.completion.chunk","created":0,"model":"m","choices":'
                   '[{"index":0,"delta":{"content":"' + word + '"},"finish_reason":null}]}\\n\\n')
            await asyncio.sleep(0)
        yield "data: [DONE]\\n\\n"
        return
    for i in range(count):
        yield f"{body.get('name', '')}{i};"

if os.environ.get("TEST_UNFIT"):
    @runpod.serverless.register_fitness_check
    def model_is_there():
        raise RuntimeError("model not loaded")

runpod.serverless.start({"handler": handler, "return_aggregate_stream": True,
                         "concurrency_modifier": lambda current: CONCURRENCY})
'''


class Worker:
    """A worker process and its log; killed with its whole group at the end of the test."""

    def __init__(self, process, log_path):
        self.process, self.log_path = process, log_path

    def log(self) -> str:
        return self.log_path.read_text()

    def kill(self) -> None:
        if self.process.returncode is None:
            os.killpg(self.process.pid, signal.SIGKILL)


@contextlib.asynccontextmanager
async def worker_starter(folder):
    """Gives `start(platform, …)`; every worker it started is dead afterwards, whatever happened."""
    workers = []
    source = folder / "handler.py"
    source.write_text(HANDLER)

    async def start(platform: Platform, name: str = "worker-1", concurrency: int = 1, **extra) -> Worker:
        log_path = folder / f"{name}.log"
        environ = {"PATH": os.environ["PATH"], "HOME": str(folder), "PYTHONUNBUFFERED": "1",
                   **platform.worker_environ(name), "RUNPOD_SKIP_AUTO_SYSTEM_CHECKS": "true",
                   "RUNPOD_SKIP_GPU_CHECK": "true", "RUNPOD_PING_INTERVAL": "1000",
                   "RUNPOD_LOG_LEVEL": "INFO", "TEST_CONCURRENCY": str(concurrency), **extra}
        with contextlib.closing(io.FileIO(log_path, "w")) as log:
            process = await asyncio.create_subprocess_exec(
                sys.executable, str(source), env=environ, stdout=log, stderr=log, cwd=folder,
                start_new_session=True)
        workers.append(Worker(process, log_path))
        return workers[-1]

    try:
        yield start
    finally:
        for worker in workers:
            worker.kill()
            await worker.process.wait()


@module_fixture
async def served(tmp_path_factory):
    async with Platform(limits=SHORT) as running, worker_starter(tmp_path_factory.mktemp("worker")) as start:
        running.worker = await start(running)
        yield running


@function_fixture
async def shared(served):
    """A platform with one worker that takes one job at a time. A test asks only for its own jobs there."""
    yield served
    served.faults.clear()
    served.post_delay_ms, served.unknowns = 0, Unknowns()


@function_fixture
async def start_worker(tmp_path):
    async with worker_starter(tmp_path) as start:
        yield start


@function_fixture
async def platform():
    async with Platform(limits=SHORT) as running:
        yield running


@module_fixture
async def http():
    async with aiohttp.ClientSession(headers={"Authorization": "Bearer k"}) as session:
        yield session


@module_fixture
async def client(served):
    async with openai.AsyncOpenAI(base_url=served.openai_url, api_key="k", max_retries=0) as one:
        yield one


def newest(platform):
    return list(platform.store.jobs.values())[-1]


QUESTION = [{"role": "user", "content": "?"}]


async def answer(session, method, url, **kwargs):
    async with session.request(method, url, **kwargs) as response:
        return response.status, await response.json()


# ---------------------------------------------------------------- jobs through the SDK
async def test_single_take_stream_and_aggregate(shared):
    job = await (await shared.submit({"name": "a", "count": 4})).finished()
    assert job.status == "COMPLETED", shared.worker.log()
    assert [c.output for c in job.chunks] == ["a0;", "a1;", "a2;", "a3;"] == job.output
    assert job.chunks[0].time <= job.chunks[-1].time <= job.ended
    assert job.worker_id == "worker-1"
    await shared.wait_for(lambda: shared.calls_of("job-done", job.id))
    assert len(shared.calls_of("job-stream", job.id)) == 4
    assert shared.posts["job-take"] > 0 and shared.posts["job-take-batch"] == 0
    call = shared.calls_of("job-stream", job.id)[0]
    assert (call.worker_id, call.status, call.size) == ("worker-1", 200, len(b'{"output": "a0;"}'))


async def test_batch_take_hands_out_several_jobs_at_once(platform, start_worker):
    jobs = [await platform.submit({"name": f"j{i}-", "count": 2}) for i in range(5)]
    await start_worker(platform, concurrency=5)
    for i, job in enumerate(jobs):
        assert (await job.finished()).output == [f"j{i}-0;", f"j{i}-1;"]
    assert platform.posts["job-take"] == 0
    assert [c.status for c in platform.calls_of("job-take-batch") if c.status != 204] == [200]
    assert {job.attempts for job in jobs} == {1}


async def test_two_workers_share_the_queue(platform, start_worker, tmp_path):
    hanging = await platform.submit({"hang": str(tmp_path / "mark")})
    await start_worker(platform, "worker-1")
    await hanging.chunk()
    await start_worker(platform, "worker-2")
    job = await (await platform.submit({"name": "x", "count": 1})).finished()
    assert (hanging.worker_id, job.worker_id) == ("worker-1", "worker-2")


async def test_an_exception_fails_the_job_with_its_text(shared):
    job = await (await shared.submit({"fail": True})).finished()
    assert job.status == "FAILED" and "no such luck" in job.error
    assert job.text == "before"


async def test_an_error_yielded_fails_the_job_verbatim(shared):
    text = json.dumps({"message": "nö", "code": 404})
    job = await (await shared.submit({"error": text})).finished()
    assert (job.status, job.error, job.chunks) == ("FAILED", text, [])


async def test_cancel_reaches_the_handler(shared, tmp_path):
    mark = tmp_path / "mark"
    job = await shared.submit({"hang": str(mark)})
    await job.chunk()
    await shared.cancel(job.id)
    assert job.status == "CANCELLED"
    # A worker that serves the next job has let go of the first.
    after = await (await shared.submit({"count": 1})).finished()
    assert after.status == "COMPLETED"
    assert mark.read_text() == "cancelled"
    assert job.output is None


async def test_the_execution_timeout_stops_the_handler(shared, tmp_path):
    mark = tmp_path / "mark"
    job = await shared.submit({"hang": str(mark)}, policy={"executionTimeout": 300})
    await job.finished()
    assert job.status == "TIMED_OUT" and "300 ms" in job.error
    await (await shared.submit({"count": 1})).finished()
    assert mark.read_text() == "cancelled"


async def test_a_post_delay_holds_every_chunk_back(shared):
    shared.post_delay_ms = 50
    job = await (await shared.submit({"count": 4})).finished()
    gaps = [b.time - a.time for a, b in zip(job.chunks, job.chunks[1:], strict=False)]
    assert len(gaps) == 3 and min(gaps) >= 0.045


async def test_a_failed_post_is_retried_by_the_sdk(shared):
    shared.faults.fail("job-stream", 500)
    shared.faults.fail("job-done", 502)
    job = await (await shared.submit({"count": 2})).finished()
    assert job.text == "0;1;" and job.output == ["0;", "1;"]
    assert [c.status for c in shared.calls_of("job-stream", job.id)] == [500, 200, 200]
    await shared.wait_for(lambda: len(shared.calls_of("job-done", job.id)) == 2)
    assert [c.status for c in shared.calls_of("job-done", job.id)] == [502, 200]


async def test_a_post_whose_answer_was_lost_arrives_twice(shared):
    shared.faults.fail("job-stream", 500, after=True)
    job = await (await shared.submit({"count": 2})).finished()
    assert job.text == "0;0;1;" and job.output == ["0;", "1;"]


async def test_a_dropped_post_is_not_retried_and_the_aggregate_has_it_all(shared):
    shared.faults.drop("job-stream")
    job = await (await shared.submit({"count": 3})).finished()
    assert job.text == "1;2;" and job.output == ["0;", "1;", "2;"]
    assert [c.status for c in shared.calls_of("job-stream", job.id)] == [0, 200, 200]


async def test_a_refused_take_is_not_the_end_of_a_worker(platform, start_worker):
    platform.faults.fail("job-take", 400)
    await start_worker(platform)
    await platform.wait_for(lambda: [c.status for c in platform.calls_of("job-take")] == [400])
    assert (await (await platform.submit({"count": 1})).finished()).status == "COMPLETED"


async def test_a_result_above_20_mb_is_refused_and_lost(shared):
    job = await (await shared.submit({"big": 20 * 10**6})).finished()
    assert (job.status, job.output) == ("COMPLETED", None)
    await shared.wait_for(lambda: shared.calls_of("job-done", job.id))
    assert [c.status for c in shared.calls_of("job-done", job.id)] == [400]
    after = await (await shared.submit({"count": 1})).finished()
    assert after.status == "COMPLETED"
    assert "Failed to return job results. | 400" in shared.worker.log()


async def test_a_chunk_above_1_mb_is_refused_and_the_sdk_says_so(shared):
    job = await (await shared.submit({"big": 10**6})).finished()
    assert job.status == "COMPLETED" and job.output == ["x" * 10**6] and not job.chunks
    assert [c.status for c in shared.calls_of("job-stream", job.id)] == [400]

    shared.unknowns = Unknowns(large_chunk="split")
    job = await (await shared.submit({"big": 10**6})).finished()
    assert len(job.chunks) == 1 and [c.status for c in shared.calls_of("job-stream", job.id)] == [200]


async def test_pings_name_the_worker_and_its_jobs(platform, start_worker, tmp_path):
    job = await platform.submit({"hang": str(tmp_path / "mark")})
    worker = await start_worker(platform)
    await platform.wait_for(lambda: platform.store.workers.get("worker-1")
                            and platform.store.workers["worker-1"].jobs == (job.id,))
    assert platform.store.workers["worker-1"].version.startswith("1.")
    assert platform.lost(10) == []
    worker.kill()
    await worker.process.wait()
    assert [lost.id for lost in platform.lost(0)] == [job.id]
    platform.requeue(job.id)
    await start_worker(platform, "worker-2")
    await job.chunk()
    assert (job.worker_id, job.attempts) == ("worker-2", 2)


async def test_an_unfit_worker_reports_itself_and_exits(platform, start_worker):
    worker = await start_worker(platform, TEST_UNFIT="1")
    assert await worker.process.wait() == 1
    assert platform.store.workers["worker-1"].unhealthy == "model_is_there: RuntimeError: model not loaded"
    assert platform.store.health()["workers"]["unhealthy"] == 1


async def test_a_stopped_worker_finishes_its_job_first(platform, start_worker):
    platform.long_poll = 0.2
    platform.post_delay_ms = 20
    worker = await start_worker(platform)
    job = await platform.submit({"count": 20})
    await job.chunk()
    worker.process.send_signal(signal.SIGTERM)
    await job.finished()
    assert job.status == "COMPLETED" and len(job.output) == 20
    assert await worker.process.wait() == 0


# ---------------------------------------------------------------- the clients' API
async def test_run_status_stream(shared, http):
    status, submitted = await answer(http, "POST", f"{shared.url}/run", json={"input": {"count": 3}})
    assert status == 200 and submitted["status"] == "IN_QUEUE" and submitted["id"].endswith("-u1")
    await shared.job(submitted["id"]).finished()
    status, seen = await answer(http, "GET", f"{shared.url}/status/{submitted['id']}")
    assert status == 200 and seen["status"] == "COMPLETED" and seen["output"] == ["0;", "1;", "2;"]
    assert seen["workerId"] == "worker-1" and seen["delayTime"] >= 0 and seen["executionTime"] >= 0
    status, first = await answer(http, "GET", f"{shared.url}/stream/{submitted['id']}")
    assert first == {"status": "COMPLETED", "stream": [{"output": "0;"}, {"output": "1;"}, {"output": "2;"}]}
    status, second = await answer(http, "POST", f"{shared.url}/stream/{submitted['id']}")
    assert second == {"status": "COMPLETED", "stream": []}


async def test_runsync(shared, http):
    status, seen = await answer(http, "POST", f"{shared.url}/runsync", json={"input": {"count": 2}})
    assert (status, seen["status"], seen["output"]) == (200, "COMPLETED", ["0;", "1;"])
    assert seen["id"].startswith("sync-")
    status, seen = await answer(http, "POST", f"{shared.url}/runsync", json={"input": {"error": "broken"}})
    assert (status, seen["status"], seen["error"]) == (200, "FAILED", "broken")


async def test_runsync_gives_up_waiting_and_the_job_goes_on(platform, http):
    url = f"{platform.url}/runsync?wait=1000"
    status, seen = await answer(http, "POST", url, json={"input": {"count": 1}})
    assert (status, seen["status"]) == (200, "IN_QUEUE")
    assert len(platform.store.queue) == 1


async def test_cancel_health_and_purge_over_http(platform, http):
    jobs = [await platform.submit({}) for _ in range(3)]
    status, seen = await answer(http, "POST", f"{platform.url}/cancel/{jobs[0].id}")
    assert (status, seen) == (200, {"id": jobs[0].id, "status": "CANCELLED"})
    status, seen = await answer(http, "GET", f"{platform.url}/health")
    assert seen["jobs"]["inQueue"] == 2
    status, seen = await answer(http, "POST", f"{platform.url}/purge-queue")
    assert (status, seen) == (200, {"removed": 2, "status": "completed"})


@pytest.mark.parametrize("path, body, expected", [
    ("/run", b"{", 400), ("/run", b"[]", 400), ("/run", b"{}", 400), ("/run", b'{"input": "text"}', 400),
    ("/run", b'{"input": {}, "policy": {"ttl": 0}}', 400), ("/runsync?wait=999", b'{"input": {}}', 400),
    ("/runsync?wait=300001", b'{"input": {}}', 400), ("/openai/v1/completions", b"no", 400),
    ("/status/nope", b"", 404), ("/stream/nope", b"", 404), ("/cancel/nope", b"", 404), ("/nope", b"", 404)])
async def test_what_clients_get_wrong(platform, http, path, body, expected):
    status, seen = await answer(http, "POST", platform.url + path, data=body)
    assert status == expected and isinstance(seen["error"], str)
    assert not platform.store.jobs


@pytest.mark.parametrize("path, limit", [("/run", 10 * 10**6), ("/runsync", 20 * 10**6)])
async def test_a_body_above_its_limit_is_refused(platform, http, path, limit):
    body = b'{"input": {"text": "' + b"x" * limit + b'"}}'
    status, seen = await answer(http, "POST", platform.url + path, data=body)
    assert status == 413 and str(limit) in seen["error"]
    assert not platform.store.jobs


@pytest.mark.parametrize("headers", [{"Authorization": "Bearer k"}, {"Authorization": "bearer k"}, {"x-api-key": "k"},
                                     {"x-api-key": "k", "Authorization": "Bearer "}])
async def test_a_key_comes_as_bearer_or_in_a_header_of_its_own(platform, headers):
    async with aiohttp.ClientSession(headers=headers) as session:
        assert (await answer(session, "GET", f"{platform.url}/health"))[0] == 200


@pytest.mark.parametrize("headers", [{}, {"x-api-key": " "}, {"Authorization": "k"},
                                     {"Authorization": "Bearer "}, {"Authorization": "Basic k"}])
async def test_a_client_without_a_key_is_refused(platform, headers):
    async with aiohttp.ClientSession(headers=headers) as session:
        for method, path in (("GET", "/health"), ("POST", "/run"), ("GET", "/openai/v1/models")):
            status, seen = await answer(session, method, platform.url + path, json={"input": {}})
            assert status == 401 and "Bearer" in seen["error"]
    assert not platform.store.jobs


async def test_keys_and_rates_can_be_switched():
    async with Platform(auth=False, rate_limits=True) as open_one, aiohttp.ClientSession() as session:
        statuses = [(await answer(session, "POST", f"{open_one.url}/purge-queue"))[0] for _ in range(3)]
    assert statuses == [200, 200, 429]


async def test_a_job_past_its_time_to_live_is_gone(platform, http):
    job = await platform.submit({}, policy={"ttl": 50})
    await job.finished()
    assert job.status == "TIMED_OUT"
    status, _ = await answer(http, "GET", f"{platform.url}/status/{job.id}")
    assert status == 404
    with pytest.raises(Refused):
        platform.job(job.id)


async def test_the_default_policy_is_the_platforms(http):
    async with Platform(policy=Policy(execution_timeout=7000, ttl=70_000)) as one:
        await answer(http, "POST", f"{one.url}/run", json={"input": {}, "policy": {"ttl": 20_000}})
        assert [job.policy for job in one.store.jobs.values()] == [Policy(7000, 20_000)]


# ---------------------------------------------------------------- the OpenAI route
async def test_openai_whole_answer(shared, client):
    got = await client.chat.completions.create(model="m", messages=QUESTION)
    assert got.choices[0].message.content == "Paris."
    job = newest(shared)
    assert job.input["openai_route"] == "/v1/chat/completions"
    assert job.input["openai_input"] == {"model": "m", "messages": QUESTION}


async def test_openai_stream(shared, client):
    stream = await client.chat.completions.create(model="m", messages=QUESTION, stream=True)
    assert [event.choices[0].delta.content async for event in stream] == ["Pa", "ris", ". é🦜"]


async def test_openai_stream_arrives_while_the_job_runs(shared, http, tmp_path):
    body = {"stream": True, "metadata": {"hang": str(tmp_path / "mark")}}
    async with http.post(f"{shared.openai_url}/chat/completions", json=body) as response:
        assert response.status == 200 and response.content_type == "text/event-stream"
        assert await response.content.readany() == b"started"
        job = newest(shared)
        assert job.status == "IN_PROGRESS"
    await shared.job(job.id).finished()
    assert job.status == "CANCELLED", "a client that goes away cancels its job"
    await (await shared.submit({"count": 1})).finished()
    assert (tmp_path / "mark").read_text() == "cancelled"


@pytest.mark.parametrize("shape, seen", [("empty", {}), ("null", None), ("absent", "absent")])
async def test_openai_get(shared, http, shape, seen):
    shared.unknowns = Unknowns(get_input=shape)
    status, got = await answer(http, "GET", f"{shared.openai_url}/models")
    assert status == 200 and got["data"][0]["id"] == "m" and got["seen"] == seen


@pytest.mark.parametrize("stream", [False, True])
async def test_openai_failure_before_output_is_a_500_with_the_error(shared, client, stream):
    with pytest.raises(openai.InternalServerError) as raised:
        await client.chat.completions.create(model="m", messages=QUESTION, stream=stream,
                                             metadata={"error": '{"code": 404}'})
    assert raised.value.status_code == 500
    body = raised.value.response.json()
    assert body["status"] == "FAILED" and json.loads(body["error"]) == {"code": 404}


@pytest.mark.parametrize("shape, seen", [("empty", {}), ("null", None), ("absent", "absent")])
async def test_openai_post_without_a_body_is_a_job_like_a_get(platform, http, shape, seen):
    platform.unknowns = Unknowns(get_input=shape)
    post = asyncio.create_task(http.post(f"{platform.openai_url}/responses/resp_1/cancel"))
    job = (await platform.wait_for(lambda: platform.store.take("w", 1)))[0]
    assert job.input["openai_route"] == "/v1/responses/resp_1/cancel"
    assert job.input.get("openai_input", "absent") == seen
    platform.store.done("w", job.id, b'{"output": [{"id": "resp_1", "status": "cancelled"}]}')
    async with await post as response:
        assert (response.status, await response.json()) == (200, {"id": "resp_1", "status": "cancelled"})


async def test_the_openai_client_cancels_a_response_without_a_body(platform):
    async with openai.AsyncOpenAI(base_url=platform.openai_url, api_key="k", max_retries=0) as sdk:
        cancelling = asyncio.create_task(sdk.responses.cancel("resp_1"))
        job = (await platform.wait_for(lambda: platform.store.take("w", 1)))[0]
        assert job.input == {"openai_route": "/v1/responses/resp_1/cancel", "openai_input": {}}
        platform.store.done("w", job.id, json.dumps({"output": [{"id": "resp_1", "object": "response"}]}).encode())
        assert (await cancelling).id == "resp_1"


@pytest.mark.parametrize("sent", [
    "/v1/messages?beta=true", "/v1/models/org%2Fname", "/v1/models/a%20b?x=%C3%A9&y=1+2", "/v1/models/a%3Fb",
    "/v1//models", "/v1/models/%7Ename", "/v1/models/..%2f..%2Fflush_cache", "/v1/models?"])
async def test_query_and_percent_encoding_reach_the_worker_as_sent(platform, sent):
    target = f"/v2/local/openai{sent}"
    reader, writer = await asyncio.open_connection("127.0.0.1", platform.port)
    writer.write(f"GET {target} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer k\r\n\r\n".encode())
    job = (await platform.wait_for(lambda: platform.store.take("w", 1)))[0]
    writer.close()
    assert job.input["openai_route"] == sent


async def test_a_request_in_the_form_that_proxies_send_has_its_path_as_sent(platform):
    _reader, writer = await asyncio.open_connection("127.0.0.1", platform.port)
    target = f"http://127.0.0.1:{platform.port}/v2/local/openai/v1/models/a%2Fb?c=d"
    writer.write(f"GET {target} HTTP/1.1\r\nHost: x\r\nx-api-key: k\r\n\r\n".encode())
    job = (await platform.wait_for(lambda: platform.store.take("w", 1)))[0]
    writer.close()
    assert job.input["openai_route"] == "/v1/models/a%2Fb?c=d"


@pytest.mark.parametrize("path", ["/health", "/openai/v1/models"])
async def test_head_is_a_get_without_a_body(shared, http, path):
    async with http.head(shared.url + path) as response:
        assert response.status == 200 and int(response.headers["Content-Length"]) > 2
        assert await response.read() == b""


@pytest.mark.parametrize("choice, status", [("cancel", "CANCELLED"), ("finish", "IN_PROGRESS")])
async def test_an_unstreamed_request_whose_client_leaves(platform, choice, status):
    platform.unknowns = Unknowns(abandoned=choice)
    async with aiohttp.ClientSession(headers={"Authorization": "Bearer k"}) as session:
        asking = asyncio.create_task(session.post(f"{platform.openai_url}/completions", json={"prompt": "x"}))
        job = (await platform.wait_for(lambda: platform.store.take("w", 1)))[0]
        asking.cancel()
        other = asyncio.create_task(session.post(f"{platform.openai_url}/completions", json={"prompt": "y"}))
        later = (await platform.wait_for(lambda: platform.store.take("w", 1)))[0]
        if choice == "cancel":
            await platform.job(job.id).finished()
            assert platform.store.take_stops("w") == [job.id]
        assert (job.status, later.status) == (status, "IN_PROGRESS")
        other.cancel()


async def test_the_header_of_a_stream_comes_with_its_first_chunk_or_at_once(platform, http):
    body = {"stream": True, "prompt": "x"}
    platform.unknowns = Unknowns(stream_header="at-once")
    async with http.post(f"{platform.openai_url}/completions", json=body) as response:
        assert response.status == 200 and response.content_type == "text/event-stream"
        job = platform.store.take("w", 1)[0]  # nothing of the answer is there yet
        platform.store.chunk("w", job.id, b'{"output": "data: 1\\n\\n"}')
        assert await response.content.readany() == b"data: 1\n\n"
        platform.store.done("w", job.id, b'{"output": ["data: 1\\n\\n"]}')
        assert await response.read() == b""

    platform.unknowns = Unknowns()
    asking = asyncio.create_task(http.post(f"{platform.openai_url}/completions", json=body))
    job = (await platform.wait_for(lambda: platform.store.take("w", 1)))[0]
    assert not asking.done()
    platform.store.done("w", job.id, b'{"error": "no"}')  # without a chunk there still is a status to give
    async with await asking as response:
        assert response.status == 500


async def test_openai_failure_inside_a_stream_cuts_the_connection(shared, http):
    async with http.post(f"{shared.openai_url}/chat/completions",
                         json={"stream": True, "metadata": {"fail": True}}) as response:
        assert response.status == 200
        with pytest.raises(aiohttp.ClientError):
            await response.read()


async def test_a_failed_stream_may_end_like_a_whole_one(shared, http):
    shared.unknowns = Unknowns(failed_stream="end")
    async with http.post(f"{shared.openai_url}/chat/completions",
                         json={"stream": True, "metadata": {"fail": True}}) as response:
        assert await response.read() == b"before"


# ---------------------------------------------------------------- the program
async def test_the_program_prints_what_a_worker_needs_and_serves(tmp_path, http, start_worker):
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "local.runpod_platform", "--port", "0", "--endpoint-id", "demo",
        stdout=asyncio.subprocess.PIPE, start_new_session=True)
    try:
        printed = {}
        while "RUNPOD_PING_INTERVAL" not in printed:
            line = (await asyncio.wait_for(process.stdout.readline(), 30)).decode()
            assert line, "the program ended"
            if line.startswith("export "):
                name, _, value = line.removeprefix("export ").strip().partition("=")
                printed[name] = value.strip("'")
            elif line.startswith("platform:"):
                url = line.split()[1]
        assert url.endswith("/v2/demo") and printed["RUNPOD_ENDPOINT_ID"] == "demo"

        class Printed:
            worker_environ = staticmethod(lambda name: printed)
        await start_worker(Printed)
        status, seen = await answer(http, "POST", f"{url}/runsync", json={"input": {"count": 1}})
        assert (status, seen["output"]) == (200, ["0;"])
    finally:
        process.send_signal(signal.SIGTERM)
        assert await process.wait() == 0


async def test_a_job_is_not_handed_to_who_asked_and_went_away():
    async with Platform() as platform, aiohttp.ClientSession() as session:
        environ = platform.worker_environ()
        url = environ["RUNPOD_WEBHOOK_GET_JOB"].replace("$ID", "worker-1")
        headers = {"Authorization": environ["RUNPOD_AI_API_KEY"]}
        for count in range(1, 4):
            gone = asyncio.create_task(session.get(url, headers=headers))
            await platform.wait_for(lambda count=count: platform.begun["job-take"] == count)
            gone.cancel()
            await asyncio.wait([gone])
        while session.connector._acquired or session.connector._conns:  # noqa: ASYNC110  closed on this side
            await asyncio.sleep(0)
        for _ in range(50):  # and on the other
            await asyncio.sleep(0)
        job = await platform.submit({"text": "Hi"})
        async with session.get(url, headers=headers) as response:
            assert (await response.json())["id"] == job.id
