"""Two workers with real engines behind a balancer: whose cache has the beginning of a conversation.

Behind the stand-in for RunPod's, with its affinity header, and behind SGLang's router, by its own choice.
"""

import asyncio
import os
import signal
import sys

import openai
import pytest
import pytest_asyncio

from local import corpus
from local.balancer import AFFINITY, Balancer
from local.router import Router
from tests.dockerfile import ROOT
from tests.over_http import KEY, OverHttp
from tests.support import free_port, until
from tests.worker import WorkerProcess

pytestmark = pytest.mark.asyncio(loop_scope="module")

QUESTIONS = [prompt for prompt, _ in corpus.EXCHANGES[:2]]
LONG = {"max_tokens": 1200, "extra_body": {"ignore_eos": True}}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def two(real_environ):
    """Two workers by their addresses, each with an engine of its own."""
    fronts = [OverHttp(), OverHttp()]
    workers = [WorkerProcess(front, {
        **{name: value for name, value in real_environ.items() if not name.startswith("RUNPOD_WEBHOOK_")},
        "SGLANG_PORT": str(free_port()), "ENABLE_CACHE_REPORT": "true"}, ready_within=280) for front in fronts]
    async with fronts[0], fronts[1], workers[0], workers[1]:
        await asyncio.gather(*[worker.connected() for worker in workers])
        yield {front.url: worker for front, worker in zip(fronts, workers, strict=True)}


def client(url):
    return openai.AsyncOpenAI(base_url=f"{url}/v1", api_key=KEY, max_retries=0, timeout=120)


def begun(words):
    """A conversation that begins as no other does."""
    return [{"role": "system", "content": " ".join(f"{words} {number}" for number in range(20))},
            {"role": "user", "content": QUESTIONS[0]}]


async def turn(sdk, messages, headers=None):
    """(who answered, tokens of the prompt, how many of them were in the cache); the answer is added to `messages`."""
    raw = await sdk.chat.completions.with_raw_response.create(
        model=corpus.SERVED_NAME, messages=messages, temperature=0, max_tokens=20, extra_headers=headers)
    told = raw.parse()
    messages += [{"role": "assistant", "content": told.choices[0].message.content},
                 {"role": "user", "content": QUESTIONS[1]}]
    return raw.headers.get(AFFINITY), told.usage.prompt_tokens, told.usage.prompt_tokens_details.cached_tokens


class Answered:
    """How many chats each worker has answered since this began, by the lines of its log."""

    def __init__(self, two):
        self._two, self._before = two, {}
        self._before = self.now()

    def now(self):
        told = {url: sum('"route": "/v1/chat/completions"' in line for line in worker.lines)
                for url, worker in self._two.items()}
        return {url: count - self._before.get(url, 0) for url, count in told.items()}

    async def all(self, count):
        """The same, as soon as they are so many in all: a line comes a moment after its answer."""
        await until(lambda: sum(self.now().values()) >= count)
        return self.now()


async def test_a_chat_that_sends_the_header_finds_its_beginning_and_one_that_is_spread_does_not(two):
    async with Balancer(dict(zip(("w-1", "w-2"), two, strict=True))) as balancer, client(balancer.url) as sdk:
        await until(lambda: all(backend.ready for backend in balancer.backends.values()))
        kept, spread = begun("kept"), begun("spread")
        worker, length, _ = await turn(sdk, kept)
        again, _, cached = await turn(sdk, kept, {AFFINITY: worker})
        assert again == worker and cached >= length - 1
        worker, length, _ = await turn(sdk, spread)
        other, _, cached = await turn(sdk, spread)
        assert other != worker and cached < length / 2
        # The example does the same.
        environ = {**os.environ, "BASE_URL": f"{balancer.url}/v1", "RUNPOD_API_KEY": KEY, "MODEL": corpus.SERVED_NAME}
        process = await asyncio.create_subprocess_exec(
            sys.executable, str(ROOT / "examples/openai/affinity.py"), env=environ, stdout=asyncio.subprocess.PIPE)
        first, second = (await process.communicate())[0].decode().splitlines()
        assert first.split(", ")[0].split()[-1] == second.split(", ")[0].split()[-1], "the same worker"
        assert int(second.split(", ")[1].split()[0]) > 20, second


async def test_the_router_keeps_conversations_apart_streams_and_lets_a_worker_go(two, tmp_path):
    async with Router(list(two), KEY, tmp_path / "router.log") as router, client(router.url) as sdk:
        await router.sees(*two)
        assert [model.id for model in (await sdk.models.list()).data] == [corpus.SERVED_NAME]
        one, other = begun("one"), begun("other")
        answered = Answered(two)
        held = await sdk.chat.completions.create(model=corpus.SERVED_NAME, messages=one, stream=True, **LONG)
        await anext(held)
        _, length, _ = await turn(sdk, other)  # goes where there is less to do
        [url] = [url for url, count in (await answered.all(1)).items() if count]
        await held.close()
        assert set((await answered.all(2)).values()) == {1}
        for _ in range(3):  # each turn comes back, and finds all of those before it
            _, longer, cached = await turn(sdk, other)
            assert cached >= length - 1
            length = longer
        assert (await answered.all(5))[url] == 4

        told = await sdk.responses.create(model=corpus.SERVED_NAME, input=QUESTIONS[0], temperature=0)
        assert told.output_text
        events = [event.type async for event in await sdk.responses.create(
            model=corpus.SERVED_NAME, input=QUESTIONS[0], temperature=0, stream=True)]
        assert events[-1] == "response.completed"

        running = await sdk.chat.completions.create(
            model=corpus.SERVED_NAME, messages=other, stream=True, stream_options={"include_usage": True}, **LONG)
        await anext(running)
        two[url].process.send_signal(signal.SIGTERM)
        for _ in range(3):
            await turn(sdk, other)
        *_, last = [chunk async for chunk in running]
        assert last.usage.completion_tokens == 1200
        assert await two[url].ended(60) == 0
        assert KEY not in (tmp_path / "router.log").read_text()
