"""The demo's two ways, each with a scripted engine in SGLang's place: a question, its answer, what --serve prints."""

import asyncio
import json
import re
import shlex
import shutil
import signal
import sys
import urllib.request

import pytest

from tests.support import ROOT
from tests.worker import contract_environ

_DEMO = """
import json, sys
from local import demo, environments
extra = json.loads(sys.argv[1])
environments.engine_python = environments.tiny_model = lambda: environments.ROOT
demo.worker_environ = lambda way, *_: {**extra, **way.environ()}
sys.exit(demo.main(sys.argv[2:]))
"""


@pytest.fixture
async def demo(tmp_path):
    """demo(argument, …): the demo's process, its worker before a scripted engine."""
    running = []

    async def start(*arguments):
        environ = contract_environ(WORKER_SGLANG_CACHE=str(tmp_path))
        running.append(await asyncio.create_subprocess_exec(
            sys.executable, "-c", _DEMO, json.dumps(environ), "--port", "0", *arguments, cwd=ROOT, env=environ,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT))
        return running[-1]

    yield start
    for process in running:
        if process.returncode is None:
            process.kill()
            await process.wait()


@pytest.mark.parametrize("way", [[], ["--http"]])
async def test_a_question_is_answered_and_everything_ends(demo, way):
    process = await demo("--question", '#script {"text": "Paris, streamed."}', *way)
    told = (await asyncio.wait_for(process.stdout.read(), 120)).decode()
    assert await process.wait() == 0, told
    assert "\nA: Paris, streamed.\nstopped\n" in told
    assert ("platform: " in told) is not bool(way)


@pytest.mark.skipif(not shutil.which("curl"), reason="needs curl")
@pytest.mark.parametrize("way", [[], ["--http"]])
async def test_what_serve_prints_can_be_run(demo, way):
    process = await demo("--serve", *way)
    lines = []
    async with asyncio.timeout(120):
        while not lines or "Ctrl-C" not in lines[-1]:
            lines.append((await process.stdout.readline()).decode())
            assert lines[-1], "".join(lines)
    said = "".join(lines)
    command = said[said.index("curl -N"):said.index("}]}'") + 4].replace("\\\n", " ")
    base = said.split("base URL for any OpenAI client: ")[1].split()[0]
    assert base.endswith("/v1") and base in command and ("/v2/" in base) is not bool(way)
    curl = await asyncio.create_subprocess_exec(*shlex.split(command), stdout=asyncio.subprocess.PIPE,
                                                stderr=asyncio.subprocess.DEVNULL)
    events = (await asyncio.wait_for(curl.stdout.read(), 60)).decode()
    assert events.endswith("data: [DONE]\n\n") and '"content":' in events
    if way:
        [page] = re.findall(r"a page to try it: (\S+)", said)
        assert b"<!doctype html>" in (await asyncio.to_thread(urllib.request.urlopen, page, timeout=30)).read().lower()
    process.send_signal(signal.SIGINT)
    assert "stopped" in (await asyncio.wait_for(process.stdout.read(), 60)).decode()
    assert await process.wait() == 0
