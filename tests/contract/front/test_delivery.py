"""What is posted, over real sockets: whole, in time, again when it has to be, and within the platform's limits."""

import asyncio
import json
from types import SimpleNamespace

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from clock import awake
from front.queue import delivery
from front.queue.delivery import CHUNK_LIMIT, RESULT_LIMIT, Chunk, Delivery, parts, streams

JOB = {"id": "job-1", "input": {"text": "Hi"}}
STREAM = {"id": "job-2", "input": {"text": "Hi", "stream": True}}


class Site:
    """A platform that answers each POST with the next of `statuses`, the last of them for ever; None never answers,
    "drop" breaks the connection after the body was read."""

    def __init__(self, *statuses):
        self.statuses = list(statuses) or [200]
        self.posts = []
        self.arrived = asyncio.Event()

    async def take(self, request):
        body = await request.read()
        self.posts.append(SimpleNamespace(kind=request.match_info["kind"], body=body, headers=dict(request.headers),
                                          job=request.match_info["job"], query=dict(request.query)))
        self.arrived.set()
        status = self.statuses.pop(0) if len(self.statuses) > 1 else self.statuses[0]
        if status is None:
            await asyncio.Event().wait()
        if status == "drop":
            request.transport.abort()
        return web.Response(status=200 if status == "drop" else status)

    @property
    def bodies(self):
        return [json.loads(post.body) for post in self.posts]


@pytest.fixture
async def opened(monkeypatch):
    """opened(*statuses) -> (site, delivery, session)."""
    closing = []
    monkeypatch.setattr(delivery, "_PAUSES", (0.0, 0.0, 0.0))

    async def open_(*statuses):
        site = Site(*statuses)
        app = web.Application(client_max_size=2**26)
        app.router.add_post("/{kind}/{job}", site.take)
        server = TestServer(app)
        await server.start_server()
        session = aiohttp.ClientSession()
        closing.extend((session.close, server.close))
        for name, kind in (("JOB_DONE_URL", "done"), ("JOB_STREAM_URL", "stream")):
            monkeypatch.setattr(delivery, name, str(server.make_url(f"/{kind}/")) + "$ID?gpu=x")
        return site, Delivery(), session

    yield open_
    for close in closing:
        await close()


# ------------------------------------------------------------------ whole
@pytest.mark.parametrize("text", ["", "a", "é\n€😀" * 200_000, "a" * (2**15 + 1), "a" * 2**16, "\ud800" * 2**16])
async def test_a_post_arrives_whole_whatever_its_size_also_when_it_is_repeated(opened, text):
    site, posts, session = await opened(502, 200)
    await posts.result(session, {"output": [text]}, JOB)
    expected = json.dumps({"output": [text]}, ensure_ascii=False).encode("utf-8", "replace")
    assert [post.body for post in site.posts] == [expected] * 2
    for post in site.posts:
        assert post.headers["Content-Length"] == str(len(expected)) and "Transfer-Encoding" not in post.headers
        assert post.headers["Content-Type"] == "application/x-www-form-urlencoded"
        assert post.headers["X-Request-ID"] == "job-1" and (post.kind, post.job) == ("done", "job-1")


async def test_each_post_carries_its_own_jobs_id_also_when_it_is_repeated(opened):
    site, posts, session = await opened(500, 500, 500, 500, 200)
    jobs = [{"id": f"job-{i}", "input": {}} for i in range(3)]
    await asyncio.gather(*(posts.result(session, {"output": []}, job) for job in jobs))
    assert all(post.headers["X-Request-ID"] == post.job for post in site.posts) and len(site.posts) == 7


def test_a_chunk_is_text_whose_picture_is_short():
    chunk = Chunk("data: é\n\n")
    assert chunk == "data: é\n\n" and json.dumps({"output": chunk}, ensure_ascii=False) == '{"output": "data: é\\n\\n"}'
    assert f"{({'output': chunk})}" == "{'output': <9 characters>}" and f"{chunk}" == "<9 characters>"
    assert "".join([chunk, chunk]) == "data: é\n\ndata: é\n\n"


# ------------------------------------------------------------------ once
async def test_a_whole_answer_is_the_result_alone(opened):
    site, posts, session = await opened()
    await posts.stream(session, {"output": {"text": "Hi"}}, JOB)
    await posts.result(session, {"output": [{"text": "Hi"}]}, JOB, is_stream=True)
    assert [(post.kind, post.query) for post in site.posts] == [("done", {"gpu": "x", "isStream": "false"})]
    assert site.bodies == [{"output": [{"text": "Hi"}]}]


