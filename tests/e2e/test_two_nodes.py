"""A real SGLang on two nodes: two workers on loopback, each with its half of the engine on the CPU, joined by gloo."""

from pathlib import Path

import aiohttp
import pytest

from local import corpus
from server.guard import descendants
from tests.support import free_port
from tests.two_nodes import Pair, kill

START = 240.0  # seconds: two engines import beside each other on a machine that may have two cores
QUESTION = {"model": corpus.SERVED_NAME, "max_tokens": 20, "temperature": 0,
            "messages": [{"role": "user", "content": "What is the capital of France?"}]}

pytestmark = pytest.mark.timeout(1200)


def schedulers(pid: int) -> list[int]:
    return [one for one in descendants(pid) if Path(f"/proc/{one}/comm").read_text().startswith("sglang::schedul")]


async def answer(nodes) -> str:
    async with nodes.nodes[0].post(body=QUESTION) as response:
        assert response.status == 200, await response.text()
        return (await response.json())["choices"][0]["message"]["content"]


@pytest.mark.parametrize("layout", [{}, {"PIPELINE_PARALLEL_SIZE": "2"}], ids=["tensor", "pipeline"])
async def test_one_model_on_two_nodes_answers_is_started_again_as_one_and_ends_as_one(real_environ, layout):
    given = [{**real_environ, "SGLANG_PORT": str(free_port()), "PORT": str(free_port())} for _ in range(2)]
    # Or SGLang wants a NUMA node for each rank (srt/utils/numa_utils.py).
    layout = {"SGLANG_CPU_OMP_THREADS_BIND": "0|1", "NODE_LOST_TIMEOUT": "15", **layout}
    async with aiohttp.ClientSession() as session:
        nodes = Pair(session, given, **layout)
        try:
            for rank in range(2):
                await nodes.begin(rank)
            await nodes.up(START)
            assert await answer(nodes) == "Paris."

            before = [schedulers(node.worker.process.pid) for node in nodes.nodes]
            assert [len(one) for one in before] == [1, 1]
            kill(before[1][0])
            for node in nodes.nodes:
                await node.worker.line("restarted: ", START)
            await nodes.up()
            after = [schedulers(node.worker.process.pid) for node in nodes.nodes]
            assert not {*before[0], *before[1]} & {*after[0], *after[1]}
            assert await answer(nodes) == "Paris."

            nodes.nodes[0].worker.process.terminate()
            assert await nodes.ended() == [0, 0]
            assert "is lost" not in nodes.said(0) + nodes.said(1)
        finally:
            for worker in nodes.all:
                await worker.__aexit__()
