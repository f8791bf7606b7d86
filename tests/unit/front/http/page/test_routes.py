"""The page's files and the state behind the key, with an object in place of the view."""

import asyncio
import contextlib
import re

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from front.http.gate import Gate
from front.http.keys import Keys
from front.http.manners import Manners, Stage
from front.http.page import news, routes
from front.http.page.news import News
from front.http.page.routes import FILES, HEADERS, Page
from front.http.server import Front

NAMES = sorted(path.name for path in FILES.iterdir())


class View:
    state = tag = "ready"

    def __init__(self):
        self.news = asyncio.Event()
        self.waits = asyncio.Event()

    def becomes(self, state):
        self.state = self.tag = state
        self.news.set()

    @contextlib.contextmanager
    def changes(self):
        self.waits.set()
        yield self.news

    def told(self):
        return {"state": self.state}


@pytest.fixture
async def open_page():
    """open_page(*keys): (client, view, its news)."""
    clients = []

    async def run(*keys):
        view, app = View(), web.Application()
        page = News(view)
        app.add_routes(Page(Keys(keys), page.told).routes())
        client = TestClient(TestServer(app))
        await client.start_server()
        clients.append(client)
        return client, view, page

    yield run
    for client in clients:
        await client.close()


async def test_every_file_is_served_with_the_policy_and_its_type(open_page):
    client, _, _ = await open_page("sesame")
    assert {"page.html", "page.css", "page.js", "icon.svg"} <= set(NAMES)
    for name in NAMES:
        response = await client.get("/" if name == "page.html" else f"/-/{name}")
        assert response.status == 200 and await response.read() == (FILES / name).read_bytes()
        assert {key: response.headers[key] for key in HEADERS} == HEADERS
        assert response.content_type == routes.TYPES[f".{name.split('.')[1]}"]
    assert (await client.head("/")).status == 200
    assert (await client.get("/-/../routes.py")).status == (await client.get("/-/routes.py")).status == 404


async def test_a_file_that_the_browser_has_is_not_sent_again(open_page):
    client, _, _ = await open_page()
    first = await client.get("/-/page.js")
    again = await client.get("/-/page.js", headers={"If-None-Match": first.headers["ETag"]})
    assert again.status == 304 and await again.read() == b"" and again.headers["ETag"] == first.headers["ETag"]
    assert (await client.get("/-/page.js", headers={"If-None-Match": '"other"'})).status == 200


def test_the_policy_lets_nothing_in_but_the_pages_own_files():
    policy = dict(part.split(" ", 1) for part in routes.POLICY.split("; "))
    assert policy["default-src"] == policy["frame-ancestors"] == policy["base-uri"] == "'none'"
    assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'"
    assert "unsafe" not in routes.POLICY and "*" not in routes.POLICY and HEADERS["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize("name", NAMES)
def test_no_file_names_another_host_or_holds_what_the_policy_forbids(name):
    text = (FILES / name).read_text(encoding="utf-8").replace("http://www.w3.org/2000/svg", "")
    assert not re.search(r"https?://|//\w+\.\w+/|@import|url\(", text)
    assert not re.search(r"innerHTML|outerHTML|insertAdjacent|document\.write|eval\(|new Function|localStorage|"
                         r"sessionStorage|document\.cookie|indexedDB", text)
    if name.endswith(".html"):
        assert not re.search(r"\son\w+=|\sstyle=|<style|<script(?![^>]* src=\"-/)|javascript:", text)


async def test_the_state_is_for_those_who_show_a_key(open_page):
    client, _, _ = await open_page("sesame")
    for headers in ({}, {"Authorization": "Bearer guessed"}):
        response = await client.get("/-/state", headers=headers)
        told = await response.json()
        assert response.status == 401 and "state" not in told
        assert told["error"]["type"] == "authentication_error" and response.headers["Cache-Control"] == "no-store"
    response = await client.get("/-/state", headers={"x-api-key": "sesame"})
    assert await response.json() == {"state": "ready"} and response.headers["Cache-Control"] == "no-store"
    assert "Access-Control-Allow-Origin" not in response.headers


async def test_an_answer_waits_for_news(open_page, monkeypatch):
    monkeypatch.setattr(news, "HELD", 600)
    client, view, _ = await open_page()
    assert (await client.get("/-/state?seen=starting")).status == 200  # there are some
    view.waits.clear()
    asking = asyncio.ensure_future(client.get("/-/state?seen=ready"))
    await view.waits.wait()
    view.news.set()  # of something else
    view.becomes("restarting")
    assert await (await asking).json() == {"state": "restarting"}


async def test_no_more_answers_wait_than_are_meant_to(open_page, monkeypatch):
    monkeypatch.setattr(news, "HELD", 600)
    monkeypatch.setattr(news, "_MOST", 0)
    client, _, _ = await open_page()
    assert await (await client.get("/-/state?seen=ready")).json() == {"state": "ready"}


async def test_whoever_looks_on_hears_of_the_end_before_the_front_is_closed(open_page, monkeypatch):
    monkeypatch.setattr(news, "HELD", 600)
    client, view, page = await open_page()
    await client.get("/-/state")
    await page.farewell()  # not the end
    view.becomes("ended")
    leaving = asyncio.ensure_future(page.farewell())
    done, _ = await asyncio.wait([leaving], timeout=0.05)
    assert not done
    assert await (await client.get("/-/state?seen=ready")).json() == {"state": "ended"}
    await leaving


@pytest.mark.parametrize(("health", "method", "path", "status", "kind"), [
    ("/ping", "GET", "/", 200, "text/html"), ("/ping", "POST", "/", 503, "application/json"),
    ("/ping", "GET", "/-/nothing", 503, "application/json"), ("/", "GET", "/", 204, "application/octet-stream"),
    ("/", "GET", "/-/state", 200, "application/json")])
async def test_the_page_takes_nothing_from_health_and_the_api(health, method, path, status, kind):
    front = Front(Keys(()), Gate(4, 0), Manners(health), lambda: Stage.STARTING)
    async with TestClient(TestServer(front.app(Page(Keys(()), News(View()).told).routes()))) as client:
        response = await client.request(method, path)
        assert (response.status, response.content_type) == (status, kind)


async def test_nobody_is_waited_for_who_does_not_look(open_page, monkeypatch):
    monkeypatch.setattr(news, "HELD", 600)
    _, view, page = await open_page()
    view.state = "ended"
    await page.farewell()
