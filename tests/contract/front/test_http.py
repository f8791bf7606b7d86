"""The worker over HTTP: a whole process, a scripted engine, real connections and real clients."""

import asyncio
import gzip
import json
import os
import signal

import anthropic
import openai
import pytest

from tests.contract.front.http_worker import CHAT, KEY, environ, http, start
from tests.support import LAUNCH, free_port, say

__all__ = ["http", "start"]


async def test_health_is_there_before_the_engine_and_says_what_the_worker_is_at(start, tmp_path):
    gate = tmp_path / "go"
    slow = tmp_path / "launch"
    slow.write_text(f'while [ ! -e {gate} ]; do sleep 0.05; done\nexec {LAUNCH} "$@"\n')
    http = await start(SGLANG_LAUNCH_COMMAND=f"sh {slow}", PORT_HEALTH=str(free_port()))
    health = http.worker.environ["PORT_HEALTH"]
    assert set(await http.becomes(204, port=health)) <= {None, 204}
    async with http.post(body={"messages": say({})}) as response:  # whoever asks too early is told so
        assert response.status == 503 and int(response.headers["Retry-After"]) > 0
        assert "being loaded" in (await response.json())["error"]["message"]
    # SGLang's router takes every 2xx for healthy: where it asks, a worker that loads is not.
    assert [await http.stage(path) for path in ("/ping", "/health", "/ready")] == [204, 503, 503]
    gate.touch()
    assert set(await http.becomes(200, port=health)) == {204, 200}
    assert [await http.stage(path) for path in ("/ping", "/health", "/ready")] == [200] * 3  # on its own port as well
    assert any("listening on" in line and "WORKER_MODE=http" in line for line in http.worker.lines)


async def test_every_kind_of_answer(http):
    async with http.post(body={"model": "tiny", "messages": say({"text": "Paris."})}) as response:
        assert response.status == 200 and response.content_type == "application/json"
        assert (await response.json())["choices"][0]["message"]["content"] == "Paris."
    async with http.post(body={"messages": say({"tokens": 20, "tps": 400}), "stream": True}) as response:
        assert response.status == 200 and response.content_type == "text/event-stream"
        events = (await response.text()).split("\n\n")
        assert events[-2:] == ["data: [DONE]", ""]
        assert "".join(json.loads(e[6:])["choices"][0]["delta"].get("content") or "" for e in events[:-2]) == (
            "".join(f"t{i} " for i in range(20)))
    async with http.post("/generate", {"text": "Hi", "sampling_params": {"max_new_tokens": 4}}) as response:
        assert (await response.json())["meta_info"]["completion_tokens"] == 4
    async with http.session.get(f"{http.base}/v1/models", headers={"x-api-key": KEY}) as response:
        assert (await response.json())["data"][0]["id"] == "tiny"
    async with http.session.head(f"{http.base}/v1/models", headers={"x-api-key": KEY}) as response:
        assert response.status == 200 and await response.read() == b""


@pytest.mark.parametrize(("path", "body", "status", "words"), [
    (CHAT, {"model": "gpt-4", "messages": []}, 404, "does not exist"), (CHAT, [1], 400, "JSON object"),
    (CHAT, None, 400, "JSON object"), ("/flush_cache", {"a": 1}, 404, "not a route"),
    ("/v1/models", {"a": 1}, 405, "GET"), (CHAT, {"messages": say({"status": 422, "error_message": "no"})}, 422, "no"),
    (CHAT, {"messages": say({"status": 500, "error_message": "boom"})}, 500, "boom"),
    ("/v1/messages", {"model": "gpt-4", "max_tokens": 5, "messages": [{"role": "user", "content": "x"}]}, 404, "exist"),
    (CHAT, {"messages": say({}), "stream": True, "model": "nope"}, 404, "does not exist")])
async def test_a_refusal_has_its_true_status_and_the_shape_of_its_route(http, path, body, status, words):
    async with http.post(path, body, headers={"X-Request-Id": "mine-1"}) as response:
        told = await response.json()
        assert (response.status, response.content_type) == (status, "application/json"), told
        assert response.headers["X-Request-Id"] == "mine-1"
    assert words in told["error"]["message"]
    if path == "/v1/messages":
        assert told["type"] == "error" and told["request_id"] == "mine-1"