async def test_a_stream_is_posted_in_chunks_and_as_a_result(opened):
    site, posts, session = await opened()
    for text in ("a", "b"):
        await posts.stream(session, {"output": Chunk(text)}, STREAM)
    await posts.result(session, {"output": [Chunk("a"), Chunk("b")]}, STREAM, is_stream=True)
    assert [(post.kind, post.query["isStream"]) for post in site.posts] == [
        ("stream", "false"), ("stream", "false"), ("done", "true")]
    assert site.bodies == [{"output": "a"}, {"output": "b"}, {"output": ["a", "b"]}]


@pytest.mark.parametrize("size, shown", [(10, ["stream", "done"]), (CHUNK_LIMIT, ["done"])])
async def test_a_whole_answer_to_a_job_that_wants_a_stream_never_fails_it(opened, size, shown):
    site, posts, session = await opened(413, 200)
    if shown == ["done"]:
        site.statuses = [200]
    await posts.stream(session, {"output": {"text": "a" * size}}, STREAM)
    assert not posts.holed()
    await posts.result(session, {"output": [{"text": "a" * size}]}, STREAM, is_stream=True)
    assert [post.kind for post in site.posts] == shown


@pytest.mark.parametrize("job_input, expected", [
    ({"text": "a", "stream": True}, True), ({"openai_route": "/v1/x", "openai_input": {"stream": True}}, True),
    ({"route": "/generate", "body": {"stream": True}}, True), ({"text": "a"}, False), ({"stream": "yes"}, False),
    ({"stream": False, "openai_input": None}, False), (None, False), ("stream", False), ({"openai_input": []}, False)])
def test_which_jobs_ask_for_a_stream(job_input, expected):
    assert streams({"id": "a", "input": job_input}) is expected


# ------------------------------------------------------------------ in time
@pytest.mark.parametrize("failure", [500, 503, 408, 425, 429, "drop", None])
async def test_what_fails_is_tried_again(opened, monkeypatch, failure):
    monkeypatch.setattr(delivery, "_POST_LIMIT", 0.5)
    site, posts, session = await opened(failure, failure, 200)
    await posts.result(session, {"output": ["a"]}, JOB)
    assert site.bodies == [{"output": ["a"]}] * 3 and posts.answered(asyncio.current_task(), 0.0)


async def test_when_a_result_was_posted_is_known(opened):
    site, posts, session = await opened()
    before = awake()
    await posts.result(session, {"output": ["a"]}, JOB)
    task = asyncio.current_task()
    assert posts.answered(task, before) and not posts.answered(task, awake())


async def test_what_keeps_failing_is_given_up_and_the_stream_has_a_hole(opened):
    site, posts, session = await opened(500)
    await posts.stream(session, {"output": Chunk("a")}, STREAM)
    assert posts.holed() and len(site.posts) == 4
    await posts.result(session, {"output": ["a"]}, STREAM)
    assert not posts.answered(asyncio.current_task(), 0.0)


async def test_a_chunk_that_is_refused_is_not_tried_again(opened):
    site, posts, session = await opened(400)
    await posts.stream(session, {"output": Chunk("a")}, STREAM)
    assert posts.holed() and len(site.posts) == 1


async def test_a_post_that_is_never_answered_is_given_up(opened, monkeypatch):
    monkeypatch.setattr(delivery, "_POST_LIMIT", 0.05)
    monkeypatch.setattr(delivery, "_GIVE_UP", 0.0)
    site, posts, session = await opened(None)
    await posts.stream(session, {"output": Chunk("a")}, STREAM)
    assert posts.holed() and len(site.posts) == 1


async def test_hurry_shortens_a_post_under_way_and_those_to_come(opened):
    site, posts, session = await opened(None)
    pending = asyncio.create_task(posts.stream(session, {"output": Chunk("a")}, STREAM))
    await site.arrived.wait()
    posts.hurry(0.05)
    await pending
    assert len(site.posts) == 1
    await posts.stream(session, {"output": Chunk("b")}, STREAM)
    assert len(site.posts) == 2
    site.statuses = [500, None, 200]  # what is answered is tried again, and a result in any case
    await posts.result(session, {"output": ["a"]}, STREAM)
    assert posts.answered(asyncio.current_task(), 0.0)


async def test_in_a_hurry_a_result_that_gets_no_answer_is_posted_once_more(opened):
    site, posts, session = await opened(None, 200)
    pending = asyncio.create_task(posts.result(session, {"output": ["a"]}, STREAM))
    await site.arrived.wait()
    posts.hurry(0.5)
    await pending
    assert len(site.posts) == 2

    site.statuses = [None]
    await posts.result(session, {"output": ["a"]}, STREAM)
    assert len(site.posts) == 4  # and not for ever


