"""One job's media: read when its request is sent, once, within the memory that all jobs share."""

import asyncio
import base64
import contextlib
import json
import math
import types

import pytest

from answer.request import Request
from job.media_reading import MediaReader
from settings.media import MediaSettings
from utils import JobError


class Fetched:
    """A client that gives every address as many bytes as `size` says, when `open` is set."""

    def __init__(self, size=3, **settings):
        self.size, self.settings, self.asked, self.open = size, settings, [], asyncio.Event()
        self.open.set()
        self.reached = asyncio.Event()

    async def fetch(self, wanted, allowance):
        self.asked += wanted
        self.reached.set()
        await self.open.wait()
        for entry in wanted:
            allowance.spend(self.size * entry.uses)
        return {entry.address: [b"data:image/png;base64,", entry.address[-1].encode(), b"AAA"] for entry in wanted}


def reader(fetched, **settings):
    return MediaReader(MediaSettings(**settings), lambda **given: fetched.settings.update(given) or fetched)


def native(*images, **fields):
    return Request("POST", "/generate", {"text": "a", "image_data": list(images), **fields})


async def test_a_request_without_media_stays_what_it_is():
    for request in (native("data:image/png;base64,AAAA"), Request("GET", "/v1/models"),
                    Request("POST", "/generate", {})):
        with contextlib.ExitStack() as held:
            ready = await reader(Fetched()).of(request, held)
            assert ready is request or ready.body is request.body
            assert ready.prepare is None


async def test_base64_is_marked_as_such_without_any_reading():
    with contextlib.ExitStack() as held:
        ready = await reader(Fetched()).of(native("QUJD"), held)
        assert ready.prepare is None
        assert ready.body["image_data"] == ["data:application/octet-stream;base64,QUJD"]


async def test_addresses_become_data_urls_once_however_often_the_request_is_sent():
    fetched = Fetched()
    request = native("http://x/1", ["http://x/2", "http://x/1"], "QUJD")
    with contextlib.ExitStack() as held:
        ready = await reader(fetched).of(request, held)
        assert fetched.asked == [] and ready.body is request.body
        pieces = await ready.prepare()
        body = json.loads(bytes(pieces))
        assert {**body, "image_data": 0} == {**request.body, "image_data": 0}
        assert body["image_data"] == [
            "data:image/png;base64,1AAA", ["data:image/png;base64,2AAA", "data:image/png;base64,1AAA"],
            "data:application/octet-stream;base64,QUJD"]
        assert await ready.prepare() is pieces
    assert [(entry.address, entry.field, entry.uses) for entry in fetched.asked] == [
        ("http://x/1", "image_data[0]", 2), ("http://x/2", "image_data[1][0]", 1)]
    assert request.body["image_data"][0] == "http://x/1"


async def test_numbers_that_json_lacks_are_refused_here_too():
    with contextlib.ExitStack() as held:
        ready = await reader(Fetched()).of(native("http://x/1", sampling_params={"temperature": math.nan}), held)
        with pytest.raises(JobError, match="NaN"):
            await ready.prepare()


async def test_inline_audio_gets_base64_alone():
    part = {"type": "input_audio", "input_audio": {"data": "http://x/1", "format": "wav"}}
    request = Request("POST", "/v1/chat/completions", {"messages": [{"role": "user", "content": [part]}]})
    with contextlib.ExitStack() as held:
        ready = await reader(Fetched()).of(request, held)
        body = json.loads(bytes(await ready.prepare()))
    assert body["messages"][0]["content"][0]["input_audio"] == {"data": "1AAA", "format": "wav"}


async def test_the_engine_reads_them_itself_where_that_was_asked_for():
    request = native("http://127.0.0.1/1", "/etc/passwd")
    with contextlib.ExitStack() as held:
        ready = await reader(Fetched(), by_engine=True).of(request, held)
        assert ready is request


async def test_a_large_request_is_searched_beside_the_event_loop():
    turns = 0

    async def others():
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    task = asyncio.create_task(others())
    await asyncio.sleep(0)
    before = turns
    with contextlib.ExitStack() as held:
        ready = await reader(Fetched()).of(native("QUJD" * 100_000, "http://x/1"), held)
        assert turns > before + 1 and ready.prepare
    task.cancel()


async def test_too_many_are_refused_before_anything_is_fetched():
    fetched = Fetched()
    with (pytest.raises(JobError, match=r"names 3 media by address; the limit is 2 \(MAX_MEDIA_ITEMS\)") as caught,
          contextlib.ExitStack() as held):
        await reader(fetched, items=2).of(native("http://x/1", "http://x/2", "http://x/1"), held)
    assert (caught.value.code, caught.value.param, fetched.asked) == (400, "image_data[0]", [])


async def test_the_settings_reach_the_client():
    fetched = Fetched()
    reader(fetched, file_bytes=7, seconds=2.5, redirects=1, domains=("a.example",))
    assert fetched.settings == {"file_bytes": 7, "seconds": 2.5, "redirects": 1, "domains": ("a.example",)}