async def test_clients_raise_what_their_users_catch(http):
    client = openai.AsyncOpenAI(base_url=f"{http.base}/v1", api_key=KEY, max_retries=0)
    with pytest.raises(openai.NotFoundError, match="does not exist"):
        await client.chat.completions.create(model="nope", messages=say({}))
    with pytest.raises(openai.AuthenticationError):
        await openai.AsyncOpenAI(base_url=f"{http.base}/v1", api_key="wrong", max_retries=0).models.list()
    whole = await client.chat.completions.create(model="tiny", messages=say({"text": "Paris."}))
    assert whole.choices[0].message.content == "Paris."
    other = anthropic.AsyncAnthropic(base_url=http.base, api_key=KEY, max_retries=0)
    with pytest.raises(anthropic.NotFoundError):
        await other.messages.create(model="nope", max_tokens=5, messages=[{"role": "user", "content": "x"}])
    told = await other.messages.create(model="tiny", max_tokens=5, messages=say({"text": "Paris."}))
    assert told.content[0].text == "Paris."


@pytest.mark.parametrize("headers", [{}, {"Authorization": "Bearer guessed-key"}, {"x-api-key": "guessed-key"}])
async def test_nobody_comes_in_without_a_key_but_health(http, headers):
    async with http.session.post(http.base + CHAT, json={"messages": say({})}, headers=headers) as response:
        assert response.status == 401 and "WWW-Authenticate" in response.headers
        assert (await response.json())["error"]["type"] == "authentication_error"
    async with http.session.get(f"{http.base}/nothing-here", headers=headers) as response:
        assert response.status == 401  # nor hears which routes there are
    async with http.session.get(f"{http.base}/server_info", headers=headers) as response:
        assert response.status == 401
    assert [await http.stage(path) for path in ("/ping", "/health", "/ready")] == [200] * 3
    assert KEY not in http.worker.output and "guessed-key" not in http.worker.output


@pytest.mark.parametrize(("path", "shape"), [
    (CHAT, "openai"), ("/v1/responses", "openai"), ("/v1/audio/transcriptions", "openai"), ("/v1/realtime", "openai"),
    ("/v1/messages", "anthropic"), ("/v1/messages/count_tokens", "anthropic"), ("/api/chat", "ollama"),
    ("/api/nothing", "ollama"), ("/v1/nothing", "openai"), ("/generate", "openai")])
async def test_whoever_shows_no_key_is_told_so_in_the_shape_of_the_route(http, path, shape):
    for method in ("GET", "POST", "DELETE"):
        async with http.session.request(method, http.base + path, headers={"X-Request-Id": "mine-2"}) as response:
            told = await response.json()
            assert (response.status, response.headers["X-Request-Id"]) == (401, "mine-2")
        if shape == "ollama":
            assert set(told) == {"error"} and "WORKER_API_KEY" in told["error"]
        elif shape == "anthropic":
            assert (told["type"], told["error"]["type"]) == ("error", "authentication_error")
            assert told["request_id"] == "mine-2"
        else:
            assert (told["error"]["type"], told["error"]["code"]) == ("authentication_error", 401)


@pytest.mark.parametrize("stream", [True, False])
async def test_a_client_that_goes_away_stops_the_engine(http, stream):
    body = {"messages": say({"tokens": 9, "hang_at": 2}), "stream": stream, "rid": f"leaving-{stream}-0123456789"}
    request = asyncio.create_task(http.session.post(http.base + CHAT, json=body, headers={"x-api-key": KEY}))
    await http.engine(f"/_scripted/wait?rid=leaving-{stream}-0123456789&state=hanging")
    if stream:
        (await request).close()
    else:
        request.cancel()
    assert await http.engine(f"/_scripted/wait?rid=leaving-{stream}-0123456789&state=aborted,disconnected")


async def test_callers_of_one_name_do_not_stop_each_other(http):
    """The engine takes an id once at a time, and stops all that begin with the one that it is told to stop."""
    names, body = ("a", "a", "abc", "a/b.c", "HEALTH_CHECK"), {"messages": say({"tokens": 9, "hang_at": 2})}
    streams = [await http.post(body={**body, "stream": True}, headers={"X-Request-Id": name}) for name in names]
    for name, stream in zip(names, streams, strict=True):
        assert stream.status == 200 and stream.headers["X-Request-Id"] == name
        await stream.content.readany()
    streams[0].close()
    [ended] = await http.engine("/_scripted/wait?state=aborted,disconnected")
    other = {"messages": say({"tokens": 9, "hang_at": 2}), "stream": True, "rid": "leaving-after-0123456789"}
    (await http.post(body=other)).close()  # the stop by name of what left before it has been heard by then
    assert await http.engine(f"/_scripted/wait?state=aborted,disconnected&rid={other['rid']}")
    hanging = {record["rid"] for record in await http.engine("/_scripted/requests?state=hanging")}
    assert len(hanging) == len(names) - 1 and not [rid for rid in hanging if rid.startswith(ended["rid"])]
    for stream in streams[1:]:
        stream.close()


