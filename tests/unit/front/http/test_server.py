"""Requests over HTTP, with a function in place of the worker."""

import pytest
from aiohttp.test_utils import TestClient, TestServer

from front.http.gate import Gate
from front.http.keys import Keys
from front.http.manners import Manners, Stage
from front.http.server import Front

CHAT = "/v1/chat/completions"


async def asked(answer, name, path=CHAT):
    """(status, body) of one request, whose caller calls it `name`."""
    front = Front(Keys(()), Gate(4, 0), Manners(), lambda: Stage.READY)
    front.answer = answer
    headers = {"X-Request-Id": name} if name else {}
    async with (TestClient(TestServer(front.app())) as client,
                client.post(path, json={"a": 1}, headers=headers) as response):
        return response.status, await response.read(), response.headers["X-Request-Id"]


@pytest.mark.parametrize("name", ["", "a", "a/b.c=", "HEALTH_CHECK", "resp_1", "no name", "x" * 128, "x" * 129])
async def test_the_engine_gets_an_id_that_no_caller_can_choose(name):
    seen = []

    async def answer(_, job_id):
        seen.append(job_id)
        yield {}

    told = [(await asked(answer, name))[2] for _ in range(2)]
    first, second = seen
    assert first[:32].isalnum() and first[:32] != second[:32]
    assert set(first) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-")
    assert told == ([name] * 2 if name and len(name) < 129 and " " not in name else seen)


@pytest.mark.parametrize("path", [CHAT, "/v1/messages"])
async def test_a_fault_of_the_worker_has_the_shape_of_the_route(path, capsys):
    async def answer(_, job_id):
        yield 1 // (job_id == "")

    status, body, _ = await asked(answer, "mine-1", path)
    assert status == 500 and b"Internal error of the worker (ZeroDivisionError)" in body and b'"error"' in body
    assert "Traceback" in capsys.readouterr().out
