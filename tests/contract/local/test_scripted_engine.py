"""The scripted engine: SGLang's shapes as the real clients read them, and each fault it promises."""

import asyncio
import contextlib
import json
import os
import signal
import sys
from pathlib import Path

import aiohttp
import anthropic
import openai
import pytest
import pytest_asyncio
from hypothesis import given
from hypothesis import strategies as st

from local.scripted_faults import Life, Script, find_script, pieces_of, without_script
from local.scripted_shapes import EVENT_ERRORS

ROOT = Path(__file__).resolve().parents[3]
module_loop = pytest.mark.asyncio(loop_scope="module")
QUESTION = [{"role": "user", "content": "Hello"}]


class Server:
    """A scripted engine's process; `url` once it listens, `log` all that it wrote."""

    def __init__(self, process):
        self.process, self.log, self.url = process, [], None

    async def listening(self) -> str:
        while self.url is None:
            await self.line()
        return self.url

    async def ready(self) -> None:
        while "ready to roll" not in await self.line():
            pass

    async def line(self) -> str:
        line = (await asyncio.wait_for(self.process.stderr.readline(), 30)).decode()
        assert line, f"ended with {await self.process.wait()}: {self.log}"
        self.log.append(line.rstrip())
        if "running on" in line:
            self.url = line.split("running on ")[1].split()[0]
        return line

    async def ended(self) -> int:
        """Its exit status; what it still wrote goes to `log`."""
        rest = (await asyncio.wait_for(self.process.stderr.read(), 30)).decode()
        self.log += rest.splitlines()
        return await asyncio.wait_for(self.process.wait(), 30)

    async def ask(self, method: str, path: str, key: str | None = None, **kwargs):
        """(status, the decoded JSON or text) of one request."""
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        async with aiohttp.ClientSession() as session, \
                session.request(method, await self.listening() + path, headers=headers, **kwargs) as response:
            text = await response.text()
            return response.status, json.loads(text) if text.startswith(("{", "[")) else text

    async def wait(self, **query) -> list[dict]:
        status, records = await self.ask("GET", "/_scripted/wait", params=query)
        assert status == 200, records
        return records


@contextlib.asynccontextmanager
async def engines():
    """Gives `start(*flags, life, script)`; every engine is dead afterwards."""
    started = []

    async def start(*flags: str, life: dict | None = None, script: dict | None = None, port=0) -> Server:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "local.scripted_engine", "--port", str(port), "--served-model-name", "tiny",
            *flags, cwd=ROOT, stderr=asyncio.subprocess.PIPE, start_new_session=True,
            env={**os.environ, "SCRIPTED_ENGINE_LIFE": json.dumps(life or {}),
                 "SCRIPTED_ENGINE_SCRIPT": json.dumps(script or {})})
        started.append(Server(process))
        return started[-1]

    try:
        yield start
    finally:
        for server in started:
            if server.process.returncode is None:
                os.killpg(server.process.pid, signal.SIGKILL)
            await asyncio.wait_for(server.process.communicate(), 30)


@pytest.fixture
async def start():
    async with engines() as starter:
        yield starter


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def engine():
    """One engine for the tests that leave it as it was."""
    async with engines() as starter:
        server = await starter("--max-running-requests", "64")
        await server.listening()
        yield server


def scripted(content: str = "", **script) -> list[dict]:
    return [{"role": "user", "content": f"{content}#script {json.dumps(script)}"}]


def events(text: str) -> list:
    """The data of each event; [DONE] stays text."""
    found = [line.removeprefix("data: ") for line in text.split("\n") if line.startswith("data: ")]
    return [json.loads(one) if one != "[DONE]" else one for one in found]


# ---------------------------------------------------------------- shapes of the server itself
@module_loop
@pytest.mark.parametrize("path", ["/health", "/health_generate", "/ready", "/ping"])
async def test_health_routes_answer_an_empty_200(engine, path):
    assert await engine.ask("GET", path) == (200, "")


