"""Transcriptions: forms that are handed on while they arrive, and jobs of which the worker makes the form."""

import asyncio
import base64
import json

import aiohttp
import openai
import pytest

from tests.contract.front.http_worker import KEY, http, start
from tests.worker import WorkerProcess, contract_environ, error_of

__all__ = ["http", "start"]

PATH = "/v1/audio/transcriptions"
HEARD = b'RIFF\x24\0\0\0WAVE#script {"text": "Paris is the capital."}'


@pytest.fixture
async def ears(start):
    up = await start(ENABLE_MULTIMODAL="true")
    await up.becomes(200)
    return up


def form(file=HEARD, behind=(), name="speech.wav", **fields) -> aiohttp.FormData:
    data = aiohttp.FormData(default_to_multipart=True)
    for field, value in fields.items():
        data.add_field(field, value)
    if file is not None:
        data.add_field("file", file, filename=name, content_type="audio/wav")
    for field, value in behind:
        data.add_field(field, value)
    return data


async def post(http, data, status=200, **more):
    headers = {"Authorization": f"Bearer {KEY}", **more.pop("headers", {})}
    async with http.session.post(http.base + PATH, data=data, headers=headers, **more) as response:
        assert response.status == status, await response.text()
        return response.content_type, await response.text()


async def seen(http) -> dict:
    return (await http.engine(f"/_scripted/requests?path={PATH}"))[-1]["body"]


async def test_a_form_and_all_its_answers(ears):
    kind, text = await post(ears, form(model="tiny", language="en", temperature="0.5"))
    assert kind == "application/json" and json.loads(text)["text"] == "Paris is the capital."
    body = await seen(ears)
    assert (body["model"], body["language"], body["temperature"], body["filename"]) == (
        "tiny", "en", "0.5", "speech.wav")
    assert body["bytes"] == len(HEARD) and body["content_type"] == "audio/wav"
    kind, text = await post(ears, form(response_format="text"))
    assert (kind, text) == ("text/plain", "Paris is the capital.")
    kind, text = await post(ears, form(response_format="verbose_json", **{"timestamp_granularities[]": "segment"}))
    assert json.loads(text)["segments"][0]["end"] == 1.0
    assert (await seen(ears))["timestamp_granularities"] == ["segment"]
    kind, text = await post(ears, form(stream="true"))
    assert kind == "text/event-stream" and text.endswith("data: [DONE]\n\n")
    chunks = [json.loads(event[6:]) for event in text.split("\n\n")[:-2]]
    assert {chunk["object"] for chunk in chunks} == {"transcription.chunk"}
    assert "".join(c["choices"][0]["delta"]["content"] or "" for c in chunks) == "Paris is the capital."


async def test_fields_may_come_behind_the_file(ears):
    kind, text = await post(ears, form(behind=[("model", "tiny"), ("response_format", "text"), ("language", "de")]))
    assert (kind, text) == ("text/plain", "Paris is the capital.")
    assert (await seen(ears))["language"] == "de"
    kind, text = await post(ears, form(behind=[("stream", "true")]))
    assert kind == "text/event-stream"
    _, text = await post(ears, form(behind=[("model", "whisper-1")]), 404)
    assert "does not exist" in json.loads(text)["error"]["message"]
    _, text = await post(ears, form(behind=[("response_format", "srt")]), 400)
    assert "verbose_json" in json.loads(text)["error"]["message"]


@pytest.mark.parametrize(("fields", "status", "words"), [
    ({"model": "whisper-1"}, 404, "does not exist"), ({"file": None, "language": "en"}, 400, "`file` is missing"),
    ({"response_format": "vtt"}, 400, "verbose_json"), ({"prompt": "Names: Ada"}, 400, "`prompt`"),
    ({"temperature": "warm"}, 400, "`temperature`"), ({"file": b""}, 400, "empty"),
    ({"file": b"#EXTM3U\nhttp://10.0.0.1/x"}, 400, "playlist"), ({"language": "x" * 70_000}, 400, "too long"),
    ({"stream": "perhaps"}, 400, "`stream`"), ({"behind": [("more", "x")] * 70}, 400, "not whole"),
    ({"file": HEARD.replace(b'"text"', b'"status": 503, "error_message": "no", "text"')}, 503, "no")])
async def test_refusals(ears, fields, status, words):
    _, text = await post(ears, form(**fields), status)
    assert words in json.loads(text)["error"]["message"]


async def test_a_file_is_not_held_as_a_whole(ears):
    begun, go = asyncio.Event(), asyncio.Event()

    async def slowly():
        yield HEARD
        yield b"\0" * 1_000_000
        begun.set()
        await go.wait()
        for _ in range(27):
            yield b"\0" * 1_000_000

    sending = asyncio.create_task(post(ears, form(slowly())))
    await begun.wait()
    go.set()
    assert json.loads((await sending)[1])["text"] == "Paris is the capital."
    assert (await seen(ears))["bytes"] == len(HEARD) + 28_000_000
    with open(f"/proc/{ears.worker.process.pid}/status") as f:
        peak = next(int(line.split()[1]) for line in f if line.startswith("VmHWM"))
    before, _ = peak, await asyncio.gather(*[post(ears, form(HEARD + b"\0" * 28_000_000)) for _ in range(6)])
    with open(f"/proc/{ears.worker.process.pid}/status") as f:
        peak = next(int(line.split()[1]) for line in f if line.startswith("VmHWM"))
    assert peak - before < 100_000  # KiB, for 168 MB
    _, text = await post(ears, form(HEARD + b"\0" * 31_000_000), 413)
    assert "30 MB" in json.loads(text)["error"]["message"]


