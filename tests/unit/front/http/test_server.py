"""Requests over HTTP, with a function in place of the worker."""

import asyncio

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from answer.running import Last
from front.http.gate import Gate
from front.http.keys import Keys
from front.http.manners import Manners, Stage
from front.http.server import Front
from utils import JobError

CHAT = "/v1/chat/completions"


async def asked(answer, name, path=CHAT):
    """(status, body) of one request, whose caller calls it `name`."""
    front = Front(Keys(()), Gate(4, 0), Manners(), lambda: Stage.READY)
    front.answer = answer
    headers = {"X-Request-Id": name} if name else {}
    async with (TestClient(TestServer(front.app())) as client,
                client.post(path, json={"a": 1}, headers=headers) as response):
        return response.status, await response.read(), response.headers["X-Request-Id"]


@pytest.mark.parametrize("name", ["", "a", "a/b.c=", "HEALTH_CHECK", "resp_1", "no name", "x" * 128, "x" * 129])
async def test_the_engine_gets_an_id_that_no_caller_can_choose(name):
    seen = []

    async def answer(_, job_id):
        seen.append(job_id)
        yield {}

    told = [(await asked(answer, name))[2] for _ in range(2)]
    first, second = seen
    assert first[:32].isalnum() and first[:32] != second[:32]
    assert set(first) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-")
    assert told == ([name] * 2 if name and len(name) < 129 and " " not in name else seen)


@pytest.mark.parametrize("path", [CHAT, "/v1/messages"])
async def test_a_fault_of_the_worker_has_the_shape_of_the_route(path, capsys):
    async def answer(_, job_id):
        yield 1 // (job_id == "")

    status, body, _ = await asked(answer, "mine-1", path)
    assert status == 500 and b"Internal error of the worker (ZeroDivisionError)" in body and b'"error"' in body
    assert "Traceback" in capsys.readouterr().out


def front_of(answer, **manners):
    front = Front(Keys(()), Gate(4, 0), Manners(**manners), lambda: Stage.READY)
    front.answer = answer
    return front


@pytest.mark.parametrize("piece", ["data: " + "x" * 30_000_000 + "\n\n", {"text": "x" * 30_000_000}])
async def test_an_answer_that_is_not_read_is_given_up(piece, capsys):
    async def answer(_, job_id):
        yield piece

    async with TestServer(front_of(answer, write_seconds=0.2).app()) as server:
        reader, writer = await asyncio.open_connection(server.host, server.port, limit=2**16)
        writer.write(b"POST /generate HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}")
        await asyncio.wait_for(gone(capsys), 30)
        with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
            await reader.readexactly(30_000_000)
        writer.close()


async def test_the_end_is_sent_with_the_last_piece_whoever_is_still_at_it():
    done = asyncio.Event()

    async def answer(_, job_id):
        yield "data: 1\n\n"
        yield Last("data: 2\n\n")
        await done.wait()

    async with TestClient(TestServer(front_of(answer).app())) as client:
        async with client.post(CHAT, json={"stream": True}) as response:
            assert await response.text() == "data: 1\n\ndata: 2\n\n"
        done.set()


@pytest.mark.parametrize("head_seconds", [0.01, 1000])
async def test_a_head_that_was_sent_before_is_not_sent_again(head_seconds):
    go = asyncio.Event()

    async def answer(_, job_id):
        await go.wait()
        yield Last("data: 1\n\n")

    async with TestServer(front_of(answer, head_seconds=head_seconds).app()) as server:
        reader, writer = await asyncio.open_connection(server.host, server.port)
        writer.write(b"POST /generate HTTP/1.1\r\nHost: x\r\nContent-Length: 15\r\nConnection: close\r\n\r\n"
                     b'{"stream":true}')
        if head_seconds < 1:
            head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 30)
            go.set()
        else:
            go.set()
            head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 30)
        assert head.startswith(b"HTTP/1.1 200 OK\r\n") and b"text/event-stream" in head
        assert await asyncio.wait_for(reader.read(), 30) == b"9\r\ndata: 1\n\n\r\n0\r\n\r\n"
        writer.close()


async def gone(capsys):
    seen = ""
    while "reads no more" not in seen:
        await asyncio.sleep(0.01)
        seen += capsys.readouterr().out


