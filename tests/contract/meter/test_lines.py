"""The line of each request in the log of a whole worker, in both modes."""

import asyncio
import json
import os
import signal

import pytest

from meter.line import fields
from meter.record import Record
from tests.contract.front.http_worker import CHAT, KEY, http, start
from tests.support import say
from tests.worker import WorkerProcess, contract_environ

__all__ = ["http", "start"]

SECRET = "tell-nobody-4711"  # stands in every prompt and answer here
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
FIELDS = set(fields(Record())) | {"message", "level"}


def of_request(text: str) -> dict | None:
    """What a line of the log says of a request, if it is one of those."""
    told = json.loads(text) if text.startswith("{") else {}
    return told if told.get("message") == "request" else None


async def line(worker, **wanted) -> dict:
    """The first that has these fields, as soon as it is there."""
    def look(text):
        told = of_request(text)
        return told if told and all(told[name] == value for name, value in wanted.items()) else None
    return await worker.found(look, 60)


@pytest.mark.parametrize(("path", "body", "wanted"), [
    (CHAT, {"messages": say({"text": SECRET})},
     {"ttft_s": None, "itl_s": None, "chunks": 1, "finish": "stop"}),
    (CHAT, {"messages": say({"tokens": 5}, SECRET), "stream": True, "stream_options": {"include_usage": True}},
     {"completion_tokens": 5, "finish": "length"}),
    (CHAT, {"messages": say({"tokens": 5}, SECRET), "stream": True},
     {"prompt_tokens": None, "completion_tokens": None, "finish": "length"}),
    ("/v1/completions", {"prompt": SECRET, "max_tokens": 3, "stream": True, "stream_options": {"include_usage": True}},
     {"completion_tokens": 3}),
    ("/v1/messages", {"max_tokens": 10, "messages": say({"tokens": 5}, SECRET), "stream": True},
     {"completion_tokens": 5, "finish": "max_tokens"}),
    ("/v1/messages", {"max_tokens": 10, "messages": say({"tokens": 5}, SECRET)},
     {"completion_tokens": 5, "finish": "max_tokens"}),
    ("/generate", {"text": SECRET, "sampling_params": {"max_new_tokens": 4}, "stream": True},
     {"completion_tokens": 4, "finish": "length"}),
    ("/generate", {"text": SECRET, "sampling_params": {"max_new_tokens": 4}},
     {"completion_tokens": 4, "finish": "length"}),
    ("/api/chat", {"messages": say({"tokens": 5}, SECRET)}, {"completion_tokens": 5, "finish": "length"}),
    ("/api/chat", {"messages": say({"tokens": 5}, SECRET), "stream": False},
     {"completion_tokens": 5, "finish": "length", "chunks": 1}),
    ("/generate", {"text": [SECRET, SECRET], "sampling_params": {"max_new_tokens": 4}, "stream": True},
     {"completion_tokens": 8, "finish": "length"}),
])
async def test_what_a_request_over_http_says(http, path, body, wanted):
    async with http.post(path, body, headers={"traceparent": TRACE, "X-Request-Id": "mine-1"}) as response:
        assert response.status == 200
        size = len(await response.read())
    said = await line(http.worker, request_id="mine-1")
    assert set(said) == FIELDS
    expected = {"mode": "http", "route": path, "model": "tiny", "status": 200, "outcome": "completed", "error": None,
                "code": None, "reason": None, "trace_id": TRACE[3:35], "bytes": size, **wanted}
    if path == "/generate":
        del expected["model"]
    assert {name: said[name] for name in expected} == expected
    assert said["duration_s"] >= (said["ttft_s"] or 0) and said["queue_s"] >= 0 and said["id"].endswith("-mine-1")
    assert (said["ttft_s"] is None) == (not body.get("stream", path == "/api/chat"))
    if wanted.get("completion_tokens"):
        assert said["prompt_tokens"] > 0
    assert SECRET not in json.dumps(said)


