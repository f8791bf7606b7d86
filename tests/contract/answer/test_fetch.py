"""Media over real connections: what is fetched, from where never, and within which bounds.

The servers listen on loopback, where nothing is public; here 127.0.0.2 counts as public and 127.0.0.3 does not.
"""

import asyncio
import base64
import contextlib
import gzip
import socket

import pytest
from aiohttp import web
from aiohttp.abc import AbstractResolver

from answer import fetch as fetching
from answer.fetch import Allowance, Fetcher, Wanted
from utils import JobError

PUBLIC, PRIVATE = "127.0.0.2", "127.0.0.3"
PNG = b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 4
UNREACHED = "`m[0].url` cannot be fetched: its host has no public address that answers."


class Names(AbstractResolver):
    """Each name's answers in turn, the last one for good; a name that it does not have does not exist."""

    def __init__(self, names):
        self.names, self.asked = {name: list(answers) for name, answers in names.items()}, []

    async def resolve(self, host, port=0, family=socket.AF_INET):
        self.asked.append(host)
        if host not in self.names:
            raise OSError(None, "no such name")
        answers = self.names[host]
        addresses = answers.pop(0) if len(answers) > 1 else answers[0]
        return [{"hostname": host, "host": address, "port": port, "proto": 0, "flags": 0,
                 "family": socket.AF_INET6 if ":" in address else socket.AF_INET} for address in addresses]

    async def close(self):
        pass


class Site:
    """A web server on an address: its answers by path, and the requests that it saw."""

    def __init__(self, address):
        self.address, self.seen, self.paths = address, [], {}
        self.open = 0
        self.arrived, self.left = asyncio.Event(), asyncio.Event()

    async def __aenter__(self):
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._answer)
        self._runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0)
        await self._runner.setup()
        site = web.TCPSite(self._runner, self.address, 0)
        await site.start()
        self.port = site._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_):
        await self._runner.cleanup()

    async def _answer(self, request):
        self.seen.append(request)
        self.open += 1
        self.arrived.set()
        try:
            answer = self.paths.get(request.path, web.Response(body=PNG))
            return await answer(request) if callable(answer) else web.Response(
                body=answer.body, status=answer.status, headers=answer.headers)
        finally:
            self.open -= 1
            self.left.set()

    def url(self, path="/a.png", host="site.example", user=""):
        return f"http://{user}{host}:{self.port}{path}"

    def redirect(self, path, to, status=302):
        self.paths[path] = web.Response(status=status, headers={"Location": to})


@pytest.fixture
async def site():
    async with Site(PUBLIC) as server:
        yield server


@pytest.fixture
async def inner():
    async with Site(PRIVATE) as server:
        yield server
        assert server.seen == [], "a private address was asked"


@pytest.fixture
def names():
    return Names({"site.example": [[PUBLIC]], "other.example": [[PUBLIC]], "inner.example": [[PRIVATE]],
                  "both.example": [[PRIVATE, PUBLIC]]})


@pytest.fixture
def make(names):
    def maker(**settings):
        return Fetcher(**{"file_bytes": 10**6, "seconds": 30, "redirects": 3, "resolver": lambda: names,
                          "public": lambda address: address == PUBLIC, **settings})
    return maker


async def get(fetcher, url, left=10**7):
    fetched = await fetcher.fetch([Wanted(url, "m[0].url")], Allowance(left, "is more than the job may have"))
    return b"".join(fetched[url]).decode()


async def refused(fetcher, url, **settings):
    with pytest.raises(JobError) as caught:
        await get(fetcher, url, **settings)
    assert (caught.value.code, caught.value.type, caught.value.param) == (400, "invalid_request_error", "m[0].url")
    return caught.value.message


async def test_a_medium_becomes_a_data_url_of_its_own_type(site, make):
    site.paths["/a.png"] = web.Response(body=PNG, content_type="text/html")
    assert await get(make(), site.url()) == "data:image/png;base64," + base64.b64encode(PNG).decode()


@pytest.mark.parametrize("size", [1, 2, 3, 65535, 65536, 65537, 300_001])
async def test_every_byte_arrives(site, make, size):
    body = bytes(i * 7 % 251 + 1 for i in range(size))
    site.paths["/a"] = web.Response(body=body, content_type="video/mp2t")
    assert await get(make(), site.url("/a")) == "data:video/mp2t;base64," + base64.b64encode(body).decode()


