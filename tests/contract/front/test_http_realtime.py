"""/v1/realtime over a whole worker: what goes both ways, and how it ends."""

import asyncio
import base64
import contextlib
import json
import signal

import aiohttp
import openai
import pytest

from tests.contract.front.http_worker import KEY, http, start

__all__ = ["http", "start"]

PATH = "/v1/realtime"
SPOKEN = b"how the river bends"


@pytest.fixture
async def ears(start):
    up = await start(ENABLE_MULTIMODAL="true")
    await up.becomes(200)
    return up


def dial(http, query="", protocols=(), **more):
    headers = more.pop("headers", {"Authorization": f"Bearer {KEY}"})
    return http.session.ws_connect(http.base + PATH + query, headers=headers, protocols=protocols, **more)


async def said(socket) -> dict:
    message = await socket.receive(30)
    assert message.type is aiohttp.WSMsgType.TEXT, message
    return json.loads(message.data)


async def seen(http, state: str) -> list[dict]:
    return await http.engine(f"/_scripted/wait?path={PATH}&state={state}")


async def test_what_is_said_goes_both_ways(ears):
    async with dial(ears, "?model=tiny", headers={"x-api-key": KEY, "X-Request-Id": "mine-9"}) as socket:
        assert (await said(socket))["type"] == "session.created"
        await socket.send_json({"type": "session.update", "session": {"type": "transcription"}})
        assert (await said(socket))["type"] == "session.updated"
        for piece in (SPOKEN[:7], SPOKEN[7:]):
            await socket.send_json({"type": "input_audio_buffer.append", "audio": base64.b64encode(piece).decode()})
        await socket.send_json({"type": "input_audio_buffer.commit"})
        words = [await said(socket) for _ in range(5)]
        assert "".join(event.get("delta", "") for event in words).strip() == SPOKEN.decode()
        assert words[-1]["transcript"] == SPOKEN.decode()
        await socket.send_bytes(b"\0")
        assert (await said(socket))["error"]["code"] == "invalid_frame"
        await socket.send_str("x" * 1_000_000)
    [record] = await seen(ears, "finished,disconnected,failed")
    assert record["headers"]["x-request-id"] == "mine-9" and KEY not in str(record)


async def test_openais_client(ears):
    root = f"127.0.0.1:{ears.worker.environ['PORT']}/v1"
    client = openai.AsyncOpenAI(base_url=f"http://{root}", websocket_base_url=f"ws://{root}", api_key=KEY)
    async with client.realtime.connect(model="tiny") as session:
        assert (await session.recv()).type == "session.created"
        await session.input_audio_buffer.append(audio=base64.b64encode(SPOKEN).decode())
        await session.input_audio_buffer.commit()
        async for event in session:
            if event.type == "conversation.item.input_audio_transcription.completed":
                assert event.transcript == SPOKEN.decode()
                break


async def test_a_browser_shows_its_key_among_the_protocols(ears):
    words = ("realtime", f"openai-insecure-api-key.{KEY}", "openai-beta.realtime-v1")
    async with dial(ears, protocols=words, headers={}) as socket:
        assert socket.protocol == "realtime" and (await said(socket))["type"] == "session.created"
    for headers, status in (({"Origin": "https://evil.example"}, 403), ({"Origin": ears.base}, 101)):
        try:
            async with dial(ears, protocols=words, headers=headers):
                assert status == 101
        except aiohttp.WSServerHandshakeError as error:
            assert error.status == status
    assert KEY not in ears.worker.output


@pytest.mark.parametrize(("query", "headers", "status"), [
    ("", {}, 401), ("", {"Authorization": "Bearer wrong"}, 401),
    ("", {"Sec-WebSocket-Protocol": "realtime, openai-insecure-api-key.wrong"}, 401),
    ("?model=gpt-realtime", {"x-api-key": KEY}, 404)])
async def test_who_may_not_is_told_before_the_handshake(ears, query, headers, status):
    with pytest.raises(aiohttp.WSServerHandshakeError) as raised:
        await dial(ears, query, headers=headers)
    assert raised.value.status == status
    assert not await ears.engine(f"/_scripted/requests?path={PATH}")