# ------------------------------------------------------------------ within the limits
def whole(text):
    return "".join(parts(text))


@pytest.mark.parametrize("event", ["data: {}\n\n", 'data: {"text": "' + '\\"é\\n' * 50 + '"}\n\n', "data: €\n\n"])
def test_a_chunk_that_grows_in_json_is_cut_between_events(event):
    text = event * (CHUNK_LIMIT // len(event))
    pieces = list(parts(text))
    assert len(pieces) > 1 and "".join(pieces) == text
    for piece in pieces:
        assert len(json.dumps({"output": piece}, ensure_ascii=False).encode()) <= CHUNK_LIMIT
        assert piece.endswith("\n\n") and piece.startswith("data:") and isinstance(piece, Chunk)


@pytest.mark.parametrize("letter", ["a", "\x01", '"', "é", "😀"])
def test_one_event_over_the_limit_is_cut_within(letter):
    text = "data: " + letter * CHUNK_LIMIT + "\n\n"
    pieces = list(parts(text))
    assert "".join(pieces) == text
    assert all(len(json.dumps({"output": piece}, ensure_ascii=False).encode()) <= CHUNK_LIMIT for piece in pieces)


def test_small_chunks_and_chunks_just_within_the_limit_stay_whole():
    for text in ("", "a", "data: a\n\n" * 3, "a" * (CHUNK_LIMIT - len('{"output": ""}'))):
        assert list(parts(text)) == [text]


def within(letter):
    """The longest text of this letter that passes as a result."""
    size = len(json.dumps(letter, ensure_ascii=False).encode()) - 2
    return letter * ((RESULT_LIMIT - len('{"output": [""]}')) // size)


@pytest.mark.parametrize("letter", ["a", '"', "\n", "\x01", "é", "😀"])
async def test_a_result_is_judged_by_the_bytes_of_its_body(opened, letter):
    site, posts, session = await opened()
    text = within(letter)
    await posts.result(session, {"output": [text]}, JOB)
    assert len(site.posts[0].body) <= RESULT_LIMIT and site.bodies[0] == {"output": [text]}
    await posts.result(session, {"output": [text + letter]}, JOB)
    assert len(site.posts) == 2 and len(site.posts[1].body) < 1000
    error = json.loads(site.bodies[1]["error"])
    assert error["code"] == 413 and error["job_id"] == "job-1" and "20 MB" in error["message"]


@pytest.mark.parametrize("status", [400, 413])
async def test_a_result_that_is_refused_fails_its_job_instead_of_leaving_it_open(opened, status):
    site, posts, session = await opened(status, 200)
    await posts.result(session, {"output": ["a"]}, JOB)
    assert site.bodies[0] == {"output": ["a"]} and json.loads(site.bodies[1]["error"])["code"] == status
    assert len(site.posts) == 2


async def test_an_error_that_is_refused_is_not_followed_by_another(opened):
    site, posts, session = await opened(404)
    await posts.result(session, {"error": "no"}, JOB)
    assert len(site.posts) == 1 and not posts.answered(asyncio.current_task(), 0.0)


async def test_a_post_under_way_at_a_thaw_is_made_again_soon(opened, monkeypatch):
    monkeypatch.setattr(delivery, "_GRACE", 0.05)
    monkeypatch.setattr(delivery, "_POST_LIMIT", 3600.0)
    site, posting, session = await opened(None, 200)
    delivering = asyncio.create_task(posting.stream(session, {"output": "data: 1\n\n"}, STREAM))
    await site.arrived.wait()
    posting.thawed()
    await delivering
    assert site.bodies == [{"output": "data: 1\n\n"}] * 2 and not posting._open


async def test_a_post_that_is_answered_within_its_grace_is_made_once(opened):
    site, posting, session = await opened(200)
    delivering = asyncio.create_task(posting.result(session, {"output": ["done"]}, JOB))
    await site.arrived.wait()
    posting.thawed()
    await delivering
    assert site.bodies == [{"output": ["done"]}]


async def test_a_thaw_gives_no_attempt_more_than_it_had(opened, monkeypatch):
    monkeypatch.setattr(delivery, "_POST_LIMIT", 0.05)
    monkeypatch.setattr(delivery, "_GRACE", 3600.0)
    site, posting, session = await opened(None, 200)
    delivering = asyncio.create_task(posting.result(session, {"output": ["done"]}, JOB))
    await site.arrived.wait()
    posting.thawed()
    await delivering
    assert len(site.posts) == 2
