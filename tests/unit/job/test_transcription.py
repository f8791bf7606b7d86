"""Jobs for transcriptions: what of them the engine's form gets, and what is refused."""

import dataclasses

import pytest

from answer.forms import Form, Upload
from job import routes, transcription
from job.media import find
from job.media_reading import formed, raw
from tests.unit.job.test_routes import LORA, PLAIN
from utils import JobError

PATH = transcription.PATH


def planned(known=PLAIN, **body):
    return routes.plan({"route": PATH, "body": {"file": "aGVsbG8=", **body}}, known, "job-1")


async def sent(form: Form) -> str:
    return b"".join([piece async for piece in form.each()]).decode()


async def told(request, content=(b"hello",)) -> dict[str, str]:
    """The fields of the form that a request becomes."""
    form = request.form("audio/wav", content)
    text = await sent(form)
    assert form.size == len(text.encode())
    boundary = form.content_type.partition("boundary=")[2]
    assert text.startswith(f"--{boundary}\r\n") and text.endswith(f"\r\n--{boundary}--\r\n")
    parts = [part.partition("\r\n\r\n") for part in text.split(f"--{boundary}")[1:-1]]
    return {head.partition('name="')[2].partition('"')[0]: value.removesuffix("\r\n") for head, _, value in parts}


async def test_what_the_engine_gets():
    request = planned(model="tiny", language="en", temperature=0.5, response_format="verbose_json", stream=True,
                      timestamp_granularities=["segment"], user="u", unheard_of=3)
    assert (request.method, request.path, request.streams) == ("POST", PATH, True)
    assert await told(request) == {
        "model": "tiny", "language": "en", "temperature": "0.5", "response_format": "verbose_json", "stream": "true",
        "timestamp_granularities[]": "segment", "file": "hello"}
    assert await told(planned()) == {"model": "tiny", "file": "hello"}


async def test_words_that_look_like_json_stay_words():
    request = planned(response_format="text")
    assert (await told(request))["response_format"] == "json"
    assert request.reshape({"text": "123", "usage": {}}) == "123"
    assert planned().reshape({"text": "123"}) == {"text": "123"}


@pytest.mark.parametrize(("body", "field", "code"), [
    ({"model": "whisper-1"}, "model", 404), ({"model": 3}, "model", 400), ({"response_format": "srt"},
    "response_format", 400), ({"temperature": "x"}, "temperature", 400), ({"temperature": 3}, "temperature", 400),
    ({"temperature": True}, "temperature", 400), ({"stream": "perhaps"}, "stream", 400),
    ({"language": "en\r\nX: y"}, "language", 400),
    ({"timestamp_granularities": ["day"]}, "timestamp_granularities", 400),
    ({"timestamp_granularities": []}, "timestamp_granularities", 400), ({"prompt": "x"}, "prompt", 400),
    ({"include": ["logprobs"]}, "include", 400), ({"chunking_strategy": {"type": "server_vad"}}, "chunking_strategy",
    400), ({"file": None}, "file", 400), ({"audio": "aGk="}, "file", 400), ({"file": 3}, "file", 400),
    ({"file": " "}, "file", 400)])
def test_refusals_name_the_field(body, field, code):
    with pytest.raises(JobError) as raised:
        planned(**body)
    assert (raised.value.param, raised.value.code) == (field, code)


def test_what_asks_for_nothing_is_dropped():
    assert planned(prompt="", include=[], chunking_strategy="auto").body == planned().body


def test_no_adapter_and_no_model_without_ears():
    for body in ({"model": "tiny:fine"}, {"lora_path": "fine"}):
        with pytest.raises(JobError, match="no LoRA adapter"):
            planned(LORA, **body)
    with pytest.raises(JobError, match="takes audio"):
        planned(dataclasses.replace(PLAIN, audio=False))


def test_the_file_is_found_as_a_medium():
    assert find(PATH, planned(file="https://x.example/a.mp3").body).references[0].field == "file"
    assert find(PATH, planned().body).changes == {("file",): "data:application/octet-stream;base64,aGVsbG8="}
    with pytest.raises(JobError, match="folders"):
        find(PATH, planned(file="/etc/passwd").body)


@pytest.mark.parametrize(("pieces", "read"), [
    ([b"data:audio/wav;base64,aGVs", b"bG8="], ("audio/wav", b"hello")),
    ([b"data:audio/wav;codecs=1;base64,aGVs\nbG8="], ("audio/wav", b"hello")),
    ([b"data:;base64,aGVsbG8="], ("application/octet-stream", b"hello"))])
def test_a_data_url_is_read(pieces, read):
    kind, content = raw(pieces)
    assert (kind, b"".join(content)) == read


@pytest.mark.parametrize("pieces", [[b"data:audio/wav;base64,"], [b"data:audio/wav,hello"], [b"hello"],
                                    [b"data:audio/wav;base64,a"], [b"data:audio/wav;base64,aGVs!G8="]])
def test_what_is_no_data_url_of_base64_is_refused(pieces):
    with pytest.raises(JobError) as raised:
        raw(pieces)
    assert raised.value.param == "file"


async def test_a_form_is_made_of_a_file_that_was_read():
    form = await formed(planned().form, {}, {("file",): [b"data:audio/mpeg;base64,aGVsbG8="]})
    assert "Content-Type: audio/mpeg\r\n\r\nhello\r\n" in await sent(form)


async def content(*pieces):
    for piece in pieces:
        if isinstance(piece, Exception):
            raise piece
        yield piece


async def test_a_file_that_is_on_its_way_is_sent_once_and_what_follows_it_is_read():
    upload = Upload('a"\r\nb.wav', "audio/wav", content(b"hel", b"lo"), {})
    request = planned(file=upload)
    assert request.form is None and request.upload.size is None and not request.upload.spent
    upload.late |= {"language": ["de"], "timestamp_granularities[]": ["word", "segment"], "response_format": ["text"]}
    text = await sent(request.upload)
    assert request.upload.spent and 'filename="a___b.wav"' in text and "\r\n\r\nhello\r\n" in text
    assert text.count('name="timestamp_granularities[]"') == 2 and 'name="language"\r\n\r\nde' in text
    assert request.reshape({"text": "x"}) == "x"


@pytest.mark.parametrize(("pieces", "late", "code"), [
    ((b"x", JobError("too slow", code=408)), {}, 408), ((b"x",), {"model": ["whisper-1"]}, 404)])
async def test_why_it_broke_off_is_kept(pieces, late, code):
    form = planned(file=Upload("a", "audio/wav", content(*pieces), late)).upload
    with pytest.raises(JobError):
        await sent(form)
    assert form.error.code == code