async def test_a_body_has_to_come_at_a_rate():
    async def answer(job_input, job_id):
        yield job_input["body"]

    front = front_of(answer, body_seconds=5.0, body_grace=0.3, body_rate=100_000)
    async with TestClient(TestServer(front.app())) as client:
        async def drip(pieces, pause):
            for piece in pieces:
                yield piece
                await asyncio.sleep(pause)

        steady = [b"[", *[b" " * 50_000] * 12, b"]"]
        async with client.post("/generate", data=drip(steady, 0.05)) as response:  # longer than the grace
            assert (response.status, await response.json()) == (200, [])
        async with client.post("/generate", data=drip([b"[", *[b" "] * 50], 0.1)) as response:
            assert response.status == 408 and b"at 97 KiB" in await response.read()


async def test_the_time_of_a_request_is_counted_from_its_beginning(capsys):
    async def answer(_, job_id):
        yield "data: 1\n\n"
        await asyncio.Event().wait()

    front = front_of(answer, request_seconds=0.3)
    async with (TestClient(TestServer(front.app())) as client,
                client.post("/v1/messages", json={"stream": True}) as response):
        first, _, second = (await response.text()).partition("\n\n")
        assert first == "data: 1" and second.startswith("event: error\n") and "HTTP_REQUEST_SECONDS" in second
    assert not front.running


@pytest.mark.parametrize("code", [429, 503])
async def test_who_finds_the_engine_full_hears_when_to_come_again(code):
    async def answer(_, job_id):
        raise JobError("The engine is full.", type="rate_limit_error", code=code)
        yield

    async with (TestClient(TestServer(front_of(answer).app())) as client,
                client.post(CHAT, json={"a": 1}) as response):
        assert response.status == code and int(response.headers["Retry-After"]) > 0


async def test_what_has_to_be_upgraded_is_told_to_what():
    async with (TestClient(TestServer(front_of(None).app())) as client, client.get("/v1/realtime") as response):
        assert response.status == 503  # nothing to dial yet
    front = front_of(lambda *_: None)
    front.dial = lambda *_: None
    async with TestClient(TestServer(front.app())) as client, client.get("/v1/realtime") as response:
        assert response.status == 426 and response.headers["Upgrade"] == "websocket"


@pytest.mark.parametrize(("head", "status"), [
    ("Origin: http://[x", 403), ("Origin: \udcff", 403), ("Sec-WebSocket-Key: \udcff", 400),
    ("Sec-WebSocket-Key: x", 400), ("Expect: \udcff", 417), ("X-Request-Id: \udcff\r\nOrigin: null", 403)])
async def test_a_handshake_whose_headers_are_anything_is_its_callers_fault(head, status, capsys):
    front = front_of(lambda *_: None)
    front.dial = lambda *_: None
    async with TestServer(front.app()) as server:
        reader, writer = await asyncio.open_connection(server.host, server.port)
        writer.write("GET /v1/realtime HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: upgrade\r\n"
                     f"Sec-WebSocket-Version: 13\r\n{head}\r\n\r\n".encode("utf-8", "surrogateescape"))
        assert f" {status} ".encode() in await asyncio.wait_for(reader.readline(), 30)
        writer.close()
    assert "Traceback" not in capsys.readouterr().out


@pytest.mark.parametrize("apart", [False, True])
async def test_health_may_be_asked_with_head_and_without_a_key(apart):
    front = Front(Keys(["sesame"]), Gate(4, 0), Manners(), lambda: Stage.READY)
    async with TestClient(TestServer(front.health_app() if apart else front.app())) as client:
        assert [(await client.request(method, "/ping")).status for method in ("GET", "HEAD")] == [200, 200]


@pytest.mark.parametrize("path", ["/ping", "/", CHAT])
async def test_whatever_is_expected_is_no_fault_of_the_worker(path, capsys):
    async def page(_request):
        return web.Response()

    front = Front(Keys(["sesame"]), Gate(4, 0), Manners(), lambda: Stage.READY)
    async with TestServer(front.app([web.get("/", page)])) as server:
        reader, writer = await asyncio.open_connection(server.host, server.port)
        writer.write(f"GET {path} HTTP/1.1\r\nHost: x\r\nExpect: ".encode() + b"\xff\r\n\r\n")
        assert b" 417 " in await asyncio.wait_for(reader.readline(), 30)
        writer.close()