async def test_what_was_refused_over_http_and_why(http):
    for body, headers, status, reason in (
            ({"model": "gpt-4", "messages": say({})}, {}, 404, "not_found"),
            ({"messages": say({"status": 500, "error_message": SECRET})}, {}, 500, None),
            ({"messages": say({"status": 422, "error_message": SECRET})}, {}, 422, "invalid"),
            ({"messages": say({})}, {"Authorization": f"Bearer {SECRET}"}, 401, "key")):
        async with http.post(body=body, headers={"X-Request-Id": f"r-{status}", **headers}) as response:
            assert response.status == status
        said = await line(http.worker, request_id=f"r-{status}")
        assert (said["status"], said["code"], said["reason"]) == (status, status, reason)
        assert said["outcome"] == ("refused" if reason else "failed") and said["ttft_s"] is None
        assert said["error"] and SECRET not in json.dumps(said)
    async with http.post(f"/{SECRET}/x?q={SECRET}", {"a": 1}, headers={"X-Request-Id": "r-route"}) as response:
        assert response.status == 404
    said = await line(http.worker, request_id="r-route")
    assert said["route"] == "other" and SECRET not in json.dumps(said)


async def _posted(http, body, name):
    async with http.post(body=body, headers={"X-Request-Id": name}) as response:
        return response.status


async def test_who_goes_away_has_cancelled(http):
    body = {"messages": say({"tokens": 1000, "hang_at": 3}), "stream": True}
    async with http.post(body=body, headers={"X-Request-Id": "gone-1"}) as response:
        await response.content.readline()
    said = await line(http.worker, request_id="gone-1")
    assert (said["outcome"], said["status"], said["completion_tokens"]) == ("cancelled", 200, None)
    body = {"messages": say({"hang_at": 0}), "rid": "gone-before-0123456789"}
    asking = asyncio.create_task(_posted(http, body, "gone-2"))
    await http.engine("/_scripted/wait?rid=gone-before-0123456789&state=hanging")
    asking.cancel()
    said = await line(http.worker, request_id="gone-2")
    assert (said["outcome"], said["status"], said["bytes"]) == ("cancelled", None, 0)


async def test_a_stream_that_fails_on_the_way(http):
    body = {"messages": say({"tokens": 10, "error_at": 4, "error_message": SECRET}), "stream": True}
    async with http.post(body=body, headers={"X-Request-Id": "late-1"}) as response:
        assert response.status == 200 and b"error" in await response.read()
    said = await line(http.worker, request_id="late-1")
    assert (said["status"], said["outcome"]) == (200, "failed") and said["code"] >= 400 and said["ttft_s"] is not None
    assert SECRET not in json.dumps(said)


async def test_who_waits_and_who_finds_no_room(start):
    http = await start(MAX_CONCURRENCY="1", HTTP_QUEUE_SECONDS="60")
    await http.becomes(200)
    inside = asyncio.create_task(_read(http, "in-1"))
    await http.engine("/_scripted/wait?state=hanging")
    waiting = asyncio.create_task(_read(http, "in-2"))
    async with asyncio.timeout(60):
        while b"sglang_worker_requests_waiting 1.0" not in await _metrics(http):
            pass
    async with http.post(body={"messages": say({})}, headers={"X-Request-Id": "full-1"}) as response:
        assert response.status == 429
    said = await line(http.worker, request_id="full-1")
    assert (said["outcome"], said["reason"], said["queue_s"]) == ("refused", "full", None)
    await _post_engine(http, "/_scripted/release")
    await inside
    await http.engine("/_scripted/wait?state=hanging")
    await _post_engine(http, "/_scripted/release")
    await waiting
    first, second = await line(http.worker, request_id="in-1"), await line(http.worker, request_id="in-2")
    assert second["queue_s"] > first["queue_s"] and second["queue_s"] <= second["ttft_s"]