async def test_a_body_in_crumbs_is_kept_in_pieces_of_some_size(site, make):
    async def crumbs(request):
        answer = web.StreamResponse()
        await answer.prepare(request)
        for n in range(2000):
            await answer.write(bytes([n % 251]) * 100)
        return answer

    site.paths["/a"] = crumbs
    pieces = (await make().fetch([Wanted(site.url("/a"), "m")], Allowance(10**6, "")))[site.url("/a")]
    assert base64.b64decode(b"".join(pieces[1:])) == b"".join(bytes([n % 251]) * 100 for n in range(2000))
    assert len(pieces) < 10


async def test_an_address_arrives_letter_by_letter(site, make):
    path = "/a%2Fb%20c/%7Euser?X-Sig=a%2Bb%2F%3D&e=%E2%82%AC&plus=+"
    await get(make(), site.url(path))
    await get(make(), site.url("/ü b.png?q=ä"))
    assert [request.raw_path for request in site.seen] == [path, "/%C3%BC%20b.png?q=%C3%A4"]


async def test_nothing_of_the_worker_is_sent(site, make, monkeypatch, tmp_path):
    async with Site(PRIVATE) as proxy:
        for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
            monkeypatch.setenv(name, f"http://{PRIVATE}:{proxy.port}")
        netrc = tmp_path / "netrc"
        netrc.write_text("default login worker password secret\n")
        monkeypatch.setenv("NETRC", str(netrc))
        site.paths["/1"] = web.Response(status=302, headers={"Location": "/2", "Set-Cookie": "session=1; Path=/"})
        fetcher = make()
        await get(fetcher, site.url("/1"))
        await get(fetcher, site.url("/2"))
        assert len(site.seen) == 3
        assert proxy.seen == []
    for request in site.seen:
        assert request.headers["Accept-Encoding"] == "identity"
        assert set(request.headers) == {"Host", "Accept", "Accept-Encoding", "User-Agent", "Connection"}


async def test_private_names_and_addresses_are_never_asked(inner, make):
    for host in ("inner.example", PRIVATE, f"[::ffff:{PRIVATE}]", "[::1]"):
        assert await refused(make(), inner.url(host=host)) == UNREACHED


async def test_an_existing_host_a_closed_port_and_no_host_look_the_same(inner, make):
    urls = [inner.url(host="inner.example"), "http://inner.example:9/", "http://nowhere.example/",
            f"http://{PRIVATE}:9/", f"http://{PUBLIC}:9/", "http://" + "x" * 300 + ".example/"]
    assert {await refused(make(), url) for url in urls} == {UNREACHED}


SPELLINGS = ["127.0.0.1", "2130706433", "017700000001", "0x7f000001", "0x7F.1", "127.1", "127.0.1", "0177.0.0.1",
             "127.0.0.1.", "localhost", "localhost.", "LOCALHOST", "０x7f000001", "１２７.0.0.1",
             "127。0。0。1", "①②⑦.0.0.1",
             "0", "0.0.0.0", "[::]", "[::1]", "[0:0:0:0:0:0:0:1]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]",
             "[::127.0.0.1]", "[64:ff9b::7f00:1]", "[2002:7f00:1::]", "user:pass@127.0.0.1", "site.example@127.0.0.1",
             "127.0.0.1%00.example", "127.0.0.1%2eexample", "site.example%40127.0.0.1", "%31%32%37.0.0.1"]


@pytest.mark.parametrize("scheme", ["http", "HTTP", "hTtPs"])
async def test_every_spelling_of_loopback_is_refused_by_the_rules_of_production(scheme, monkeypatch):
    """With the real resolver, and a server that would answer."""
    tried = []
    real = socket.socket.connect
    monkeypatch.setattr(socket.socket, "connect", lambda *args: tried.append(args) or real(*args))
    async with Site("127.0.0.1") as server:
        fetcher = Fetcher(file_bytes=0, seconds=30, redirects=0)
        for host in SPELLINGS:
            message = await refused(fetcher, f"{scheme}://{host}:{server.port}/")
            assert message in (UNREACHED, "`m[0].url` is not a proper http(s) address."), host
        assert server.seen == []
    assert tried == []  # nothing was even tried