async def test_forms_that_are_none(ears):
    whole = (b"--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.wav\"\r\n\r\n" + HEARD
             + b"\r\n--b--\r\n")
    kind = {"Content-Type": "multipart/form-data; boundary=b"}
    await post(ears, whole, headers=kind)
    for data, more, status in ((whole[:-12], kind, 400), (b"nothing", kind, 400), (whole, {"Content-Type":
                               "multipart/form-data"}, 400), (whole, {**kind, "Content-Encoding": "gzip"}, 415),
                               (whole.replace(b"form-data;", b"river bends;"), kind, 400)):
        await post(ears, data, status, headers=more)
    async with ears.session.post(f"{ears.base}/v1/chat/completions", data=form(),
                                 headers={"x-api-key": KEY}) as response:
        assert response.status == 415
    assert await ears.stage() == 200
    assert "river bends" not in ears.worker.output  # what a caller sent is nobody's to read


async def test_a_client_that_leaves_in_the_middle_leaves_nothing_behind(ears):
    async with ears.raw() as wire:
        await wire.head(PATH, Content_Length="20000", Content_Type="multipart/form-data; boundary=b")
        await wire.send(b"--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.wav\"\r\n\r\n" + HEARD)
    hanging = HEARD.replace(b'"text"', b'"hang_at": 1, "text"')
    sending = asyncio.create_task(post(ears, form(hanging)))
    await ears.engine(f"/_scripted/wait?path={PATH}&state=hanging")
    sending.cancel()
    assert await ears.engine(f"/_scripted/wait?path={PATH}&state=disconnected")
    async with ears.raw() as wire:  # a drip is given up
        await wire.head(PATH, Content_Length="20000", Content_Type="multipart/form-data; boundary=b")
        await wire.send(b"--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.wav\"\r\n\r\n" + HEARD)
        assert (await wire.answer())[0] == 408
    assert "Traceback" not in ears.worker.output


async def test_the_engine_may_die_of_it(ears):
    _, text = await post(ears, form(HEARD.replace(b'"text"', b'"die_at": 0, "text"')), 502)
    assert "ended while this job was running" in json.loads(text)["error"]["message"]
    await post(ears, form())  # waits for the next


async def test_openais_client(ears):
    client = openai.AsyncOpenAI(base_url=f"{ears.base}/v1", api_key=KEY, max_retries=0)
    told = await client.audio.transcriptions.create(model="tiny", file=("a.wav", HEARD), language="en")
    assert told.text == "Paris is the capital."
    assert await client.audio.transcriptions.create(model="tiny", file=("a.wav", HEARD), response_format="text"
                                                    ) == "Paris is the capital."
    with pytest.raises(openai.NotFoundError):
        await client.audio.translations.create(model="tiny", file=("a.wav", HEARD))
    with pytest.raises(openai.NotFoundError, match="does not exist"):
        await client.audio.transcriptions.create(model="whisper-1", file=("a.wav", HEARD))


async def test_json_over_http(ears):
    inline = base64.b64encode(HEARD).decode()
    for file in (inline, f"data:audio/wav;base64,{inline}"):
        async with ears.post(PATH, {"model": "tiny", "file": file, "response_format": "text"}) as response:
            assert (response.content_type, await response.text()) == ("text/plain", "Paris is the capital.")
        assert (await seen(ears))["bytes"] == len(HEARD) and (await seen(ears))["content_type"] == "audio/wav"
    for file, words in (("http://127.0.0.1/a.wav", "no public address"), ("/etc/passwd", "folders"), (3, "string"),
                        ("data:audio/wav;base64,a", "base64"), ("data:audio/wav;base64,", "empty"),
                        ("file:///etc/passwd", "folders")):
        async with ears.post(PATH, {"file": file}) as response:
            assert response.status == 400 and words in (await response.json())["error"]["message"], file


async def test_a_model_without_ears_is_not_asked(http):
    _, text = await post(http, form(), 400)
    assert "takes audio" in json.loads(text)["error"]["message"]
    assert not await http.engine(f"/_scripted/requests?path={PATH}")


async def test_from_the_queue(platform):
    inline = base64.b64encode(HEARD).decode()

    async def done(**body):
        return await (await platform.submit({"openai_route": PATH, "openai_input": body})).finished()

    async with WorkerProcess(platform, contract_environ(ENABLE_MULTIMODAL="true")) as worker:
        await worker.connected()
        job = await done(model="tiny", file=inline, response_format="verbose_json")
        assert job.output[0]["text"] == "Paris is the capital."
        job = await done(audio=inline, response_format="text")
        assert "".join(job.output) == "Paris is the capital."
        job = await done(file=inline, stream=True)
        assert "".join(job.output).endswith("data: [DONE]\n\n")
        assert error_of(await done(file="http://127.0.0.1/a.wav"))["param"] == "file"
        job = await (await platform.submit({"openai_route": "/v1/realtime"})).finished()
        assert "WebSocket" in error_of(job)["message"]