@module_loop
async def test_models_and_one_model(engine):
    status, listed = await engine.ask("GET", "/v1/models")
    card = listed["data"][0]
    assert status == 200 and set(card) == {"id", "object", "created", "owned_by", "root", "parent",
                                           "max_model_len"}
    assert (card["id"], card["owned_by"], card["parent"]) == ("tiny", "sglang", None)
    assert (await engine.ask("GET", "/v1/models/tiny"))[0] == 200
    status, missing = await engine.ask("GET", "/v1/models/nope")
    assert status == 404 and missing["error"]["code"] == "model_not_found"
    assert missing["error"]["param"] == "model"


@module_loop
async def test_server_info_gives_the_flags_and_the_resolved_limit_of_each_rank(engine):
    status, info = await engine.ask("GET", "/server_info")
    assert status == 200 and info["max_running_requests"] == 64 and info["version"] == "0.5.23"
    assert [rank["effective_max_running_requests_per_dp"] for rank in info["internal_states"]] == [64]
    status, info = await engine.ask("GET", "/model_info")
    assert status == 200 and info["is_generation"] is True and info["served_model_name"] == "tiny"


@module_loop
async def test_how_full_it_is(engine):
    _, idle = await engine.ask("GET", "/v1/loads?include=core")
    [rank] = idle["loads"]
    assert (rank["num_running_reqs"], rank["num_used_tokens"], rank["max_total_num_tokens"]) == (0, 0, 16384)


async def test_it_says_what_its_flags_say_of_the_model(start):
    engine = await start("--reasoning-parser", "qwen3", "--enable-multimodal", "--dp-size", "2")
    _, info = await engine.ask("GET", "/model_info")
    assert (info["reasoning_parser"], info["has_image_understanding"]) == ("qwen3", True)
    assert [rank["dp_rank"] for rank in (await engine.ask("GET", "/v1/loads"))[1]["loads"]] == [0, 1]


@module_loop
async def test_reasoning_stands_before_the_answer(client):
    whole = await client.chat.completions.create(model="tiny", messages=scripted(text="Paris.", reasoning="Hm."))
    assert whole.choices[0].message.reasoning_content == "Hm." and whole.choices[0].message.content == "Paris."
    stream = await client.chat.completions.create(
        model="tiny", messages=scripted(text="Paris.", reasoning="Hm."), stream=True)
    deltas = [chunk.choices[0].delta async for chunk in stream]
    assert [delta.reasoning_content for delta in deltas[:2]] == [None, "Hm."]
    assert "".join(delta.content or "" for delta in deltas) == "Paris."


@module_loop
async def test_unknown_paths_and_methods(engine):
    assert await engine.ask("GET", "/nope") == (404, {"detail": "Not Found"})
    assert await engine.ask("GET", "/generate") == (405, {"detail": "Method Not Allowed"})


@module_loop
@pytest.mark.parametrize("path, body", [
    ("/v1/chat/completions", {}), ("/v1/completions", {}), ("/v1/embeddings", {}), ("/detokenize", {}),
    ("/tokenize", {}), ("/v1/chat/completions", []), ("/generate", [])])
async def test_a_bad_body_is_refused_in_the_validation_shape(engine, path, body):
    status, error = await engine.ask("POST", path, json=body)
    assert status == 400 and set(error) == {"object", "message", "type", "param", "code"}
    assert (error["object"], error["type"], error["code"]) == ("error", "Bad Request", 400)


@module_loop
async def test_refusals_of_the_other_families(engine):
    status, error = await engine.ask("POST", "/generate", json={"sampling_params": {}})
    assert status == 400 and set(error) == {"error"} and set(error["error"]) == {"message"}
    asked = {"text": "x", "sampling_params": {"max_tokens": 3}}
    status, error = await engine.ask("POST", "/generate", json=asked)
    assert status == 400 and error["error"].startswith("unknown field `max_tokens`, expected one of `max_")
    status, error = await engine.ask("POST", "/v1/messages", json={"model": "tiny"})
    assert status == 400 and (error["type"], error["error"]["type"]) == ("error", "invalid_request_error")


