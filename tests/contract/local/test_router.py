"""SGLang's router before two workers with scripted engines, with the options of docker-compose.router.yml."""

import asyncio
import signal

import aiohttp
import openai
import pytest

from local.router import Router
from tests.contract.front.http_worker import CHAT, KEY, start
from tests.documents import ROOT
from tests.support import say, until

__all__ = ["start"]

ONE, OTHER = "One conversation begins so. " * 20, "Another one begins in its own way. " * 20
PAGE = (ROOT / "docs/deploying/router.md").read_text(encoding="utf-8")
HI = [{"role": "user", "content": "Hi"}]
# (method, route, body, the status that the router's caller gets): the table of the page.
ROUTES = [
    ("POST", CHAT, {"model": "tiny", "messages": HI}, 200),
    ("POST", CHAT, {"model": "tiny", "messages": HI, "stream": True}, 200),
    ("POST", CHAT, {"messages": HI}, 404),
    ("POST", "/v1/completions", {"model": "tiny", "prompt": "Hi"}, 200),
    ("POST", "/generate", {"text": "Hi", "stream": True}, 200),
    ("POST", "/generate", {"text": ["Hi", "Ho"]}, 422),
    ("GET", "/v1/models", None, 200),
    ("GET", "/v1/models/tiny", None, 404),
    ("POST", "/v1/messages", {"model": "tiny", "max_tokens": 5, "messages": HI}, 404),
    ("POST", "/v1/messages/count_tokens", {"model": "tiny", "messages": HI}, 404),
    ("POST", "/v1/rerank", {"model": "tiny", "query": "a", "documents": ["b"]}, 404),
    ("POST", "/v1/score", {"model": "tiny", "query": "a", "items": ["b"], "label_token_ids": [1]}, 404),
    ("POST", "/v1/tokenize", {"model": "tiny", "prompt": "Hi"}, 400),
    ("POST", "/v1/audio/transcriptions", {"model": "tiny"}, 404),
    ("GET", "/v1/realtime", None, 404),
    ("POST", "/api/chat", {"model": "tiny", "messages": HI}, 404),
    ("GET", "/", None, 404),
]
LOST = {"cache_salt": "tenant", "extra_key": "tenant", "priority": 1, "stop_regex": "x", "custom_params": {"a": 1},
        "user": "somebody"}


class Pair:
    """Two workers (`Http` of tests/contract/front/http_worker.py), the router before them, and a client of it."""

    def __init__(self, workers, router, client):
        self.workers, self.router, self.client = workers, router, client

    async def ask(self, script, text="", **more):
        """The text of a whole answer."""
        told = await self.client.chat.completions.create(model="tiny", messages=say(script, text), **more)
        return told.choices[0].message.content

    async def stream(self, script, text=""):
        """The text of an answer that came in pieces."""
        return "".join([piece async for piece in self.pieces(script, text)])

    async def pieces(self, script, text=""):
        told = await self.client.chat.completions.create(model="tiny", messages=say(script, text), stream=True)
        async for chunk in told:
            yield chunk.choices[0].delta.content or ""

    async def seen(self, **query):
        """How many chats each worker's engine has seen, the worker's own warm-up included."""
        words = "".join(f"&{name}={value}" for name, value in query.items())
        return [len(await worker.engine(f"/_scripted/requests?path={CHAT}{words}")) for worker in self.workers]

    async def has(self, count, **query):
        """Whether they are so many in all."""
        return sum(await self.seen(**query)) == count

    async def held(self, text, count=1):
        """(whose, tasks): `count` requests that hang in one worker, and in which."""
        before = await self.seen(state="hanging")
        tasks = [asyncio.create_task(self.ask({"hang_at": 1, "text": "Paris."}, text)) for _ in range(count)]
        await until(lambda: self.has(sum(before) + count, state="hanging"))
        now = await self.seen(state="hanging")
        return [one - other for one, other in zip(now, before, strict=True)], tasks

    async def release(self, *workers):
        for worker in workers or self.workers:
            url = f"http://127.0.0.1:{worker.worker.environ['SGLANG_PORT']}/_scripted/release"
            async with worker.session.post(url) as response:
                assert response.status == 200

    async def answered_by(self, text):
        """Which worker answers a request that begins so."""
        before = await self.seen()
        assert await self.ask({"text": "Paris."}, text) == "Paris."
        return [one - other for one, other in zip(await self.seen(), before, strict=True)].index(1)


