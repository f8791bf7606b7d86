"""What a balancer asks: answered by how the worker stands, whatever the engine is at."""

import pytest
from aiohttp.test_utils import TestClient, TestServer

from front.http import balancers
from front.http.gate import Gate
from front.http.keys import Keys
from front.http.manners import Manners, Stage
from front.http.server import Front

KEYS = Keys(["sesame"])


def client(stage=Stage.READY, manners=None, opened=()):
    manners = manners or Manners()
    front = Front(KEYS, Gate(0, 0), manners, lambda: stage)  # no place for any request
    return TestClient(TestServer(front.app(balancers.routes(KEYS, lambda: stage, "org/tiny", manners, opened))))


@pytest.mark.parametrize("path", ["/health", "/ready"])
@pytest.mark.parametrize(("stage", "status"), [(Stage.STARTING, 503), (Stage.READY, 200), (Stage.LEAVING, 503)])
async def test_whether_requests_may_come_is_told_without_a_key_and_without_a_place(path, stage, status):
    async with client(stage) as asking:
        for method in ("GET", "HEAD"):
            async with asking.request(method, path) as response:
                assert response.status == status
                assert ("Retry-After" in response.headers) is (status == 503)
        told = await (await asking.get(path)).json()
        assert told == {"status": "ok"} if status == 200 else told["error"]["code"] == 503


async def test_the_path_of_runpods_health_keeps_runpods_words():
    async with client(Stage.STARTING, Manners(health_path="/health")) as asking:
        assert [(await asking.get(path)).status for path in ("/health", "/ready")] == [204, 503]


async def test_the_model_is_told_to_whoever_shows_a_key_and_nothing_else_is():
    async with client() as asking:
        async with asking.get("/server_info") as refused:
            assert refused.status == 401 and refused.headers["WWW-Authenticate"] == "Bearer"
            assert "tiny" not in await refused.text()
        async with asking.get("/server_info", headers={"Authorization": "Bearer sesame"}) as told:
            assert await told.json() == {"served_model_name": "org/tiny"}


@pytest.mark.parametrize("stage", Stage)
@pytest.mark.parametrize("path", ["/health", "/ready", "/server_info"])
async def test_a_page_that_may_call_may_read_the_answer(path, stage):
    async with client(stage, Manners(origins=("https://a.example",))) as asking:
        for origin, allowed in (("https://a.example", "https://a.example"), ("https://b.example", None)):
            answer = await asking.get(path, headers={"Origin": origin})
            assert answer.headers.get("Access-Control-Allow-Origin") == allowed


async def test_whoever_opened_the_engines_own_answer_gets_that():
    async with client(opened=("/server_info",)) as asking:
        told = await asking.get("/server_info", headers={"Authorization": "Bearer sesame"})
        assert told.status == 503 and "still being loaded" in await told.text()  # a request, and no engine is there


async def test_what_is_sent_there_is_a_request_as_it_was():
    async with client() as asking:
        assert [(await asking.post(path)).status for path in ("/health", "/ready", "/server_info")] == [401] * 3