async def test_no_more_at_once_than_there_is_room_for(start):
    http = await start(MAX_CONCURRENCY="1", HTTP_QUEUE_SECONDS="0.2")
    await http.becomes(200)
    hanging = await http.post(body={"messages": say({"tokens": 9, "hang_at": 2}), "stream": True})
    await hanging.content.readany()
    async with http.post(body={"messages": say({"text": "Paris."})}) as response:
        assert response.status == 429 and int(response.headers["Retry-After"]) >= 1
        assert "MAX_CONCURRENCY" in (await response.json())["error"]["message"]
    hanging.close()
    async with asyncio.timeout(30):
        while True:
            async with http.post(body={"messages": say({"text": "Paris."})}) as response:
                if response.status == 200:
                    break


async def test_bodies_of_every_kind(http):
    body = json.dumps({"messages": say({"text": "Paris."})}).encode()
    url, headers = http.base + CHAT, {"x-api-key": KEY, "Content-Type": "application/json"}

    async def pieces():
        for at in range(0, len(body), 7):
            yield body[at:at + 7]

    for data, more in ((body, {}), (gzip.compress(body), {"Content-Encoding": "gzip"}), (pieces(), {}),
                       (body, {"Expect": "100-continue"})):
        async with http.session.post(url, data=data, headers={**headers, **more}) as response:
            assert response.status == 200, await response.text()
    packed = {"Content-Encoding": "gzip"}
    for data, more, status in ((b"{", {}, 400), (b"\xff", {}, 400), (b"x", packed, 400), (b"[" * 100_000, {}, 400),
                               (gzip.compress(b" " * 40_000_000), packed, 413)):
        async with http.session.post(url, data=data, headers={**headers, **more}) as response:
            assert response.status == status, (data[:9], await response.text())
    assert await http.stage() == 200


async def test_a_failure_in_a_stream_is_an_event_and_no_done(http):
    async with http.post(body={"messages": say({"tokens": 9, "error_at": 3, "error": "openai", "error_code": 503}),
                               "stream": True}) as response:
        text = await response.text()
    assert response.status == 200 and "[DONE]" not in text
    assert json.loads(text.split("\n\n")[-2].removeprefix("data: "))["error"]["code"] == 503


async def test_the_head_of_a_stream_does_not_wait_for_a_long_prefill(start):
    http = await start(STREAM_KEEPALIVE="0.5")
    await http.becomes(200)
    rid = "long-prefill-0123456789"
    response = await http.post(body={"messages": say({"tokens": 3, "first_delay_ms": 4000}), "stream": True,
                                     "rid": rid})
    [record] = await http.engine(f"/_scripted/requests?rid={rid}")
    assert response.status == 200 and record["state"] == "running"  # the head is here, the first token is not
    text = await response.text()
    assert text.startswith(": ") and text.endswith("data: [DONE]\n\n")


@pytest.mark.parametrize("path", [CHAT, "/v1/messages"])
async def test_a_failure_after_the_head_is_an_event_of_the_route(start, path):
    http = await start(STREAM_KEEPALIVE="0", ENGINE_IDLE_TIMEOUT="3")
    await http.becomes(200)
    body = {"messages": say({"tokens": 3, "first_delay_ms": 60_000}), "stream": True, "max_tokens": 9}
    async with http.post(path, body) as response:
        assert response.status == 200
        text = await response.text()
    assert "ENGINE_IDLE_TIMEOUT" in text and "[DONE]" not in text
    assert text.startswith("event: error\n" if path == "/v1/messages" else 'data: {"error"')


async def test_browsers_are_let_in_by_origin_alone(start, http):
    headers = {"Origin": "https://page.example", "Access-Control-Request-Headers": "authorization"}
    async with http.session.options(http.base + CHAT, headers=headers) as response:
        assert response.status == 204 and "Access-Control-Allow-Origin" not in response.headers
    open_one = await start(CORS_ORIGINS="https://page.example, https://other.example")
    await open_one.becomes(200)
    async with open_one.session.options(open_one.base + CHAT, headers=headers) as response:
        assert response.headers["Access-Control-Allow-Origin"] == "https://page.example"
        assert response.headers["Access-Control-Allow-Headers"] == "authorization"
    async with open_one.session.options(open_one.base + CHAT, headers={"Origin": "https://evil.example"}) as response:
        assert "Access-Control-Allow-Origin" not in response.headers


async def test_an_engine_that_dies_is_restarted_and_health_says_so(http):
    async with http.post(body={"messages": say({"die_at": 0, "die_code": 7})}) as response:
        assert response.status == 502 and "exit status 7" in (await response.json())["error"]["message"]
    async with http.post(body={"messages": say({"text": "Paris."})}) as response:  # waits for the next engine
        assert response.status == 200
    assert (await http.becomes(200))[-1] == 200