@pytest.fixture
async def pair(start, tmp_path):
    workers = [await start(DRAIN_TIMEOUT="120"), await start(DRAIN_TIMEOUT="120")]
    for worker in workers:
        await worker.becomes(200)
    async with Router([worker.base for worker in workers], KEY, tmp_path / "router.log") as router, openai.AsyncOpenAI(
            base_url=f"{router.url}/v1", api_key=KEY, max_retries=0, timeout=120) as client:
        await router.sees(*[worker.base for worker in workers])
        yield Pair(workers, router, client)


async def apart(pair):
    """Has ONE at a worker and OTHER at the other; returns whose is which."""
    counts, one = await pair.held(ONE)
    others, other = await pair.held(OTHER)
    assert sorted([counts, others]) == [[0, 1], [1, 0]], "the second went where there was less to do"
    await pair.release()
    assert await asyncio.gather(*one, *other) == ["Paris.", "Paris."]
    return counts.index(1), others.index(1)


async def test_a_conversation_comes_back_to_the_worker_that_knows_its_beginning(pair):
    one, other = await apart(pair)
    for turn in range(3):
        assert await pair.answered_by(f"{ONE}{turn}") == one and await pair.answered_by(f"{OTHER}{turn}") == other
    # A worker that has many more requests than the other gets no further ones, whatever it has in its cache.
    counts, tasks = await pair.held(ONE, 9)
    for _ in range(3):
        more, task = await pair.held(ONE)
        counts, tasks = [sum(each) for each in zip(counts, more, strict=True)], tasks + task
    assert counts[one] > 8 and counts[other] > 0
    await pair.release()
    assert await asyncio.gather(*tasks) == ["Paris."] * 12
    # The router's own end leaves what runs its time.
    pieces = pair.pieces({"tokens": 30, "tps": 30})
    assert await anext(pieces) == ""
    pair.router.process.send_signal(signal.SIGTERM)
    assert "".join([piece async for piece in pieces]) == "".join(f"t{number} " for number in range(30))
    assert await asyncio.wait_for(pair.router.process.wait(), 30) == 0


async def test_who_comes_in_and_what_passes(pair):
    async with aiohttp.ClientSession() as session:
        async def ask(method, path, body=None, key=KEY):
            async with session.request(method, pair.router.url + path, json=body,
                                       headers={"Authorization": f"Bearer {key}"}) as response:
                return response.status, await response.text()

        assert (await ask("POST", CHAT, {"model": "tiny", "messages": HI}, "guessed-key"))[0] == 401
        assert (await ask("GET", "/workers", key="guessed-key"))[0] == 401
        assert [(await ask("GET", path, key="guessed-key"))[0] for path in ("/v1/models", "/readiness")] == [200, 200]
        async with session.post(pair.router.url + CHAT, json={}, headers={"x-api-key": KEY}) as response:
            assert response.status == 401
        for method, path, body, status in ROUTES:
            told, text = await ask(method, path, body)
            assert told == status, (path, body, text)
            assert f"`{path}`" in PAGE
            assert not (body or {}).get("stream") or text.endswith("data: [DONE]\n\n")
        # What the router does not know of a chat, it leaves out without a word.
        sent = {"model": "tiny", "messages": say({}, ONE), "chat_template_kwargs": {"a": 1}, "min_p": 0.1, **LOST}
        assert (await ask("POST", CHAT, sent))[0] == 200
        with pytest.raises(aiohttp.WSServerHandshakeError, match="404"):
            await session.ws_connect(f"{pair.router.url}/v1/realtime", headers={"Authorization": f"Bearer {KEY}"})
    chats = [each for worker in pair.workers for each in await worker.engine(f"/_scripted/requests?path={CHAT}")]
    arrived = [each["body"] for each in chats if ONE in each["prompt"]]
    assert {"chat_template_kwargs", "min_p"} <= arrived[0].keys() and not LOST.keys() & arrived[0].keys()
    assert all(f"`{name}`" in PAGE for name in LOST)
    assert KEY not in "".join([pair.router.log.read_text(), *[worker.worker.output for worker in pair.workers]])


async def test_requests_that_are_wrong_do_no_harm_to_others(pair):
    for number in range(40):  # the router's circuit breaker counts them, and would leave nobody a worker
        with pytest.raises(openai.NotFoundError):
            await pair.client.chat.completions.create(model="nope", messages=say({}, f"{number}"))
    assert await pair.ask({"text": "Paris."}) == "Paris."