@pytest.mark.parametrize("url", ["http://", "http:///a", "http:site.example/a", "http:/site.example", "http://:80/",
                                 "http://site.example:port/", "http://site.example:99999/", "http://[::1/",
                                 "http:\\\\site.example\\a", "http://evil.example\\@site.example/",
                                 "http://site.example/\r\nX: y", "http://site\t.example/", "http://?", "http://#@x/"])
async def test_what_is_no_address_is_refused(make, url):
    message = await refused(make(), url)
    assert message in (UNREACHED, "`m[0].url` is not a proper http(s) address.")
    assert message != UNREACHED or not any(c in url for c in "\\\r\n\t")


async def test_of_several_addresses_only_public_ones_are_asked(site, inner, make):
    assert (await get(make(), site.url(host="both.example"))).startswith("data:image/png")


async def test_a_second_answer_of_the_name_server_comes_too_late(site, make, names):
    """Public when it was first asked, private ever after: each connection goes where its own answer was judged."""
    async with Site(PRIVATE) as private:
        names.names["rebinding.example"] = [[PUBLIC], [PRIVATE]]
        url = site.url(host="rebinding.example")
        assert (await get(make(), url)).startswith("data:")
        assert await refused(make(), url) == UNREACHED
        assert private.seen == []
        names.names["again.example"] = [[PUBLIC], [PRIVATE]]
        site.redirect("/1", site.url("/2", "again.example"))
        assert await refused(make(), site.url("/1", "again.example")) == UNREACHED
        assert private.seen == []
    assert names.asked == ["rebinding.example"] * 2 + ["again.example"] * 2  # nothing is remembered


async def test_the_resolver_gives_public_addresses_alone(names):
    resolver = fetching._PublicResolver(names, lambda address: address == PUBLIC)
    assert [entry["host"] for entry in await resolver.resolve("both.example", 80)] == [PUBLIC]
    for name in ("inner.example", "nowhere.example"):
        with pytest.raises(OSError):
            await resolver.resolve(name, 80)


async def test_a_resolver_that_lies_is_caught_at_the_socket(inner, make, names):
    class Unchecked(fetching._PublicResolver):
        async def resolve(self, host, port=0, family=socket.AF_INET):
            return await names.resolve(host, port, family)

    fetching_resolver, fetching._PublicResolver = fetching._PublicResolver, Unchecked
    try:
        assert await refused(make(), inner.url(host="inner.example")) == UNREACHED
    finally:
        fetching._PublicResolver = fetching_resolver


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_redirects_are_followed(site, make, status):
    site.redirect("/1", "/2?x=1", status)
    site.redirect("/2", site.url("/3", "other.example"), status)
    assert (await get(make(), site.url("/1"))).startswith("data:image/png")
    assert [request.path_qs for request in site.seen] == ["/1", "/2?x=1", "/3"]


async def test_redirects_to_private_addresses_are_not_followed(site, inner, make):
    for number, host in enumerate(("inner.example", PRIVATE, f"[::ffff:{PRIVATE}]", f"u:p@{PRIVATE}")):
        site.redirect(f"/{number}", inner.url(host=host))
        assert await refused(make(), site.url(f"/{number}")) == UNREACHED
    site.redirect("/scheme", f"//{PRIVATE}:{inner.port}/a")
    assert await refused(make(), site.url("/scheme")) == UNREACHED


@pytest.mark.parametrize("to", ["file:///etc/passwd", "ftp://site.example/", "data:image/png;base64,AAAA", "gopher://x/",
                                "http://", "http://\\\\x", "\x01"])
async def test_redirects_to_other_schemes_are_not_followed(site, make, to):
    async def answer(request):  # as it stands: aiohttp's own server would quote it
        return web.Response(status=302, headers={"Location": to})

    site.paths["/a.png"] = answer if to.isprintable() else web.Response(status=500)
    message = await refused(make(), site.url())
    scheme = to.partition(":")[0]
    assert ("neither http nor https" in message) == (scheme in ("file", "ftp", "data", "gopher"))
    assert "passwd" not in message


