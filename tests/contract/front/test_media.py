"""Media in jobs of a worker process: what the engine gets to see, with the worker reading them and without."""

import asyncio
import base64
import json
import urllib.request

import pytest
from aiohttp import web

from tests.worker import WorkerProcess, contract_environ

PNG = b"\x89PNG\r\n\x1a\n" + bytes(64)
DATA = "data:image/png;base64," + base64.b64encode(PNG).decode()
SECRET = "me:hunter2-secret@"


@pytest.fixture
async def inner():
    """A neighbour of the worker: (its address, the requests it got)."""
    seen = []

    async def answer(request):
        seen.append(request.path)
        return web.Response(body=PNG)

    app = web.Application()
    app.router.add_get("/{path:.*}", answer)
    runner = web.AppRunner(app, shutdown_timeout=0)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield runner.addresses[0][1], seen
    await runner.cleanup()


def image(url):
    parts = [{"type": "text", "text": "See."}, {"type": "image_url", "image_url": {"url": url}}]
    return [{"role": "user", "content": parts}]


async def bodies(environ, path):
    """The bodies that the scripted engine got on a path."""
    def ask():
        address = f"http://127.0.0.1:{environ['SGLANG_PORT']}/_scripted/requests?path={path}"
        with urllib.request.urlopen(address, timeout=40) as response:
            return [record["body"] for record in json.load(response)]
    return await asyncio.to_thread(ask)


async def test_private_addresses_and_files_never_reach_the_engine(platform, inner):
    port, seen = inner
    environ = contract_environ()
    own = environ["SGLANG_PORT"]
    url = f"http://{SECRET}127.0.0.1:{port}/a.png?X-Signature=hunter2-secret"
    async with WorkerProcess(platform, environ) as process:
        await process.connected()
        jobs = [
            ({"messages": image(url)}, "messages[0].content[1].image_url.url"),
            ({"messages": image(url), "stream": True}, "messages[0].content[1].image_url.url"),
            ({"openai_route": "/v1/chat/completions", "openai_input": {"messages": image(url)}},
             "messages[0].content[1].image_url.url"),
            ({"text": "a", "image_data": f"http://2130706433:{port}/"}, "image_data"),
            ({"text": "a", "video_data": [f"HTTP://localhost:{own}/flush_cache"]}, "video_data[0]"),
            ({"text": "a", "audio_data": {"url": "http://169.254.169.254/latest/meta-data/"}}, "audio_data.url"),
            ({"text": "a", "image_data": "/etc/passwd"}, "image_data"),
            ({"text": "a", "image_data": "file:///proc/self/environ"}, "image_data"),
            ({"route": "/v1/messages", "body": {"model": "tiny", "max_tokens": 5, "messages": [
                {"role": "user", "content": [{"type": "image", "source": {"type": "url", "url": url}}]}]}},
             "messages[0].content[0].source.url"),
            ({"route": "/v1/embeddings", "body": {"input": [{"image": url}]}}, "input[0].image")]
        for job_input, field in jobs:
            job = await (await platform.submit(job_input)).finished()
            assert job.status == "FAILED", job_input
            error = json.loads(job.error)
            assert (error["code"], error["param"], error["type"]) == (400, field, "invalid_request_error")
            assert "hunter2" not in job.error
        for path in ("/generate", "/v1/chat/completions", "/v1/messages", "/v1/embeddings"):
            assert [body for body in await bodies(environ, path) if "image" in str(body) or "_data" in str(body)] == []
        assert "hunter2" not in process.output
    assert seen == []


async def test_a_file_of_an_opened_folder_reaches_the_engine_as_a_data_url(platform, tmp_path):
    (tmp_path / "a.png").write_bytes(PNG)
    environ = contract_environ(ALLOWED_MEDIA_FOLDERS=str(tmp_path))
    async with WorkerProcess(platform, environ) as process:
        await process.connected()
        job_input = {"text": "a", "image_data": [f"{tmp_path}/a.png", DATA], "sampling_params": {"max_new_tokens": 2}}
        job = await (await platform.submit(job_input)).finished()
        assert job.status == "COMPLETED", job.error
        [body] = [body for body in await bodies(environ, "/generate") if body.get("image_data")]
        assert body["image_data"] == [DATA, DATA]


async def test_the_engine_gets_addresses_as_they_are_where_that_was_asked_for(platform, inner):
    port, _ = inner
    environ = contract_environ(MEDIA_FETCH="engine")
    async with WorkerProcess(platform, environ) as process:
        await process.connected()
        assert "SECURITY.md" in await process.line("MEDIA_FETCH=engine")
        media = [f"http://127.0.0.1:{port}/a.png", "/etc/hostname"]
        job_input = {"text": "a", "image_data": media, "sampling_params": {"max_new_tokens": 2}}
        job = await (await platform.submit(job_input)).finished()
        assert job.status == "COMPLETED", job.error
        [body] = [body for body in await bodies(environ, "/generate") if body.get("image_data")]
        assert body["image_data"] == media


async def test_a_job_stopped_in_the_middle_of_a_post_lets_go_of_all_it_holds(platform, tmp_path):
    (tmp_path / "a.png").write_bytes(PNG)
    environ = contract_environ(ALLOWED_MEDIA_FOLDERS=str(tmp_path), MAX_MEDIA_MB="1", MEDIA_MEMORY_MB="1",
                               MEDIA_FETCH_TIMEOUT="600")
    job_input = {"text": "a", "image_data": f"{tmp_path}/a.png", "stream": True,
                 "sampling_params": {"max_new_tokens": 8}}
    async with WorkerProcess(platform, environ) as process:
        await process.connected()
        for _ in range(20):  # the memory is enough for one
            platform.post_delay_ms, posted = 600_000, platform.begun["job-stream"]
            job = await platform.submit(job_input)
            await platform.wait_for(lambda posted=posted: platform.begun["job-stream"] > posted, 120)
            await platform.cancel(job.id)
        platform.post_delay_ms = 0
        job = await (await platform.submit(job_input)).finished(120)
        assert job.status == "COMPLETED", job.error
        process.process.terminate()
        assert await process.ended(120) == 0
        assert "internal error" not in process.output and "Traceback" not in process.output
