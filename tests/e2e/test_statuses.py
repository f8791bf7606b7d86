"""The statuses that SGLang's own server tests expect: true over HTTP, and in the error's `code` through the queue."""

import json

import aiohttp
import openai
import pytest

from tests.e2e.conftest import API_KEY
from tests.e2e.sglang_statuses import CHAT, ROWS, SAME
from tests.over_http import KEY

pytestmark = pytest.mark.asyncio(loop_scope="session")
REFUSED = [row for row in ROWS if row.status != 200]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
async def test_the_worker_answers_with_the_status(platform, worker, row):
    job = await (await platform.submit({"openai_route": row.path, "openai_input": row.body})).finished(120)
    if row.status == 200:
        assert job.status == "COMPLETED", job.error
        return
    assert job.status == "FAILED", job.output
    error = json.loads(job.error)  # over HTTP its code is the response's status: see tests/over_http.py
    assert error["code"] == row.status and row.says.lower() in error["message"].lower(), error


@pytest.mark.parametrize("row", [row for row in ROWS if row.engine is not None], ids=lambda row: row.name)
async def test_so_does_the_server_itself_but_where_it_says_otherwise(behind_queue, row):
    _, worker = behind_queue
    url = f"http://127.0.0.1:{worker.environ['SGLANG_PORT']}{row.path}"
    async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {API_KEY}"}) as session, session.request(
            "GET" if row.body is None else "POST", url, json=row.body) as response:
        assert response.status == (row.status if row.engine == SAME else row.engine), await response.text()


async def test_enough_is_tried():
    assert len(REFUSED) >= 20 and len({row.name for row in ROWS}) == len(ROWS)


async def test_what_only_http_has_a_status_for(over_http):
    front, _ = over_http
    async with aiohttp.ClientSession() as session:
        async def ask(method, path, key=KEY, **more):
            async with session.request(method, front.url + path, headers={"x-api-key": key}, **more) as response:
                return response.status, await response.json()

        chat = {"messages": [{"role": "user", "content": "Hello"}]}
        for status, told in (await ask("POST", CHAT, "wrong", json=chat), await ask("GET", "/v1/models", "")):
            assert status == 401 and told["error"]["type"] == "authentication_error"
        assert (await ask("POST", "/v1/messages", "wrong", json=chat))[1]["error"]["type"] == "authentication_error"
        assert (await ask("GET", CHAT))[0] == 405
        assert (await ask("POST", "/v1/models", json={"a": 1}))[0] == 405
        assert (await ask("POST", CHAT, data=b"not json"))[0] == 400
        assert (await ask("POST", "/v1/messages", data=b"not json"))[1]["type"] == "error"


@pytest.mark.parametrize("body, raised", [
    ({"model": "gpt-4"}, openai.NotFoundError), ({"temperature": -1}, openai.BadRequestError),
    ({"messages": []}, openai.BadRequestError), ({"max_tokens": 5000}, openai.BadRequestError)])
@pytest.mark.parametrize("stream", [False, True])
async def test_a_client_raises_its_own_error_for_it(over_http, body, raised, stream):
    front, _ = over_http
    async with openai.AsyncOpenAI(base_url=front.openai_url, api_key=KEY, max_retries=0) as client:
        asked = {"model": "tiny", "messages": [{"role": "user", "content": "Hello"}], **body}
        with pytest.raises(raised):
            await client.chat.completions.create(**asked, stream=stream)