async def test_redirects_end(site, make):
    site.redirect("/loop", "/loop")
    assert "MAX_MEDIA_REDIRECTS" in await refused(make(), site.url("/loop"))
    assert len(site.seen) == 4  # the first, and three redirects
    assert "MAX_MEDIA_REDIRECTS" in await refused(make(redirects=0), site.url("/loop"))


async def test_credentials_go_to_the_host_they_were_given_for_alone(site, make):
    site.redirect("/1", site.url("/2", "other.example"))
    site.redirect("/2", site.url("/3", "other.example", user="a:b@"))
    await get(make(), site.url("/1", user="me:secret@"))
    assert [request.headers.get("Authorization") for request in site.seen] == [
        "Basic " + base64.b64encode(b"me:secret").decode(), None, None]


async def test_only_allowed_domains_are_asked(site, make, names):
    fetcher = make(domains=("Site.Example.", "8.8.8.8"))
    for host in ("site.example", "SITE.example", "site.example."):
        names.names.setdefault(host, [[PUBLIC]])
        assert (await get(fetcher, site.url(host=host))).startswith("data:")
    site.redirect("/1", site.url("/2", "other.example"))
    others = [site.url(host=host) for host in ("other.example", "sub.site.example", PUBLIC)]
    for url in (*others, site.url("/1")):
        assert "ALLOWED_MEDIA_DOMAINS" in await refused(fetcher, url)


async def test_an_allowed_domain_is_no_way_to_a_private_address(inner, make):
    assert await refused(make(domains=("inner.example",)), inner.url(host="inner.example")) == UNREACHED


async def test_errors_of_the_server_are_named(site, make):
    for status in (204, 400, 401, 404, 500):
        site.paths[f"/{status}"] = web.Response(status=status)
        message = await refused(make(), site.url(f"/{status}?key=secret", user="me:secret@"))
        assert ("is empty" if status == 204 else f"answered {status}") in message
        assert "secret" not in message and "example" not in message


async def raw_server(answer: bytes, hold: bool = False):
    """A server that says `answer` to whoever connects, and then hangs up unless it is to hold."""
    gone = asyncio.Event()

    async def serve(reader, writer):
        with contextlib.suppress(ConnectionError):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(answer)
            await writer.drain()
            if hold:
                await reader.read()
        gone.set()
        writer.close()

    server = await asyncio.start_server(serve, PUBLIC, 0)
    return server, server.sockets[0].getsockname()[1], gone


@pytest.mark.parametrize("answer", [
    b"", b"garbage\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nabc",
    b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    b"HTTP/1.1 302 Found\r\nLocation: http://\xff\xfe/\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nX: " + b"a" * 100_000 + b"\r\n\r\n"])
async def test_servers_that_speak_no_http_fail_the_job_only(make, answer):
    server, port, _ = await raw_server(answer)
    async with server:
        await refused(make(), f"http://site.example:{port}/")


@pytest.mark.parametrize("answer", [
    b"HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n",
    b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 200_000,
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + (b"10000\r\n" + b"x" * 65536 + b"\r\n") * 4])
async def test_a_body_over_the_limit_ends_at_the_limit(make, answer):
    server, port, gone = await raw_server(answer, hold=True)
    async with server:
        message = await refused(make(file_bytes=100_000), f"http://site.example:{port}/")
        assert "MEDIA_URL_MAX_FILE_SIZE_MB" in message
        await asyncio.wait_for(gone.wait(), 30)  # the connection was closed, the rest never read


async def test_without_a_limit_for_one_the_jobs_allowance_still_ends_it(site, make):
    site.paths["/a"] = web.Response(body=bytes(300_000))
    assert "more than the job may have" in await refused(make(file_bytes=0), site.url("/a"), left=299_999)
    assert await get(make(file_bytes=0), site.url("/a"), left=300_000)


async def test_all_media_of_a_job_share_its_allowance_and_count_as_often_as_they_are_used(site, make):
    site.paths["/a"] = web.Response(body=bytes(1000))
    wanted = [Wanted(site.url(f"/a?{n}"), f"m[{n}]") for n in range(5)]
    await make().fetch(wanted, Allowance(5000, "is too much"))
    with pytest.raises(JobError, match="is too much"):
        await make().fetch(wanted, Allowance(4999, "is too much"))
    with pytest.raises(JobError, match="is too much"):
        await make().fetch([Wanted(site.url("/a"), "m", uses=6)], Allowance(5000, "is too much"))