async def test_a_worker_that_ends_takes_nothing_new_and_nobody_sees_an_error(pair, start):
    one, other = await apart(pair)
    leaving = pair.workers[one]
    async with asyncio.timeout(120):
        running = [asyncio.create_task(pair.stream({"tokens": 9, "hang_at": 3}, ONE)) for _ in range(3)]
        await until(lambda: pair.has(3, state="hanging"))
        leaving.worker.process.send_signal(signal.SIGTERM)
        await leaving.becomes(503)
        had = (await pair.seen())[one]
        # All of these would have gone to it.
        news = [asyncio.create_task(getattr(pair, how)({"text": "Paris."}, ONE)) for how in ("ask", "stream") * 5]
        assert await asyncio.gather(*news) == ["Paris."] * 10
        assert (await pair.seen())[one] == had
        await pair.release(leaving)
        assert await asyncio.gather(*running) == ["".join(f"t{number} " for number in range(9))] * 3
        assert await leaving.worker.ended(60) == 0
        assert await pair.ask({"text": "Paris."}, ONE) == "Paris."
        await pair.router.sees(pair.workers[other].base)
        # Another one at the same address is taken in again.
        pair.workers[one] = await start(leaving.worker.environ)
        await pair.router.sees(*[worker.base for worker in pair.workers])
        counts, tasks = await pair.held("Somebody is at the one that stayed. " * 20)
        if counts[one]:
            counts, more = await pair.held("And at the other. " * 20)
            tasks += more
        assert counts[other] and await pair.answered_by("Whoever comes now goes to the new one. " * 20) == one
        await pair.release()
        await asyncio.gather(*tasks)


async def test_a_worker_that_is_killed_costs_the_streams_that_it_had_begun_and_nothing_else(pair):
    one, other = await apart(pair)
    dead, left = pair.workers[one], pair.workers[other]
    pieces = pair.pieces({"tokens": 9, "hang_at": 3}, ONE)
    assert await anext(pieces) == ""  # the role
    assert (await anext(pieces)).startswith("t0")
    counts, whole = await pair.held(ONE, 2)
    assert counts[one] == 2
    dead.worker.process.kill()
    with pytest.raises(openai.APIConnectionError):  # never an answer that looks whole
        async for _ in pieces:
            pass
    pair.workers = [left]
    news = asyncio.gather(*[getattr(pair, how)({"text": "Paris."}, ONE) for how in ("ask", "stream") * 5])
    await until(lambda: pair.has(2, state="hanging"))  # what was not answered yet is asked for again
    await pair.release(left)
    assert await asyncio.gather(*whole) == ["Paris."] * 2 and await news == ["Paris."] * 10


async def test_workers_are_added_and_removed_while_others_are_asked(pair, start, tmp_path):
    one, other = await apart(pair)
    gate, late = tmp_path / "go", tmp_path / "launch"
    command = pair.workers[one].worker.environ["SGLANG_LAUNCH_COMMAND"]
    late.write_text(f'while [ ! -e {gate} ]; do sleep 0.05; done\nexec {command} "$@"\n')
    third = await start(SGLANG_LAUNCH_COMMAND=f"sh {late}")
    await third.becomes(204)
    await pair.router.add(third.base)  # it loads still, which a 204 would have hidden
    counts, tasks = await pair.held(ONE)
    assert counts[one] == 1
    await pair.router.remove(pair.workers[one].base)
    await pair.router.until(lambda workers: pair.workers[one].base not in workers)
    assert await pair.answered_by(ONE) == other
    await pair.release()
    assert await asyncio.gather(*tasks) == ["Paris."]  # what it had at that moment
    assert third.base not in {url for url, each in (await pair.router.workers()).items() if each["is_healthy"]}
    gate.touch()
    await third.becomes(200)
    await pair.router.sees(pair.workers[other].base, third.base)


async def test_a_request_that_ends_engines_is_tried_at_every_worker_and_then_refused(pair):
    with pytest.raises(openai.UnprocessableEntityError):
        await pair.ask({"die_at": 0})
    deaths = [worker.worker.output.count("The SGLang server ended (exit status 1)") for worker in pair.workers]
    assert sum(deaths) >= 2 and max(deaths) == 2, deaths
    await pair.router.sees(*[worker.base for worker in pair.workers])
    assert await pair.ask({"text": "Paris."}) == "Paris."


async def test_a_router_that_begins_with_no_worker_is_not_ready_and_embeddings_pass(start, tmp_path):
    worker = await start(IS_EMBEDDING="true")
    await worker.becomes(200)
    async with Router([], KEY, tmp_path / "router.log") as router, openai.AsyncOpenAI(
            base_url=f"{router.url}/v1", api_key=KEY, max_retries=0) as client:
        port = router.url.rpartition(":")[2]
        await until(lambda: worker.stage("/readiness", port))
        assert await worker.stage("/readiness", port) == 503
        await router.add(worker.base)
        await router.sees(worker.base)
        assert await worker.stage("/readiness", port) == 200
        told = await client.embeddings.create(model="tiny", input=["Hi", "Ho"])
        assert len(told.data) == 2 and "`/v1/embeddings`" in PAGE