async def test_what_is_no_socket_is_told_so(ears, http):
    async with ears.session.get(ears.base + PATH, headers={"x-api-key": KEY}) as response:
        assert response.status == 426 and "WebSocket" in (await response.json())["error"]["message"]
    async with ears.raw() as wire:
        await wire.head(PATH, "GET", Connection="keep-alive, Upgrade", Upgrade="WebSocket", Sec_WebSocket_Version="13")
        assert (await wire.answer())[0] == 400
    assert not await ears.engine(f"/_scripted/requests?path={PATH}")
    with pytest.raises(aiohttp.WSServerHandshakeError) as raised:  # a model that hears nothing
        await dial(http)
    assert raised.value.status == 400


async def test_whoever_leaves_ends_the_engines_side(ears):
    async with dial(ears) as socket:
        await said(socket)
        await seen(ears, "running")
    [record] = await seen(ears, "finished,disconnected")
    async with ears.raw() as wire:
        await wire.head(PATH, "GET", Connection="Upgrade", Upgrade="websocket", Sec_WebSocket_Version="13",
                        Sec_WebSocket_Key=base64.b64encode(b"0" * 16).decode())
        await wire.reader.readuntil(b"\r\n\r\n")
        await seen(ears, "running")
        wire.writer.transport.abort()
    assert len(await ears.engine(f"/_scripted/wait?path={PATH}&state=finished,disconnected&count=2")) == 2


async def test_how_the_engine_ends_it_reaches_the_caller(ears):
    async with dial(ears) as socket:
        await said(socket)
        await socket.send_json({"type": "_close", "code": 4321})
        await socket.receive(30)
        assert socket.close_code == 4321


async def test_an_engine_that_dies_is_a_restart_of_the_service(ears):
    async with dial(ears) as socket:
        await said(socket)
        await socket.send_json({"type": "_die"})
        message = await socket.receive(30)
        assert socket.close_code == 1012 and "ended" in message.extra
    await ears.becomes(200)
    async with dial(ears) as socket:  # waits for the next
        assert (await said(socket))["type"] == "session.created"


async def test_a_message_that_is_too_large_ends_it(ears):
    async with dial(ears) as socket:
        await said(socket)
        with contextlib.suppress(ConnectionError):  # it may be gone before all of it was sent
            await socket.send_str("x" * (2**24 + 1))
            await socket.receive(30)
            assert socket.close_code in (1006, 1009)
    assert await seen(ears, "finished,disconnected")


async def test_a_session_holds_a_place(start):
    http = await start(ENABLE_MULTIMODAL="true", MAX_CONCURRENCY="1", HTTP_QUEUE_SECONDS="0.2")
    await http.becomes(200)
    async with dial(http) as socket:
        await said(socket)
        with pytest.raises(aiohttp.WSServerHandshakeError) as raised:
            await dial(http)
        assert raised.value.status == 429 and int(raised.value.headers["Retry-After"]) >= 1
    async with asyncio.timeout(30):
        while True:
            try:
                async with dial(http) as socket:
                    await said(socket)
                    break
            except aiohttp.WSServerHandshakeError as error:
                assert error.status == 429


async def test_a_session_ends_before_runpod_ends_it(start):
    http = await start(ENABLE_MULTIMODAL="true", HTTP_REQUEST_SECONDS="1")
    await http.becomes(200)
    async with dial(http) as socket:
        await said(socket)
        message = await socket.receive(30)
        assert socket.close_code == 1001 and "HTTP_REQUEST_SECONDS" in message.extra
    assert await seen(http, "finished,disconnected")


async def test_the_end_of_the_worker_ends_it(start):
    http = await start(ENABLE_MULTIMODAL="true", DRAIN_TIMEOUT="1")
    await http.becomes(200)
    async with dial(http) as socket:
        await said(socket)
        http.worker.process.send_signal(signal.SIGTERM)
        await http.becomes(503, None)
        with pytest.raises(aiohttp.WSServerHandshakeError) as raised:
            await dial(http)
        assert raised.value.status == 503
        message = await socket.receive(30)
        assert socket.close_code == 1001 and "stopped" in message.extra
    assert await http.worker.ended(30) == 0
    assert "Traceback" not in http.worker.output