async def test_compressed_bodies_are_not_unpacked(site, make):
    bomb = gzip.compress(bytes(50_000_000))
    site.paths["/bomb"] = web.Response(body=bomb, headers={"Content-Encoding": "gzip"})
    assert "compressed" in await refused(make(), site.url("/bomb"))
    site.paths["/file"] = web.Response(body=bomb, content_type="application/gzip")
    assert await get(make(), site.url("/file")) == "data:application/gzip;base64," + base64.b64encode(bomb).decode()


@pytest.mark.parametrize("answer", [b"", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nabc"])
async def test_slow_servers_are_left(make, answer):
    server, port, gone = await raw_server(answer, hold=True)
    async with server:
        assert "MEDIA_FETCH_TIMEOUT" in await refused(make(seconds=0.2), f"http://site.example:{port}/")
        await asyncio.wait_for(gone.wait(), 30)


async def test_the_time_is_that_of_all_media_together(site, make):
    async def never(request):
        await asyncio.Event().wait()

    site.paths["/slow"] = never
    wanted = [Wanted(site.url("/a.png"), "m[0]")] + [Wanted(site.url(f"/slow?{n}"), f"m[{n}]") for n in range(1, 60)]
    with pytest.raises(JobError, match=r"`m\[1\]` was not fetched within 0.5 s"):
        await make(seconds=0.5).fetch(wanted, Allowance(10**6, ""))


async def test_fifty_at_once_and_never_more_than_allowed(site, make):
    many, let = asyncio.Event(), asyncio.Event()

    async def together(request):
        if site.open == 16:
            many.set()
        await let.wait()
        return web.Response(body=PNG)

    site.paths["/slow"] = together
    urls = [site.url(f"/slow?{n}") for n in range(50)]
    task = asyncio.create_task(make().fetch([Wanted(url, "m") for url in urls], Allowance(10**7, "")))
    await many.wait()
    for _ in range(5):  # of another job, and time enough for a seventeenth
        await get(make(), site.url())
    assert site.open == 16
    let.set()
    assert sorted(await task) == sorted(urls)


async def test_one_that_fails_ends_the_others(site, make):
    both = asyncio.Event()

    async def never(request):
        both.set()
        await asyncio.Event().wait()

    async def fails(request):
        await both.wait()
        return web.Response(status=404)

    site.paths |= {"/slow": never, "/gone": fails}
    with pytest.raises(JobError, match=r"`m\[1\]` .* answered 404"):
        await make().fetch([Wanted(site.url("/slow"), "m[0]"), Wanted(site.url("/gone"), "m[1]")], Allowance(10**6, ""))
    async with asyncio.timeout(30):
        while site.open:
            site.left.clear()
            await site.left.wait()


async def test_a_cancelled_job_leaves_no_connection(site, make):
    async def never(request):
        await asyncio.Event().wait()

    site.paths["/slow"] = never
    task = asyncio.create_task(get(make(), site.url("/slow")))
    await site.arrived.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    async with asyncio.timeout(30):
        while site.open:
            site.left.clear()
            await site.left.wait()


@pytest.mark.parametrize("body", [b"#EXTM3U\nhttp://127.0.0.3/", b"ffconcat version 1.0\n", b"<MPD></MPD>", b"%!PS"])
async def test_playlists_are_not_handed_on(site, make, body):
    site.paths["/a.png"] = web.Response(body=body, content_type="video/mp4")
    assert "playlist" in await refused(make(), site.url())


async def test_what_is_logged_holds_no_address(site, make, capsys):
    import utils
    utils.set_log_level("debug")
    try:
        await refused(make(), "http://me:secret@nowhere.example/a?sig=secret")
        server, port, _ = await raw_server(b"garbage\r\n\r\n")
        async with server:
            await refused(make(), f"http://site.example:{port}/?sig=secret")
    finally:
        utils.set_log_level("info")
    logged = capsys.readouterr().out
    assert "media: " in logged and "secret" not in logged and "example" not in logged
