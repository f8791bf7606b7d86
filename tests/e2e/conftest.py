"""One real SGLang on the CPU for the whole session, and two workers before it: one under the real SDK behind the
platform's stand-in, one over HTTP."""

import os
import shlex
from pathlib import Path

import anthropic
import openai
import pytest
import pytest_asyncio

from local import corpus, environments
from local.runpod_platform import Platform
from tests.e2e.fronts import FRONTS, http_beside
from tests.over_http import KEY
from tests.support import free_port
from tests.worker import WorkerProcess

API_KEY = "sesame-between-worker-and-engine"


@pytest.fixture(scope="session")
def engine_python() -> Path:
    return environments.engine_python()


@pytest.fixture(scope="session")
def model_path() -> Path:
    return environments.tiny_model()


@pytest.fixture(scope="session")
def real_environ(engine_python, model_path) -> dict[str, str]:
    """A worker that serves the tiny model with the real engine."""
    return {**environments.engine_environ(os.environ), **environments.CPU_ENGINE_ARGS,
            "SGLANG_LAUNCH_COMMAND": f"{shlex.quote(str(engine_python))} -m sglang.launch_server",
            "SGLANG_PORT": str(free_port()), "MODEL_NAME": str(model_path), "SERVED_MODEL_NAME": corpus.SERVED_NAME,
            "TOOL_CALL_PARSER": "qwen25", "API_KEY": API_KEY, "HEAD_START": "on",
            "RUNPOD_SKIP_AUTO_SYSTEM_CHECKS": "true"}


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def behind_queue(real_environ):
    """(platform, worker): the worker whose engine it is."""
    async with Platform() as stand_in, WorkerProcess(stand_in, real_environ, ready_within=240) as process:
        yield stand_in, await process.connected()


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def over_http(behind_queue):
    """(front, worker): a worker over HTTP, which stands before the same engine."""
    async with http_beside(behind_queue[1]) as pair:
        yield pair


@pytest.fixture(params=FRONTS)
def way(request, behind_queue, over_http):
    """Every test that asks for a platform, a worker or a client is run through both fronts."""
    return {"queue": behind_queue, "http": over_http}[request.param]


@pytest.fixture
def platform(way):
    return way[0]


@pytest.fixture
def worker(way):
    return way[1]


@pytest_asyncio.fixture(loop_scope="session")
async def client(platform):
    async with openai.AsyncOpenAI(base_url=platform.openai_url, api_key=KEY, max_retries=0, timeout=120) as sdk:
        yield sdk


@pytest_asyncio.fixture(loop_scope="session")
async def claude_client(platform):
    root = platform.openai_url.removesuffix("/v1")
    async with anthropic.AsyncAnthropic(base_url=root, auth_token=KEY, max_retries=0, timeout=120) as sdk:
        yield sdk