@pytest.mark.parametrize(("told", "domains", "size"), [
    (b'{"allowed_media_domains": ["b.example"], "media_url_max_file_size_mb": 0}', ("b.example",), 0),
    (b'{"allowed_media_domains": [], "media_url_max_file_size_mb": 3}', ("a.example",), 3 * 2**20),
    (b'{"media_url_max_file_size_mb": true}', ("a.example",), 7), (b"[1]", ("a.example",), 7),
    (b"", ("a.example",), 7)])
def test_the_server_may_have_its_own_domains_and_size(told, domains, size):
    fetched = Fetched()
    jobs = reader(fetched, file_bytes=7, domains=("a.example",))
    jobs.learn(types.SimpleNamespace(get=lambda path: (200, told if path == "/server_info" else b"")))
    assert (fetched.settings["domains"], fetched.settings["file_bytes"]) == (domains, size)


async def test_a_job_waits_for_memory_and_all_of_it_comes_back():
    fetched = Fetched(size=100)
    jobs = reader(fetched, job_bytes=1000, memory_bytes=1500)
    fetched.open.clear()
    with contextlib.ExitStack() as held:
        first = await jobs.of(native("http://x/1"), held)
        second = await jobs.of(native("http://x/2"), held)
        one = asyncio.create_task(first.prepare())
        await fetched.reached.wait()
        fetched.reached.clear()
        two = asyncio.create_task(second.prepare())
        for _ in range(5):
            await asyncio.sleep(0)
        assert [entry.address for entry in fetched.asked] == ["http://x/1"]  # the second one waits: 2,000 is too much
        fetched.open.set()
        await one
        await two  # 100 are held, the rest was given back
        assert jobs.room.free == 1300
    assert jobs.room.free == 1500


async def test_a_job_reserves_no_more_than_its_media_may_have():
    fetched = Fetched(size=100)
    fetched.open.clear()
    jobs = reader(fetched, job_bytes=1000, memory_bytes=1000, file_bytes=200)
    with contextlib.ExitStack() as held:
        first = await jobs.of(native("http://x/1", "http://x/2"), held)
        second = await jobs.of(native("http://x/3"), held)
        tasks = [asyncio.create_task(first.prepare()), asyncio.create_task(second.prepare())]
        while len(fetched.asked) < 3:
            fetched.reached.clear()
            await fetched.reached.wait()
        assert jobs.room.free == 1000 - 400 - 200
        fetched.open.set()
        await asyncio.gather(*tasks)
        assert jobs.room.free == 1000 - 200 - 100
    assert jobs.room.free == 1000


@pytest.mark.parametrize("ending", ["fails", "cancelled", "left"])
async def test_however_a_job_ends_its_memory_comes_back(ending):
    fetched = Fetched(size=2000 if ending == "fails" else 100)
    fetched.open.clear()
    jobs = reader(fetched, job_bytes=1000, memory_bytes=1000)
    with contextlib.ExitStack() as held:
        ready = await jobs.of(native("http://x/1"), held)
        waiting = await jobs.of(native("http://x/2"), held)
        task, other = asyncio.create_task(ready.prepare()), asyncio.create_task(waiting.prepare())
        await fetched.reached.wait()
        if ending == "fails":
            fetched.open.set()
            with pytest.raises(Exception):  # noqa: B017  the client's own refusal
                await task
        elif ending == "cancelled":
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            fetched.open.set()
        else:
            fetched.open.set()
            await task
        if ending == "cancelled":
            await other  # what the first gave back is enough for it
        other.cancel()
    await asyncio.gather(task, other, return_exceptions=True)
    assert jobs.room.free == 1000


async def test_files_of_opened_folders(tmp_path):
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    opened = reader(Fetched(), folders=(str(tmp_path),), job_bytes=20)
    with contextlib.ExitStack() as held:
        ready = await opened.of(native(f"{tmp_path}/a.png", f"file://{tmp_path}/a.png"), held)
        body = json.loads(bytes(await ready.prepare()))
    assert body["image_data"] == ["data:image/png;base64," + base64.b64encode(b"\x89PNG\r\n\x1a\n").decode()] * 2
    for images, says in (([f"{tmp_path}/b.png"], "cannot be read"), ([f"{tmp_path}/a.png"] * 3, "MAX_MEDIA_MB")):
        with contextlib.ExitStack() as held:
            ready = await opened.of(native(*images), held)
            with pytest.raises(JobError, match=says) as caught:
                await ready.prepare()
            assert (caught.value.code, caught.value.param) == (400, "image_data[0]")
    (tmp_path / "list").write_text("#EXTM3U\nhttp://127.0.0.1/")
    with contextlib.ExitStack() as held:
        ready = await opened.of(native(f"{tmp_path}/list"), held)
        with pytest.raises(JobError):
            await ready.prepare()
    assert opened.room.free == opened.room.total