async def test_a_key_guards_all_but_the_health_routes(start):
    server = await start("--api-key", "sk-1")
    for key, status in ((None, 401), ("sk-2", 401), ("sk-1", 200)):
        got, body = await server.ask("GET", "/v1/models", key=key)
        assert got == status and (got == 200 or body == {"error": "Unauthorized"})
    assert (await server.ask("GET", "/health"))[0] == (await server.ask("GET", "/ready"))[0] == 200
    assert (await server.ask("GET", "/ping"))[0] == 401


# ---------------------------------------------------------------- shapes of answers
@pytest_asyncio.fixture(loop_scope="module")
async def client(engine):
    async with openai.AsyncOpenAI(base_url=engine.url + "/v1", api_key="k", max_retries=0) as one:
        yield one


@module_loop
async def test_chat_whole(client):
    got = await client.chat.completions.create(model="tiny", messages=QUESTION, max_tokens=3)
    assert got.choices[0].message.content == "t0 t1 t2 " and got.choices[0].finish_reason == "length"
    assert got.usage.completion_tokens == 3
    assert got.usage.total_tokens == got.usage.prompt_tokens + 3


@module_loop
async def test_chat_streamed_with_usage(client):
    stream = await client.chat.completions.create(
        model="other", messages=scripted(text="Café 🦜!"), stream=True,
        stream_options={"include_usage": True})
    chunks = [chunk async for chunk in stream]
    assert chunks[0].choices[0].delta.role == "assistant" and chunks[0].choices[0].delta.content == ""
    assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices) == "Café 🦜!"
    assert chunks[-2].choices[0].finish_reason == "stop"
    assert chunks[-1].choices == [] and chunks[-1].usage.completion_tokens == 2
    assert {c.model for c in chunks} == {"other"} and len({c.id for c in chunks}) == 1


@module_loop
async def test_a_chat_chunk_field_by_field(engine):
    _, text = await engine.ask("POST", "/v1/chat/completions", json={
        "messages": scripted(text="Hi"), "stream": True, "rid": "r"})
    first, second, last, _ = events(text)
    assert set(first) == {"id", "object", "created", "model", "choices"}
    assert (first["id"], first["object"], first["model"]) == ("r", "chat.completion.chunk", "default")
    assert [e["choices"][0]["delta"] for e in (first, second, last)] == [
        {"reasoning_content": None, "role": "assistant", "content": ""},
        {"reasoning_content": None, "content": "Hi"}, {"reasoning_content": None}]
    assert set(last["choices"][0]) == {"index", "delta", "logprobs", "finish_reason", "matched_stop"}


@module_loop
async def test_completions_whole_and_streamed(client):
    got = await client.completions.create(model="tiny", prompt="Hi", max_tokens=2)
    assert got.choices[0].text == "t0 t1 "
    stream = await client.completions.create(model="tiny", prompt="Hi", max_tokens=2, stream=True)
    assert "".join([c.choices[0].text async for c in stream]) == "t0 t1 "


@module_loop
async def test_generate_single_batch_and_token_ids(engine):
    body = {"text": "Hi", "sampling_params": {"max_new_tokens": 2}, "rid": "mine"}
    status, got = await engine.ask("POST", "/generate", json=body)
    assert (status, got["text"], got["output_ids"]) == (200, "t0 t1 ", [0, 1])
    assert got["meta_info"]["id"] == "mine"
    assert got["meta_info"]["finish_reason"] == {"type": "length", "length": 2}
    status, many = await engine.ask("POST", "/generate", json={"text": ["a", "b"], "rid": ["x", "y"]})
    assert [(one["meta_info"]["id"], one["index"]) for one in many] == [("x", 0), ("y", 1)]
    status, got = await engine.ask("POST", "/generate", json={
        "input_ids": list('#script {"echo": true}Café'.encode())})
    assert got["text"] == "Café"


@module_loop
async def test_generate_streams_cumulative_text(engine):
    status, text = await engine.ask("POST", "/generate", json={
        "text": "Hi", "stream": True, "sampling_params": {"max_new_tokens": 3}})
    *parts, done = events(text)
    assert [p["text"] for p in parts] == ["t0 ", "t0 t1 ", "t0 t1 t2 ", "t0 t1 t2 "] and done == "[DONE]"
    assert [p["meta_info"]["finish_reason"] is None for p in parts] == [True, True, True, False]


