"""What the page at `/` is told of a real SGLang, and that it is the page which is there."""

import asyncio

import aiohttp

from local import corpus
from local.environments import CPU_ENGINE_ARGS
from tests.over_http import KEY


async def test_the_page_is_told_how_full_the_real_engine_is_and_what_it_takes(over_http):
    front, _ = over_http
    async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {KEY}"}) as session:
        async with asyncio.timeout(120):
            told = {"engine": None}
            while not told["engine"] or told["state"] != "ready":  # the engine is asked meanwhile, and not waited for
                async with session.get(f"{front.url}/-/state?seen={told.get('tag', '')}") as response:
                    assert response.status == 200
                    told = await response.json()
        async with session.get(front.url + "/") as response:
            assert response.status == 200 and "<title>SGLang worker</title>" in await response.text()
    assert told["model"] == corpus.SERVED_NAME and told["figures"]["limit"] == 256
    assert told["engine"]["kv_tokens"] == int(CPU_ENGINE_ARGS["MAX_TOTAL_TOKENS"])
    assert 0 <= told["engine"]["kv_used"] < 1 and told["engine"]["version"] and told["engine"]["waiting"] == 0
    assert told["takes"] == {"chat": True, "images": False, "reasoning": False, "tokens": 2048}
