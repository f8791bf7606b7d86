"""Transcriptions: the form that the worker makes, read by SGLang's own route; and a model that hears nothing."""

import base64
import json

import pytest

from answer.forms import Upload
from job import transcription
from local import corpus
from tests.e2e.test_flag_snapshot import run
from tests.unit.job.test_routes import PLAIN
from tests.worker import error_of

__all__ = ["run"]

# The route of the server's own application, with something in place of what would transcribe.
_READ = """
import asyncio, json, sys
import httpx
from sglang.srt.entrypoints.http_server import app

class Heard:
    async def create_transcription(self, audio_data, raw_request, **fields):
        return {**fields, "audio": audio_data.decode()}

async def main():
    app.state.openai_serving_transcription = Heard()
    told = []
    for kind, path in json.loads(sys.argv[1]):
        async def pieces():
            with open(path, "rb") as f:
                while piece := f.read(50):
                    yield piece
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://engine") as client:
            answer = await client.post("/v1/audio/transcriptions", content=pieces(), headers={"Content-Type": kind})
            told.append([answer.status_code, answer.json()])
    print(json.dumps(told))

asyncio.run(main())
"""
ASKED = {"language": "en", "temperature": 0.5, "response_format": "verbose_json", "stream": True,
         "timestamp_granularities": ["word", "segment"]}
READ = {"audio": "how the river bends", "model": "tiny", "language": "en", "temperature": 0.5,
        "response_format": "verbose_json", "stream": True, "timestamp_granularities": ["word", "segment"]}


async def _river():
    for piece in (b"how the ", b"river bends"):
        yield piece


async def test_the_engine_reads_the_form_as_it_was_meant(run, tmp_path):
    held = transcription.planned({"file": "aGk=", **ASKED}, PLAIN).form("audio/wav", [b"how the river", b" bends"])
    late = {name: [str(value)] for name, value in ASKED.items() if name != "timestamp_granularities"}
    upload = Upload('"r\u00edver\r\n.wav', "audio/wav", _river(),
                    {**late, "timestamp_granularities[]": ["word", "segment"]})
    passing = transcription.planned({"file": upload}, PLAIN).upload
    forms = []
    for number, form in enumerate((held, passing)):
        path = tmp_path / str(number)
        path.write_bytes(b"".join([piece async for piece in form.each()]))
        forms.append((form.content_type, str(path)))
    done = run("-c", _READ, json.dumps(forms))
    assert done.returncode == 0, done.stderr[-2000:]
    assert json.loads(done.stdout.splitlines()[-1]) == [[200, READ]] * 2


@pytest.mark.asyncio(loop_scope="session")
async def test_a_model_without_ears_is_not_asked(platform, worker):
    asked = {"model": corpus.SERVED_NAME, "file": base64.b64encode(b"RIFF\x24\0\0\0WAVEfmt ").decode()}
    submitted = await platform.submit({"openai_route": transcription.PATH, "openai_input": asked})
    error = error_of(await submitted.finished(60))
    assert error["code"] == 400 and "takes audio" in error["message"], error