@module_loop
async def test_a_batch_streams_into_one_response(engine):
    status, text = await engine.ask("POST", "/generate", json={
        "text": ["a", "b"], "stream": True, "sampling_params": {"max_new_tokens": 2}})
    *parts, done = events(text)
    assert done == "[DONE]"
    for index in (0, 1):
        assert [p["text"] for p in parts if p["index"] == index][-1] == "t0 t1 "


@module_loop
async def test_anthropic_messages(engine):
    async with anthropic.AsyncAnthropic(base_url=engine.url, auth_token="k", max_retries=0) as client:
        got = await client.messages.create(model="tiny", max_tokens=2, messages=QUESTION)
        assert got.content[0].text == "t0 t1 " and got.stop_reason == "max_tokens"
        async with client.messages.stream(model="tiny", max_tokens=9,
                                          messages=scripted(text="Café 🦜")) as stream:
            assert "".join([t async for t in stream.text_stream]) == "Café 🦜"
            assert (await stream.get_final_message()).stop_reason == "end_turn"
        counted = await client.messages.count_tokens(model="tiny", messages=QUESTION)
        assert counted.input_tokens > len("Hello")


async def test_embeddings(start):
    generating = await start()
    status, error = await generating.ask("POST", "/v1/embeddings", json={"input": "a"})
    assert status == 400 and error["type"] == "BadRequestError" and "--is-embedding" in error["message"]
    server = await start("--is-embedding", "--model-path", "some/model")
    async with openai.AsyncOpenAI(base_url=await server.listening() + "/v1", api_key="k") as client:
        packed = await client.embeddings.create(model="tiny", input=["a", "b"])
        plain = await client.embeddings.create(model="tiny", input=["a", "b"], encoding_format="float")
    assert len(packed.data) == 2 and packed.model == "some/model"
    for a, b in zip(packed.data, plain.data, strict=True):
        assert a.embedding == pytest.approx(b.embedding)
    assert plain.data[0].embedding != plain.data[1].embedding


@module_loop
async def test_tokens_go_both_ways(engine):
    status, got = await engine.ask("POST", "/tokenize", json={"prompt": "Café 🦜"})
    assert (status, got["count"]) == (200, len("Café 🦜".encode())) and got["max_model_len"] > 0
    assert (await engine.ask("POST", "/detokenize", json={"tokens": got["tokens"]}))[1] == {"text": "Café 🦜"}
    status, many = await engine.ask("POST", "/tokenize", json={"prompt": ["a", "bc"]})
    assert many["count"] == [1, 2]
    status, chat = await engine.ask("POST", "/tokenize", json={"messages": QUESTION})
    status, text = await engine.ask("POST", "/detokenize", json={"tokens": chat["tokens"]})
    assert "user\nHello" in text["text"] and text["text"].endswith("assistant\n")


async def test_a_prompt_beyond_the_context_is_refused(start):
    server = await start("--context-length", "50")
    status, error = await server.ask("POST", "/v1/chat/completions", json={
        "messages": [{"role": "user", "content": "x" * 50}], "stream": True})
    assert status == 400 and error["type"] == "BadRequestError" and "context length" in error["message"]


# ---------------------------------------------------------------- cancellation
@contextlib.asynccontextmanager
async def open_stream(server, path="/v1/chat/completions", **body):
    async with aiohttp.ClientSession() as session, \
            session.post(await server.listening() + path, json=body) as response:
        yield response


@module_loop
@pytest.mark.parametrize("path, finish", [
    ("/v1/chat/completions", lambda last: last["choices"][0]["finish_reason"]),
    ("/generate", lambda last: last["meta_info"]["finish_reason"]["type"])])
async def test_an_aborted_stream_ends_and_says_so(engine, path, finish):
    body = {"rid": "ab" + path, "stream": True}
    prompt = scripted(tokens=9, hang_at=2)
    body |= {"messages": prompt} if "chat" in path else {"text": prompt[0]["content"]}
    async with open_stream(engine, path, **body) as response:
        await engine.wait(rid=body["rid"], state="hanging")
        assert await engine.ask("POST", "/abort_request", json={"rid": body["rid"]}) == (200, "")
        *_, last, done = events(await response.text())
    assert finish(last) == "abort" and done == "[DONE]"
    record, = await engine.wait(rid=body["rid"], state="aborted")
    assert record["tokens"] == 2 and record["abort_asked"]


