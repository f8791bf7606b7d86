"""Ollama's routes, over HTTP and from the queue."""

import json

import pytest

from tests.contract.front.http_worker import KEY, http, start
from tests.support import say
from tests.worker import WorkerProcess, contract_environ, error_of

__all__ = ["http", "start"]


def lines(text: str) -> list[dict]:
    assert text.endswith("\n")
    return [json.loads(line) for line in text.splitlines()]


@pytest.mark.parametrize(("path", "read"), [
    ("/api/chat", lambda line: line["message"]["content"]), ("/api/generate", lambda line: line["response"])])
async def test_streams_are_lines_and_whole_answers_objects(http, path, read):
    asked = say({"tokens": 5})[0]["content"]
    body = {"model": "tiny:latest", "messages": say({"tokens": 5}), "prompt": asked}
    async with http.post(path, body) as response:
        assert (response.status, response.content_type) == (200, "application/x-ndjson")
        told = lines(await response.text())
    assert "".join(map(read, told)) == "t0 t1 t2 t3 t4 "
    assert [line["done"] for line in told] == [False] * 5 + [True]
    assert (told[-1]["eval_count"], told[-1]["done_reason"]) == (5, "length")
    assert told[-1]["prompt_eval_count"] > len(asked)
    async with http.post(path, {**body, "stream": False}) as response:
        assert (response.status, response.content_type) == (200, "application/json")
        whole = await response.json()
    assert read(whole) == "t0 t1 t2 t3 t4 " and whole["done"] and whole["eval_count"] == 5


async def test_what_clients_ask_first(http):
    async def get(path, **more):
        async with http.session.request("POST" if more else "GET", http.base + path, **more,
                                        headers={"Authorization": f"Bearer {KEY}"}) as response:
            return response.status, await response.json()

    assert (await get("/api/tags"))[1]["models"][0]["name"] == "tiny"
    assert (await get("/api/ps"))[1]["models"][0]["model"] == "tiny"
    assert (await get("/api/version"))[0] == 200
    status, shown = await get("/api/show", json={"model": "tiny"})
    assert status == 200 and shown["capabilities"] == ["completion", "tools"]
    assert shown["model_info"]["tiny.context_length"] == 131072
    status, loaded = await get("/api/generate", json={"model": "tiny"})
    assert (status, loaded["done_reason"]) == (200, "load")


@pytest.mark.parametrize(("path", "body", "status", "words"), [
    ("/api/chat", {"model": "llama3", "messages": say({})}, 404, "does not exist"),
    ("/api/show", {"model": "llama3"}, 404, "does not exist"), ("/api/pull", {"model": "tiny"}, 404, "not a route"),
    ("/api/tags", {"a": 1}, 405, "GET"), ("/api/chat", {"messages": say({}), "options": {"x": 1}}, 400, "'x'"),
    ("/api/chat", {"messages": say({"status": 422, "error_message": "no"})}, 422, "no")])
async def test_refusals_have_their_status_and_ollamas_shape(http, path, body, status, words):
    async with http.post(path, body) as response:
        told = await response.json()
    assert response.status == status and words in told["error"] and set(told) == {"error"}
    async with http.post(path, body, headers={"Authorization": "Bearer wrong"}) as response:
        assert response.status == 401 and "WORKER_API_KEY" in (await response.json())["error"]


async def test_a_failure_in_a_stream_is_a_line(start):
    http = await start(ENGINE_IDLE_TIMEOUT="3")
    await http.becomes(200)
    async with http.post("/api/chat", {"messages": say({"tokens": 9, "error_at": 3, "error_code": 503})}) as response:
        told = lines(await response.text())
    assert response.status == 200 and len(told) == 4 and "scripted error" in told[-1]["error"]
    async with http.post("/api/chat", {"messages": say({"tokens": 3, "first_delay_ms": 60_000})}) as response:
        [told] = lines(await response.text())  # after the head
    assert response.status == 200 and "ENGINE_IDLE_TIMEOUT" in told["error"]


async def test_a_client_that_goes_away_stops_the_engine(http):
    body = {"messages": say({"tokens": 9, "hang_at": 2}), "rid": "ollama-leaving-0123456"}
    response = await http.post("/api/chat", body)
    await response.content.readany()
    response.close()
    assert await http.engine(f"/_scripted/wait?rid={body['rid']}&state=aborted,disconnected")


async def test_the_queue_carries_the_same(platform):
    async def done(**job_input):
        return await (await platform.submit(job_input)).finished()

    async with WorkerProcess(platform, contract_environ()) as worker:
        await worker.connected()
        job = await done(route="/api/chat", body={"messages": say({"text": "Paris."})})
        assert job.status == "COMPLETED"
        assert "".join(line["message"]["content"] for line in lines("".join(job.output))) == "Paris."
        whole = await done(route="/api/generate", body={"prompt": say({"text": "Paris."})[0]["content"],
                                                        "stream": False})
        assert whole.output[0]["response"] == "Paris."
        refused = await done(route="/api/chat", body={"model": "llama3", "messages": say({})})
        assert error_of(refused)["code"] == 404
        assert "does not exist" in lines(refused.chunks[0].output)[0]["error"]