async def _read(http, name):
    async with http.post(body={"messages": say({"tokens": 4, "hang_at": 2}), "stream": True},
                         headers={"X-Request-Id": name}) as response:
        assert response.status == 200
        await response.read()


async def _metrics(http) -> bytes:
    async with http.session.get(f"{http.base}/metrics", headers={"x-api-key": KEY}) as response:
        return await response.read()


async def _post_engine(http, path):
    async with http.session.post(f"http://127.0.0.1:{http.worker.environ['SGLANG_PORT']}{path}") as response:
        assert response.status == 200


async def test_what_jobs_of_the_queue_say(platform):
    async with WorkerProcess(platform, contract_environ(RUNPOD_ENDPOINT_ID="ep1")) as worker:
        await worker.connected()
        done = await (await platform.submit({
            "openai_route": CHAT, "headers": {"traceparent": TRACE, "x-request-id": "mine-9"},
            "openai_input": {"messages": say({"tokens": 5}, SECRET), "stream": True,
                             "stream_options": {"include_usage": True}}})).finished()
        assert done.status == "COMPLETED"
        said = await line(worker, id=done.id)
        assert set(said) == FIELDS | {"requestId"}
        expected = {"requestId": done.id, "mode": "queue", "route": CHAT, "status": "completed", "model": "tiny",
                    "outcome": "completed", "completion_tokens": 5, "finish": "length", "trace_id": TRACE[3:35],
                    "request_id": "mine-9", "bytes": len("".join(done.output))}
        assert {name: said[name] for name in expected} == expected and said["ttft_s"] > 0

        failed = await (await platform.submit({"model": "gpt-4", "messages": say({}, SECRET)})).finished()
        said = await line(worker, id=failed.id)
        assert (said["status"], said["outcome"], said["code"], said["reason"]) == (
            "failed", "refused", 404, "not_found")

        native = await (await platform.submit({"text": SECRET, "sampling_params": {"max_new_tokens": 4}})).finished()
        said = await line(worker, id=native.id)
        assert (said["route"], said["completion_tokens"], said["status"]) == ("/generate", 4, "completed")

        job = await platform.submit({"messages": say({"tokens": 1000, "hang_at": 3}), "stream": True})
        await platform.wait_for(lambda: job.chunks)
        await platform.cancel(job.id)
        said = await line(worker, id=job.id)
        assert (said["status"], said["outcome"]) == ("cancelled", "cancelled")
        assert SECRET not in "".join(text for text in worker.lines if of_request(text))


async def test_no_line_where_none_is_wanted(start):
    http = await start(REQUEST_LOG="off")
    await http.becomes(200)
    async with http.post(body={"messages": say({})}) as response:
        assert response.status == 200
    http.worker.process.terminate()
    await http.worker.ended()
    assert not any(map(of_request, http.worker.lines))


async def test_a_session_over_a_web_socket_is_one_request(start):
    http = await start(ENABLE_MULTIMODAL="true")
    await http.becomes(200)
    for name, killed in (("in-order", False), ("lost", True)):
        headers = {"Authorization": f"Bearer {KEY}", "X-Request-Id": name, "traceparent": TRACE}
        async with http.session.ws_connect(f"{http.base}/v1/realtime", headers=headers) as socket:
            first = await socket.receive(30)
            assert SECRET not in first.data
            await socket.send_json({"type": SECRET})
            told = await socket.receive(30)
            if killed:
                os.kill((await http.engine("/_scripted/process"))["pid"], signal.SIGKILL)
                await socket.receive(60)
        said = await line(http.worker, request_id=name)
        expected = {"route": "/v1/realtime", "status": 101, "outcome": "failed" if killed else "completed",
                    "code": 502 if killed else None, "chunks": 2, "trace_id": TRACE[3:35], "ttft_s": None,
                    "bytes": len((first.data + told.data).encode())}
        assert {field: said[field] for field in expected} == expected and SECRET not in json.dumps(said)