@module_loop
async def test_an_aborted_whole_request_gives_its_partial_text(engine):
    asked = asyncio.create_task(engine.ask("POST", "/v1/chat/completions", json={
        "messages": scripted(tokens=9, hang_at=2), "rid": "whole"}))
    await engine.wait(rid="whole", state="hanging")
    await engine.ask("POST", "/abort_request", json={"rid": "whole"})
    status, got = await asked
    assert status == 200 and got["choices"][0]["message"]["content"] == "t0 t1 "
    assert got["choices"][0]["finish_reason"] == "abort"


@module_loop
@pytest.mark.parametrize("stream", [True, False])
async def test_a_disconnect_is_noticed(engine, stream):
    rid = f"gone-{stream}"
    asked = asyncio.create_task(engine.ask("POST", "/v1/chat/completions", json={
        "messages": scripted(hang_at=1), "rid": rid, "stream": stream}))
    await engine.wait(rid=rid, state="hanging")
    asked.cancel()
    record, = await engine.wait(rid=rid, state="disconnected")
    assert record["ended"] >= record["started"] and not record["abort_asked"]


@module_loop
async def test_wait_says_408_and_shows_what_there_is(engine):
    await engine.ask("POST", "/generate", json={"text": "x", "rid": "seen"})
    status, records = await engine.ask("GET", "/_scripted/wait?rid=never&timeout=0.01")
    assert status == 408 and "seen" in [r["rid"] for r in records]
    record, = (await engine.ask("GET", "/_scripted/requests?rid=seen&state=finished"))[1]
    assert record["body"] == {"text": "x", "rid": "seen"} and record["path"] == "/generate"


async def test_requests_beyond_the_limit_wait_in_line_and_can_be_aborted_there(start):
    server = await start("--max-running-requests", "1")
    await server.ready()
    first = asyncio.create_task(server.ask("POST", "/generate", json={
        "text": '#script {"hang_at": 0, "tokens": 1}', "rid": "first"}))
    await server.wait(rid="first", state="hanging")
    others = [asyncio.create_task(server.ask("POST", "/generate", json={"text": "x", "rid": rid}))
              for rid in ("second", "third", "fourth")]
    await server.wait(state="queued", count=3)
    others[1].cancel()
    await server.wait(rid="third", state="disconnected")
    await server.ask("POST", "/abort_request", json={"rid": "second"})
    status, got = await others[0]
    assert got["meta_info"]["finish_reason"]["type"] == "abort" and got["text"] == ""
    assert (await server.ask("GET", "/_scripted/process"))[1]["queued"] == 1
    await server.ask("POST", "/_scripted/release", params={"rid": "first"})
    assert (await first)[1]["text"] == "t0 "
    assert (await others[2])[0] == 200


async def test_a_full_queue_is_refused_in_each_shape(start):
    server = await start("--max-running-requests", "1", "--max-queued-requests", "0")
    await server.ready()
    holder = asyncio.create_task(server.ask("POST", "/generate", json={"text": '#script {"hang_at": 0}'}))
    await server.wait(state="hanging")
    status, error = await server.ask("POST", "/v1/chat/completions", json={"messages": QUESTION})
    assert (status, error["code"], error["message"]) == (503, 503, "The request queue is full.")
    asked = {"messages": QUESTION, "stream": True}
    status, text = await server.ask("POST", "/v1/chat/completions", json=asked)
    error, done = events(text)
    assert status == 200 and error["error"]["code"] == 503 and error["error"]["type"] == "SERVICE_UNAVAILABLE"
    status, text = await server.ask("POST", "/generate", json={"text": "x", "stream": True})
    refusal, done = events(text)
    assert status == 200 and refusal["meta_info"]["finish_reason"]["type"] == "abort"
    assert refusal["meta_info"]["finish_reason"]["status_code"] == 503
    holder.cancel()


