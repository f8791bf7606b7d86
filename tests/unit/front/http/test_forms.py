"""Forms with a file, read from the connection, with a function in place of the worker."""

import random

import pytest
from aiohttp.test_utils import TestClient, TestServer

from answer.forms import Upload
from job.transcription import PATH
from tests.unit.front.http.test_server import front_of

pytestmark = pytest.mark.filterwarnings("ignore::aiohttp.BadContentDispositionHeader",
                                        "ignore::aiohttp.BadContentDispositionParam")
FILE = b"--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.wav\"\r\nContent-Type: audio/wav\r\n\r\n"
FIELD = b"--b\r\nContent-Disposition: form-data; name=\"%s\"\r\n\r\n%s\r\n"
HEARD = b"RIFF\x24\0\0\0WAVE" + b"how the river bends " * 20
WHOLE = FIELD % (b"model", b"tiny") + FILE + HEARD + b"\r\n" + FIELD % (b"language", b"en") + b"--b--\r\n"
PIECES = [b"--b", b"--b--", b"\r\n", b"\r\n\r\n", b"Content-Length: 3\r\n", b"Content-Transfer-Encoding: base64\r\n",
          b"Content-Encoding: gzip\r\n", b"Content-Type: multipart/mixed; boundary=c\r\n", b'name=""', b"\0",
          b"\xff\xfe", b"filename*=utf-8''x", b"--", b":", b'"', b"\x17"]


async def heard(job_input, job_id):
    body = job_input["body"]
    file = body.pop("file", None)
    if isinstance(file, Upload):
        body["size"] = len(b"".join([piece async for piece in file.content]))
        body |= {"late": file.late, "name": file.name, "kind": file.media_type}
    yield body


@pytest.fixture
async def post():
    async with TestClient(TestServer(front_of(heard).app())) as client:
        async def send(data, kind="multipart/form-data; boundary=b", path=PATH):
            async with client.post(path, data=data, headers={"Content-Type": kind}) as response:
                return response.status, await response.json()
        yield send


async def test_what_stands_before_the_file_and_behind_it(post):
    status, body = await post(WHOLE)
    assert status == 200 and body == {"model": "tiny", "language": "en", "size": len(HEARD), "name": "a.wav",
                                      "kind": "audio/wav", "late": {"language": ["en"]}}
    status, body = await post(FIELD % (b"stream", b"true") + FIELD % (b"a[]", b"1") + FIELD % (b"a[]", b"2") + b"--b--")
    assert (status, body) == (200, {"stream": True, "a[]": ["1", "2"]})


@pytest.mark.parametrize(("data", "words"), [
    (WHOLE[:-40], "not whole"), (b"", "not whole"), (FILE + b"\r\n--b--\r\n", "empty"),
    (FILE + b"x\r\n" + FILE + b"x\r\n--b--\r\n", "second file"), (FILE + b"#EXTM3U\nx\r\n--b--\r\n", "playlist"),
    (FIELD % (b"stream", b"maybe") + b"--b--", "`stream`"), (FIELD % (b"x", b"y" * 70_000) + b"--b--", "too long"),
    (FIELD % (b"x", b"y") * 70 + b"--b--", "not whole"), (FIELD % (b"_charset_", b"u" * 60) + b"--b--", "not whole")])
async def test_what_is_no_form_is_refused_in_words(post, data, words):
    status, told = await post(data)
    assert status == 400 and words in told["error"]["message"]


async def test_a_form_is_taken_where_one_belongs(post):
    assert (await post(WHOLE, path="/v1/chat/completions"))[0] == 415
    assert (await post(WHOLE, path="/v1/audio/translations"))[0] == 404
    assert (await post(WHOLE, kind="multipart/form-data"))[0] == 400
    assert (await post(WHOLE, kind="multipart/mixed; boundary=b"))[0] == 400  # no JSON


async def test_whatever_is_wrong_with_a_form_is_its_senders_fault(post):
    chance = random.Random(7)
    for _ in range(400):
        data = bytearray(WHOLE)
        for _ in range(chance.randint(1, 4)):
            at, kind = chance.randrange(len(data)), chance.random()
            if kind < 0.3:
                del data[at:at + chance.randint(1, 40)]
            elif kind < 0.7:
                data[at:at] = chance.choice(PIECES)
            else:
                data[at] = chance.randrange(256)
        status, told = await post(bytes(data))
        assert status in (200, 400), (told, bytes(data))
