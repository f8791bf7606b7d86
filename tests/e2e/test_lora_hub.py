"""Downloads of adapters by Hugging Face's own library, from a stand-in for the hub."""

import asyncio
import hashlib
import os
from pathlib import Path

import pytest
import pytest_asyncio
from aiohttp import web

from local import tiny_adapters
from lora import fit
from lora.base import Base
from lora.hub import Hub
from settings import hub_cache
from tests.support import free_port
from utils import JobError

# The loop of the worker and the platform that other tests share: their polls are answered meanwhile.
pytestmark = pytest.mark.asyncio(loop_scope="session")

COMMITS = {"main": "1" * 40, "v2": "2" * 40}
TOKEN = "hf_token_of_the_test"


class StandIn:
    """The hub: {repository: {file: content}}, each with the branches main and v2."""

    def __init__(self, repositories: dict[str, dict[str, bytes]]):
        self.repositories = repositories
        self.asked: list[tuple[str, str, str | None]] = []
        self.stalled = asyncio.Event()
        self.lie = 0  # bytes that the list says are there beyond the truth
        self.pushes = False  # v2 becomes the main branch once somebody has seen what that has
        self.url = ""

    async def __aenter__(self):
        app = web.Application()
        app.router.add_route("*", "/{rest:.*}", self.answer)
        self.runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self.runner.setup()
        port = free_port()
        await web.TCPSite(self.runner, "127.0.0.1", port).start()
        self.url = f"http://127.0.0.1:{port}"
        return self

    async def __aexit__(self, *_):
        await self.runner.cleanup()

    async def answer(self, request: web.Request) -> web.StreamResponse:
        self.asked.append((request.method, request.path, request.headers.get("Authorization")))
        api = request.path.startswith("/api/models/")
        parts = request.path.removeprefix("/api/models").strip("/").split("/")
        repository, rest = "/".join(parts[:2]), parts[2:]
        if repository == "org/gated":
            return web.Response(status=403, headers={"X-Error-Code": "GatedRepo"})
        if repository == "org/stalls":
            self.stalled.set()
            await asyncio.Event().wait()
        files = self.repositories.get(repository)
        if files is None:
            return web.Response(status=404, headers={"X-Error-Code": "RepoNotFound"})
        revision = rest[1] if len(rest) > 1 else "main"
        commit = COMMITS.get(revision, revision)
        if self.pushes and revision == "main" and len(self.asked) > 1:
            commit = COMMITS["v2"]
        if commit not in COMMITS.values():
            return web.Response(status=404, headers={"X-Error-Code": "RevisionNotFound"})
        if api and rest[:1] == ["tree"]:
            return web.json_response([{"type": "file", "path": name, "size": len(data) + self.lie,
                                       "oid": hashlib.sha1(data).hexdigest()} for name, data in files.items()])
        if api:
            return web.json_response({"id": repository, "modelId": repository, "sha": commit, "siblings": [
                {"rfilename": name, "size": len(data) + self.lie} for name, data in files.items()]})
        data = files["/".join(rest[2:])]
        headers = {"X-Repo-Commit": commit, "ETag": f'"{hashlib.sha1(data).hexdigest()}"'}
        return web.Response(body=data, headers=headers)

    def files(self) -> set[str]:
        return {path.rpartition("/")[2] for method, path, _ in self.asked if "/resolve/" in path}


@pytest_asyncio.fixture(loop_scope="session")
async def stand_in(tmp_path):
    folder = tiny_adapters.make(tmp_path / "made", 1, 4)
    adapter = {path.name: path.read_bytes() for path in folder.iterdir()}
    others = {"training_args.bin": b"pickle", "README.md": b"text", "handler.py": b"code",
              "checkpoint-1/adapter_config.json": b"{}", "checkpoint-1/optimizer.pt": b"x" * 1000}
    async with StandIn({"org/one": {**adapter, **others}, "org/model": {"config.json": b"{}"},
                        "org/large": {**adapter, "more.safetensors": b"x" * 100_000}}) as hub:
        yield hub


@pytest.fixture
def downloads(stand_in, engine_python, tmp_path):
    def made(seconds: float = 60.0, **more: str) -> Hub:
        environ = {"PATH": os.environ["PATH"], "HOME": str(tmp_path / "home"), "HF_ENDPOINT": stand_in.url,
                   "HF_TOKEN": TOKEN, "HF_HUB_DISABLE_TELEMETRY": "1", "HF_HUB_DISABLE_XET": "1", **more}
        return Hub(environ, str(engine_python), seconds, 100_000, hub_cache.caches(environ))
    return made


async def test_an_adapter_and_nothing_else_is_downloaded_once(stand_in, downloads):
    folder = Path(await downloads().folder("org/one", ""))
    fit.check("org/one", folder, fit.Server(16), Base())
    assert {path.name for path in folder.iterdir()} == {tiny_adapters.CONFIG, tiny_adapters.WEIGHTS} == stand_in.files()
    assert folder.name == COMMITS["main"]
    assert {key for _, _, key in stand_in.asked} == {f"Bearer {TOKEN}"}
    asked = len(stand_in.asked)
    other = Path(await downloads().folder("org/one", "v2"))
    assert other.name == COMMITS["v2"] and len(stand_in.asked) > asked
    asked = len(stand_in.asked)
    assert await downloads().folder("org/one", COMMITS["v2"]) == str(other)
    assert await downloads().folder("org/one", "v2") == str(other)
    assert await downloads().folder("org/one", "") == str(folder)
    assert len(stand_in.asked) == asked  # the cache has that commit, and knows whose it is


async def test_the_only_revision_in_the_cache_is_not_taken_for_the_main_branch(stand_in, downloads):
    assert Path(await downloads().folder("org/one", "v2")).name == COMMITS["v2"]
    assert Path(await downloads().folder("org/one", "")).name == COMMITS["main"]


async def test_a_push_while_it_is_downloaded_makes_no_mixture(stand_in, downloads):
    stand_in.pushes = True
    folder = Path(await downloads().folder("org/one", ""))
    assert folder.name == COMMITS["v2"] and fit.check("org/one", folder, fit.Server(16), Base()) is None


@pytest.mark.parametrize("repository, revision, code, words", [
    ("org/none", "", 404, "no such repository"), ("org/one", "v3", 404, "no revision 'v3'"),
    ("org/model", "", 404, "no adapter_config.json"), ("org/gated", "", 400, "gated"),
    ("org/large", "", 400, "LORA_DOWNLOAD_MAX_MB")])
async def test_what_cannot_be_had_is_said(stand_in, downloads, repository, revision, code, words):
    with pytest.raises(JobError) as raised:
        await downloads().folder(repository, revision)
    assert raised.value.code == code and words in raised.value.message, raised.value.message
    assert not stand_in.files()


async def test_half_a_file_is_no_adapter(stand_in, downloads):
    stand_in.lie = 1
    with pytest.raises(JobError) as raised:
        await downloads().folder("org/one", "")
    assert raised.value.code == 503


async def test_a_hub_that_stalls_is_given_up(stand_in, downloads):
    with pytest.raises(JobError) as raised:
        await downloads(seconds=8.0).folder("org/stalls", "")
    assert stand_in.stalled.is_set()
    assert raised.value.code == 503 and "LORA_DOWNLOAD_TIMEOUT" in raised.value.message


async def test_offline_means_from_a_cache_alone(stand_in, downloads):
    with pytest.raises(JobError) as raised:
        await downloads(HF_HUB_OFFLINE="1").folder("org/one", "")
    assert raised.value.code == 503 and not stand_in.asked