# ---------------------------------------------------------------- faults of one request
@module_loop
async def test_a_status_and_body_by_script(engine):
    asked = {"messages": scripted(status=502, body="<html>bad gateway</html>",
                                  headers={"Content-Type": "text/html", "Retry-After": "7"})}
    async with open_stream(engine, **asked) as response:
        assert (response.status, response.content_type, response.headers["Retry-After"]) == (
            502, "text/html", "7")
        assert await response.text() == "<html>bad gateway</html>"
    status, body = await engine.ask("POST", "/generate", json={
        "text": "x", "user": '#script {"status": 429, "error": "string", "error_message": "slow down"}'})
    assert (status, body) == (429, {"error": "slow down"})


@module_loop
@pytest.mark.parametrize("shape", EVENT_ERRORS)
async def test_an_error_inside_a_200_stream(engine, shape):
    prompt = scripted(error_at=2, error=shape, error_code=418, error_message="teapot")
    status, text = await engine.ask("POST", "/v1/chat/completions", json={"stream": True, "messages": prompt})
    assert status == 200 and text.endswith("data: [DONE]\n\n")
    sent = events(text)
    assert [e["choices"][0]["delta"]["content"] for e in sent[1:3]] == ["t0 ", "t1 "]
    assert "teapot" in json.dumps(sent[3])
    assert "finish_reason\": \"length" not in json.dumps(sent)


@module_loop
async def test_an_error_event_can_be_any_text(engine):
    status, text = await engine.ask("POST", "/generate", json={
        "text": scripted(error_at=0, error="event: error\ndata: not json\n\n", done=False)[0]["content"],
        "stream": True})
    assert (status, text) == (200, "event: error\ndata: not json\n\n")
    status, text = await engine.ask("POST", "/generate", json={
        "text": scripted(error_at=0, error={"error": {"code": "x"}}, done=False)[0]["content"],
        "stream": True})
    assert (status, events(text)) == (200, [{"error": {"code": "x"}}])


@module_loop
async def test_an_error_beyond_the_last_token_never_happens(engine):
    status, got = await engine.ask("POST", "/generate", json={"text": '#script {"error_at": 5, "tokens": 3}'})
    assert (status, got["text"]) == (200, "t0 t1 t2 ")


@module_loop
@pytest.mark.parametrize("stream", [True, False])
async def test_a_dropped_connection(engine, stream):
    rid = f"drop-{stream}"
    with pytest.raises(aiohttp.ClientError):
        await engine.ask("POST", "/v1/chat/completions", json={
            "messages": scripted(drop_at=2), "stream": stream, "rid": rid})
    record, = await engine.wait(rid=rid, state="dropped")
    assert record["tokens"] == 2


@module_loop
@pytest.mark.parametrize("cut", ["utf8", 1, 7])
@pytest.mark.parametrize("eol, end", [("lf", "\n"), ("crlf", "\r\n"), ("cr", "\r")])
async def test_cut_bytes_are_the_same_bytes(engine, cut, eol, end):
    text = "é🦜"
    async with open_stream(engine, stream=True, messages=scripted(
            text=text, cut=cut, eol=eol, comments=True, cut_ms=0)) as response:
        raw = (await response.read()).decode()
    assert raw.endswith("data: [DONE]" + end * 2) and ": keep-alive" + end * 2 in raw
    assert "\n" in end or "\n" not in raw
    sent = events(raw.replace(end, "\n"))
    assert "".join(e["choices"][0]["delta"].get("content", "") for e in sent[:-1]) == text


@module_loop
async def test_huge_events_arrive_whole(engine):
    async with open_stream(engine, stream=True, messages=scripted(tokens=3, token_bytes=700_000)) as response:
        sent = events(await response.text())
    sizes = [len(e["choices"][0]["delta"].get("content", "")) for e in sent[1:-2]]
    assert sizes == [700_000] * 3


@module_loop
async def test_pacing_never_runs_ahead(engine):
    """20 streams of 10 tokens at 200 a second: none may end before its last token was due."""
    loop = asyncio.get_running_loop()

    async def timed():
        begun = loop.time()
        _, text = await engine.ask("POST", "/v1/chat/completions", json={
            "messages": scripted(tokens=10, tps=200, first_delay_ms=30), "stream": True})
        return loop.time() - begun, len(events(text))
    for seconds, count in await asyncio.gather(*(timed() for _ in range(20))):
        assert count == 1 + 10 + 1 + 1 and seconds >= 0.030 + 9 / 200


