"""One real SGLang on the CPU, one worker under the real SDK and one platform for the whole session."""

import os
import shlex
from pathlib import Path

import anthropic
import openai
import pytest
import pytest_asyncio

from local import corpus, environments
from local.runpod_platform import Platform
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
async def platform():
    async with Platform() as stand_in:
        yield stand_in


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def worker(platform, real_environ):
    async with WorkerProcess(platform, real_environ, ready_within=240) as process:
        yield await process.connected()


@pytest_asyncio.fixture(loop_scope="session")
async def client(platform, worker):
    async with openai.AsyncOpenAI(base_url=platform.openai_url, api_key="any", max_retries=0, timeout=120) as sdk:
        yield sdk


@pytest_asyncio.fixture(loop_scope="session")
async def claude_client(platform, worker):
    async with anthropic.AsyncAnthropic(base_url=platform.url + "/openai", auth_token="any", max_retries=0,
                                        timeout=120) as sdk:
        yield sdk