async def test_an_engine_that_is_lost_ends_the_worker_with_1(start):
    http = await start(SGLANG_MAX_RESTARTS="0")
    await http.becomes(200)
    async with http.post(body={"messages": say({"die_at": 0})}) as response:
        assert response.status in (502, 503)
    assert await http.worker.ended(60) == 1


async def test_what_runs_is_finished_at_the_end_and_nothing_new_begins(http):
    response = await http.post(body={"messages": say({"tokens": 60, "tps": 30}), "stream": True})
    first = await response.content.readany()
    http.worker.process.send_signal(signal.SIGTERM)
    assert set(await http.becomes(503)) <= {200, 503}
    assert await http.stage("/health") == 503
    async with http.post(body={"messages": say({})}) as refused:
        assert refused.status == 503 and "Retry-After" in refused.headers
    text = (first + await response.content.read()).decode()
    assert text.endswith("data: [DONE]\n\n") and text.count("data: ") > 60
    assert await http.worker.ended(30) == 0
    assert "Traceback" not in http.worker.output


async def test_what_is_not_done_in_time_gets_an_error(start):
    http = await start(DRAIN_TIMEOUT="0.5")
    await http.becomes(200)
    response = await http.post(body={"messages": say({"tokens": 9, "hang_at": 2}), "stream": True})
    first = await response.content.readany()
    http.worker.process.send_signal(signal.SIGTERM)
    text = (first + await response.content.read()).decode()
    assert json.loads(text.split("\n\n")[-2].removeprefix("data: "))["error"]["code"] == 503
    assert await http.worker.ended(30) == 0


@pytest.mark.parametrize("streams", [True, False])
async def test_clients_that_read_nothing_or_never_end_their_body_do_not_hold_up_the_end(start, streams):
    http = await start(DRAIN_TIMEOUT="0.5")
    await http.becomes(200)
    rid = "nobody-reads-0123456789"
    body = {"messages": say({"tokens": 1400, "token_bytes": 20_000}), "stream": streams, "rid": rid}
    async with http.raw() as unread, http.raw() as unsent:
        await unsent.head(Content_Length="100", Expect="100-continue")
        assert (await unsent.answer())[0] == 100
        data = json.dumps(body).encode()
        await unread.head(Content_Length=str(len(data)))
        await unread.send(data)
        await http.engine(f"/_scripted/wait?rid={rid}&tokens=100")
        http.worker.process.send_signal(signal.SIGTERM)
        assert await http.worker.ended(60) == 0
    assert "does not end in time" not in http.worker.output


async def test_a_signal_while_the_engine_loads_ends_in_order(start):
    http = await start(SGLANG_LAUNCH_COMMAND="sh -c 'exec sleep 3600'")
    await http.becomes(204)
    http.worker.process.send_signal(signal.SIGTERM)
    assert await http.worker.ended(40) == 0


async def test_an_engine_that_cannot_start_ends_the_worker_with_the_reason(start):
    life = json.dumps({"log": ["torch.OutOfMemoryError: CUDA out of memory."], "exit_after": 0})
    http = await start(SCRIPTED_ENGINE_LIFE=life)
    assert await http.worker.ended(60) == 1
    assert "MEM_FRACTION_STATIC" in http.worker.output and "Traceback" not in http.worker.output


async def test_a_port_that_is_taken_is_named(start, http):
    second = await start({**environ(), "PORT": http.worker.environ["PORT"]})
    assert await second.worker.ended(60) == 1
    assert "PORT" in second.worker.output and "Traceback" not in second.worker.output


async def test_a_slow_reader_slows_the_engine_down_and_holds_little(http):
    body = {"messages": say({"tokens": 3000, "token_bytes": 20_000}), "stream": True, "rid": "slow-reader-0123456789"}
    response = await http.post(body=body)
    await response.content.readany()
    [record] = await http.engine("/_scripted/wait?rid=slow-reader-0123456789&tokens=10")
    assert record["state"] == "running"
    with open(f"/proc/{http.worker.process.pid}/statm") as f:
        assert int(f.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") < 400 * 2**20
    response.close()
    assert await http.engine("/_scripted/wait?rid=slow-reader-0123456789&state=aborted,disconnected")


async def test_clients_that_come_together_are_not_left_to_try_again(http):
    """More than 128 that wait to be accepted: their first packet would be dropped, and be sent again after a second."""
    process, port = http.worker.process, int(http.worker.environ["PORT"])
    process.send_signal(signal.SIGSTOP)  # nobody accepts meanwhile
    try:
        async with asyncio.timeout(30):
            wires = await asyncio.gather(*(asyncio.open_connection("127.0.0.1", port) for _ in range(300)))
    finally:
        process.send_signal(signal.SIGCONT)
    for _, writer in wires:
        writer.close()
    async with http.post(body={"messages": say({"text": "Paris."})}) as response:
        assert response.status == 200