@module_loop
async def test_a_hanging_stream_goes_on_when_released(engine):
    prompt = scripted(tokens=4, hang_at=2)
    async with open_stream(engine, stream=True, rid="held", messages=prompt) as response:
        await engine.wait(rid="held", state="hanging", tokens=2)
        assert (await engine.ask("POST", "/_scripted/release?rid=held"))[1] == {"released": 1}
        text = await response.text()
    assert [e["choices"][0]["delta"]["content"] for e in events(text)[1:5]] == ["t0 ", "t1 ", "t2 ", "t3 "]


async def test_the_default_script_comes_from_the_environment_and_can_be_replaced(start):
    server = await start(script={"text": "first"})
    assert (await server.ask("POST", "/generate", json={"text": "x"}))[1]["text"] == "first"
    assert (await server.ask("POST", "/_scripted/script", json={"text": "second"}))[0] == 200
    assert (await server.ask("POST", "/generate", json={"text": "x"}))[1]["text"] == "second"


@pytest.mark.parametrize("code, status", [(7, 7), (-signal.SIGKILL, -signal.SIGKILL)])
async def test_it_dies_in_mid_stream(start, code, status):
    server = await start()
    async with open_stream(server, stream=True, messages=scripted(die_at=2, die_code=code)) as response:
        with pytest.raises(aiohttp.ClientError):
            await response.text()
    assert await server.ended() == status


# ---------------------------------------------------------------- faults of the process
async def test_it_says_503_until_it_is_ready(start):
    server = await start(life={"ready_delay": 0.4, "log": ["Load weight begin.", "KV cache is allocated."]})
    assert (await server.ask("GET", "/health"))[0] == (await server.ask("GET", "/ready"))[0] == 503
    assert (await server.ask("GET", "/v1/models"))[0] == 200
    await server.ready()
    assert (await server.ask("GET", "/health"))[0] == (await server.ask("GET", "/ready"))[0] == 200
    assert server.log[:2] == ["Load weight begin.", "KV cache is allocated."]


@pytest.mark.parametrize("life, status", [
    ({"exit_after": 0, "exit_code": 1}, 1), ({"exit_after": 0, "exit_code": -9}, -9),
    ({"exit_after": 0.05, "bind_delay": 60, "exit_code": 2}, 2)])
async def test_it_dies_while_starting(start, life, status):
    server = await start(life={"log": ["OSError: no such model"], **life})
    assert await server.ended() == status
    assert server.log == ["OSError: no such model"]


async def test_a_taken_port_is_found_at_the_end_of_the_start(start):
    first = await start()
    second = await start(port=int((await first.listening()).rsplit(":", 1)[1]), life={"log": ["loading"]})
    assert await second.ended() == 3
    assert second.log[0] == "loading" and "address already in use" in second.log[1]


async def test_health_can_be_wrong_or_hang(start):
    server = await start(life={"health_status": 500})
    assert (await server.ask("GET", "/health"))[0] == 500
    server = await start(life={"health_status": "hang"})
    with pytest.raises(TimeoutError):
        await server.ask("GET", "/ready", timeout=aiohttp.ClientTimeout(total=0.2))
    assert (await server.ask("GET", "/v1/models"))[0] == 200


async def test_sigterm_lets_streams_finish_and_takes_new_ones(start):
    server = await start()
    prompt = scripted(tokens=3, hang_at=1)
    async with open_stream(server, stream=True, rid="old", messages=prompt) as response:
        await server.wait(rid="old", state="hanging")
        server.process.send_signal(signal.SIGTERM)
        while not (await server.ask("GET", "/_scripted/process"))[1]["draining"]:
            pass
        assert (await server.ask("GET", "/health"))[0] == 503
        assert (await server.ask("POST", "/generate", json={"text": "x"}))[0] == 200
        await server.ask("POST", "/_scripted/release")
        assert (await response.text()).endswith("[DONE]\n\n")
    assert await server.ended() == 0


