"""What the HTTP front bears of its clients, over raw connections."""

import asyncio
import gzip
import json
import os
import zlib

import pytest

from tests.contract.front.http_worker import CHAT, KEY, http, start
from tests.support import say

__all__ = ["http", "start"]

BODY = json.dumps({"messages": say({"text": "Paris."})}).encode()
HANGING = {"messages": say({"tokens": 9, "hang_at": 2}), "stream": True}


def memory(http) -> int:
    with open(f"/proc/{http.worker.process.pid}/statm") as f:
        return int(f.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


async def test_a_body_is_asked_for_only_when_it_may_come(http):
    async with http.raw() as wire:
        await wire.head(Content_Length=str(len(BODY)), Expect="100-continue")
        assert (await wire.answer())[0] == 100
        await wire.send(BODY)
        assert (await wire.answer())[0] == 200


@pytest.mark.parametrize(("headers", "status"), [
    ({"Authorization": "Bearer wrong"}, 401), ({"Content_Length": "30000001"}, 413),
    ({"Content_Encoding": "br"}, 415), ({"Expect": "a miracle"}, 417)])
async def test_what_is_refused_by_its_head_is_refused_without_its_body(http, headers, status):
    async with http.raw() as wire:
        await wire.head(**{"Content_Length": "9", "Expect": "100-continue", **headers})
        told, head, body = await wire.answer()
        assert told == status and body
        if status != 417:
            assert head["connection"] == "close"


async def test_a_body_that_is_too_large_is_refused_at_once_by_its_length_and_by_its_pieces(http):
    async with http.raw() as wire:
        await wire.head(Content_Length="5000000000")
        assert (await wire.answer())[0] == 413  # nothing of it was sent
    async with http.raw() as wire:
        await wire.head(Transfer_Encoding="chunked")
        piece = b"80000\r\n" + b" " * 0x80000 + b"\r\n"
        sending = asyncio.create_task(wire.send(*[piece] * 80))
        status, _, body = await wire.answer()
        assert status == 413 and b"30 MB" in body
        sending.cancel()


async def test_no_body_is_read_before_there_is_room_for_it(start):
    http = await start(HTTP_BODY_MEMORY_MB="1", HTTP_QUEUE_SECONDS="0.3")
    await http.becomes(200)
    large = json.dumps({**HANGING, "rid": "large-body-0123456789", "pad": "x" * 900_000}).encode()
    async with http.raw() as first:
        await first.head(Content_Length=str(len(large)))
        await first.send(large)
        await http.engine("/_scripted/wait?rid=large-body-0123456789&state=hanging")
        async with http.raw() as second:
            await second.head(Content_Length="900000", Expect="100-continue")
            status, head, body = await second.answer()  # and no 100 before it
            assert status == 429 and b"HTTP_BODY_MEMORY_MB" in body and int(head["retry-after"]) >= 1
        async with http.raw() as small:  # those that need none are read
            await small.head(Content_Length=str(len(BODY)))
            await small.send(BODY)
            assert (await small.answer())[0] == 200
    async with http.raw() as again, asyncio.timeout(30):  # the room of whoever has left is free again
        status = 0
        padded = BODY[:-1] + b', "pad": "' + b"x" * 900_000 + b'"}'
        while status != 200:
            await again.head(Content_Length=str(len(padded)))
            await again.send(padded)
            status = (await again.answer())[0]


async def test_a_worker_that_is_full_reads_no_body(start):
    http = await start(MAX_CONCURRENCY="1", HTTP_QUEUE_SECONDS="0")
    await http.becomes(200)
    stream = await http.post(body=HANGING)
    await stream.content.readany()
    async with http.raw() as wire:
        await wire.head(Content_Length="20000000", Expect="100-continue")
        status, head, body = await wire.answer()
        assert status == 429 and b"MAX_CONCURRENCY" in body and int(head["retry-after"]) >= 1
    stream.close()


async def test_packed_bodies_are_unpacked_with_a_limit(http):
    bomb = gzip.compress(b" " * 300_000_000, 1)
    before = memory(http)
    for packed, kind, status in ((gzip.compress(BODY), "gzip", 200), (zlib.compress(BODY), "deflate", 200),
                                 (zlib.compress(BODY)[2:-4], "deflate", 200), (bomb, "gzip", 413),
                                 (gzip.compress(BODY)[:-3], "gzip", 400), (gzip.compress(BODY) * 2, "gzip", 400)):
        async with http.raw() as wire:
            await wire.head(Content_Length=str(len(packed)), Content_Encoding=kind)
            await wire.send(packed)
            told, _, body = await wire.answer()
            assert told == status, (kind, status, body)
    assert memory(http) - before < 150 * 2**20
    async with http.raw() as wire:  # nobody's bomb is unpacked before it is known who sent it
        await wire.head(Content_Length=str(len(bomb)), Content_Encoding="gzip", Authorization="Bearer wrong")
        await wire.send(bomb)
        assert (await wire.answer())[0] == 401


async def test_a_body_that_drips_is_given_up(http):
    async with http.raw() as wire:
        await wire.head(Content_Length="1000")
        await wire.send(b"{")
        status, _, body = await wire.answer()
        assert status == 408 and b"KiB a second" in body
    assert await http.stage() == 200


async def test_requests_behind_each_other_are_answered_in_order(http):
    def whole(text: str) -> bytes:
        body = json.dumps({"messages": say({"text": text})}).encode()
        return (f"POST {CHAT} HTTP/1.1\r\nHost: x\r\nx-api-key: {KEY}\r\nContent-Length: {len(body)}\r\n\r\n").encode(
            ) + body

    async with http.raw() as wire:
        await wire.send(b"".join(whole(f"answer {i}") for i in range(5)))
        for i in range(5):
            status, _, body = await wire.answer()
            assert status == 200 and json.loads(body)["choices"][0]["message"]["content"] == f"answer {i}"
        await wire.send(whole("once more")[:40])  # a connection that is kept bears a request in two halves
        await wire.send(whole("once more")[40:])
        assert (await wire.answer())[0] == 200


async def test_the_connection_survives_a_refusal_and_its_unread_body(http):
    async with http.raw() as wire:
        for _ in range(2):
            await wire.head(Content_Length=str(len(BODY)), Authorization="Bearer wrong")
            await wire.send(BODY)
            assert (await wire.answer())[0] == 401
        await wire.head("/v1/models", "GET")
        assert (await wire.answer())[0] == 200


async def test_methods(http):
    async with http.raw() as wire:
        await wire.head("/v1/models", "HEAD")
        head = await wire.reader.readuntil(b"\r\n\r\n")
        assert b" 200 " in head
        await wire.head(CHAT, "HEAD")
        assert b" 405 " in await wire.reader.readuntil(b"\r\n\r\n")
        await wire.head(CHAT, "OPTIONS")
        status, headers, _ = await wire.answer()
        assert status == 204 and "POST" in headers["allow"] and "access-control-allow-origin" not in headers
        for method in ("DELETE", "PUT", "PATCH"):
            await wire.head("/v1/models", method)
            assert (await wire.answer())[0] == 405


async def test_thirty_megabytes_go_both_ways(http):
    script = {"tokens": 1400, "token_bytes": 20_000}
    body = json.dumps({"messages": say(script), "pad": "x" * 29_000_000}).encode()
    async with http.raw() as wire:
        await wire.head(Content_Length=str(len(body)))
        await wire.send(body)
        status, _, answer = await wire.answer()
        assert status == 200, answer[:300]
        assert len(json.loads(answer)["choices"][0]["message"]["content"]) == 28_000_000
    async with http.post(body={"messages": say({**script, "tokens": 1600})}) as response:
        assert response.status == 413 and "30 MB" in (await response.json())["error"]["message"]


async def test_a_large_answer_that_nobody_reads_holds_no_place(start):
    http = await start(MAX_CONCURRENCY="1")
    await http.becomes(200)
    async with http.raw() as wire:
        body = json.dumps({"messages": say({"tokens": 1400, "token_bytes": 20_000}), "rid": "unread-0123456789abc"})
        await wire.head(Content_Length=str(len(body)))
        await wire.send(body.encode())
        await http.engine("/_scripted/wait?rid=unread-0123456789abc&state=finished")
        async with http.post(body=json.loads(BODY)) as response:
            assert response.status == 200


async def test_a_request_ends_before_runpod_ends_it(start):
    http = await start(HTTP_REQUEST_SECONDS="1.5")
    await http.becomes(200)
    async with http.post(body={"messages": say({"tokens": 9, "hang_at": 0})}) as response:
        assert response.status == 504
        assert "HTTP_REQUEST_SECONDS" in (await response.json())["error"]["message"]
    async with http.post(body={**HANGING, "rid": "too-long-0123456789"}) as response:
        assert response.status == 200
        text = await response.text()
    assert text.count("data: ") > 1 and "[DONE]" not in text
    assert "HTTP_REQUEST_SECONDS" in json.loads(text.split("\n\n")[-2].removeprefix("data: "))["error"]["message"]
    assert await http.engine("/_scripted/wait?rid=too-long-0123456789&state=aborted,disconnected")


async def test_the_callers_trace_reaches_the_engine_and_nothing_else_does(http):
    trace = {"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "tracestate": "a=b",
             "X-Request-Id": "mine-7", "X-Override-Rid": "evil", "Cookie": "a=b", "X-Data-Parallel-Rank": "7"}
    async with http.post(body={"messages": say({}), "rid": "traced-0123456789abc"}, headers=trace) as response:
        assert response.status == 200 and response.headers["X-Request-Id"] == "mine-7"
    [record] = await http.engine("/_scripted/requests?rid=traced-0123456789abc")
    heard = {name.lower(): value for name, value in record["headers"].items()}
    assert heard["traceparent"] == trace["traceparent"] and heard["tracestate"] == "a=b"
    assert heard["x-request-id"] == "mine-7"
    assert not {"x-override-rid", "cookie", "x-data-parallel-rank", "x-api-key"} & set(heard)
    assert KEY not in str(heard)


@pytest.mark.parametrize("brought", [
    f"GET /v1/models HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {KEY}\0\r\n\r\n",
    "\x16\x03\x01\x02\0\x01\xfc\x03\x03",
    f"POST {CHAT} HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    f"GET /v1/models?{KEY}\0 HTTP/1.1\r\nHost: x\r\n\r\n"])
async def test_what_is_no_http_is_a_line_in_the_log_that_quotes_nothing(http, brought):
    before = len(http.worker.lines)
    async with http.raw() as wire:
        await wire.send(brought.encode("latin-1"))
        assert b" 400 " in await wire.closed()
    async with http.post(body=json.loads(BODY)) as response:  # its own line comes afterwards
        assert response.status == 200
    await http.worker.found(lambda line: '"message": "request"' in line or None)
    said = "\n".join(http.worker.lines[before:])
    assert KEY not in said and "Traceback" not in said and said.count("is no HTTP") <= 1