async def test_sigterm_when_idle_and_sigint(start):
    for number, status in ((signal.SIGTERM, 0), (signal.SIGINT, -signal.SIGINT)):
        server = await start()
        await server.ready()
        server.process.send_signal(number)
        assert await server.ended() == status


async def test_sigterm_can_be_ignored(start):
    server = await start(life={"ignore_sigterm": True})
    await server.listening()
    server.process.send_signal(signal.SIGTERM)
    assert (await server.ask("GET", "/health"))[0] == 200
    assert server.process.returncode is None


def alive(pid: int) -> bool:
    """Whether the process runs; a zombie does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


async def gone(pid: int) -> None:
    """Wait until the process has ended. Process.wait() would wait for its children's end of the pipe too."""
    loop, ended, handle = asyncio.get_running_loop(), asyncio.Event(), os.pidfd_open(pid)
    loop.add_reader(handle, ended.set)
    try:
        await asyncio.wait_for(ended.wait(), 30)
    finally:
        loop.remove_reader(handle)
        os.close(handle)


async def test_its_children_can_outlive_it(start, tmp_path):
    pids = tmp_path / "pids"
    server = await start(life={"pid_file": str(pids), "children": [
        {}, {"ignore_sigterm": True, "survive": True}, {"setsid": True, "survive": True}]})
    await server.ready()
    listed = [int(line) for line in pids.read_text().split()]
    try:
        assert (await server.ask("GET", "/_scripted/process"))[1]["children"] == listed
        group = server.process.pid
        assert [os.getpgid(pid) == group for pid in listed] == [True, True, False]
        server.process.send_signal(signal.SIGTERM)
        await gone(group)
        assert [alive(pid) for pid in listed] == [False, True, True]
        os.kill(listed[1], signal.SIGTERM)
        assert alive(listed[1]), "it ignores SIGTERM"
    finally:
        for pid in listed:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
    assert await server.process.wait() == 0


async def test_flags_of_the_real_server_are_accepted_and_the_help_explains(start):
    server = await start("--tp-size", "2", "--trust-remote-code", "--mem-fraction-static=0.8",
                         "--tool-call-parser", "qwen25")
    assert (await server.ask("GET", "/health"))[0] == 200
    process = await asyncio.create_subprocess_exec(sys.executable, "-m", "local.scripted_engine", "--help",
                                                   cwd=ROOT, stdout=asyncio.subprocess.PIPE)
    text = (await process.communicate())[0].decode()
    assert process.returncode == 0 and "/_scripted/wait" in text and "--life" in text


# ---------------------------------------------------------------- the script language
def test_a_misspelt_script_is_an_error():
    with pytest.raises(ValueError, match="tokns"):
        Script().updated({"tokns": 3})
    with pytest.raises(ValueError, match="exit_afer"):
        Life.read('{"exit_afer": 1}')


@pytest.mark.parametrize("body, prompt", [
    ({}, 'Hi #script {"tokens": 2} there'), ({"user": '#script {"tokens": 2}'}, "Hi"),
    ({"metadata": {"user_id": '#script {"tokens": 2}'}}, "Hi")])
def test_where_a_script_may_stand(body, prompt):
    assert find_script(body, prompt) == {"tokens": 2}


def test_what_is_left_of_a_prompt_without_its_script():
    assert without_script('Hi #script {"a": {"b": "}"}} there') == "Hi  there"
    assert without_script("Hi") == "Hi"


@given(st.text(), st.one_of(st.just("utf8"), st.integers(1, 9)))
def test_pieces_lose_nothing(text, cut):
    data = text.encode("utf-8")
    pieces = pieces_of(data, cut)
    assert b"".join(pieces) == data
    assert all(pieces) or not data


def test_the_utf8_cut_is_inside_every_character_and_every_end():
    assert pieces_of("aé🦜\r\n\r\nb\n\n".encode(), "utf8") == [
        b"a\xc3", b"\xa9\xf0", b"\x9f", b"\xa6", b"\x9c\r", b"\n", b"\r", b"\nb\n", b"\n"]
