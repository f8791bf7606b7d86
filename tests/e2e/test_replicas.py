"""Two replicas of the model in one engine, behind two processes of the HTTP front: what runs, and what is left of it
when one of the schedulers is killed.

One engine for all of it; the last test ends it. SGLang wants to be told the cores of each replica on a CPU.
"""

import asyncio
import json
import os
import signal
from pathlib import Path

import aiohttp
import pytest
import pytest_asyncio

from bench.process_usage import with_fronts
from local import corpus
from server.guard import descendants
from tests.e2e.test_faults import UP, Tree, chat, error_of, native, restarts, spoken, started, title
from tests.over_http import KEY

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(900)]

PARIS, PARIS_ANSWER = corpus.EXCHANGES[0]
LONG = 1500  # tokens


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def pair(real_environ):
    cores = sorted(os.sched_getaffinity(0))
    async with started(real_environ, "http", DATA_PARALLEL_SIZE="2", HTTP_PROCESSES="2", HEAD_START="on",
                       SGLANG_CPU_OMP_THREADS_BIND=f"{cores[0]}|{cores[-1]}") as (front, worker):
        yield front, await worker.connected()


@pytest.fixture
def platform(pair):
    return pair[0]


@pytest.fixture
def worker(pair):
    return pair[1]


async def stream(worker) -> tuple[aiohttp.ClientSession, aiohttp.ClientResponse]:
    """A long stream over a connection of its own, begun."""
    session = aiohttp.ClientSession(headers={"Authorization": f"Bearer {KEY}"})
    return session, await session.post(f"http://127.0.0.1:{worker.environ['PORT']}/generate",
                                       json=native(1, LONG, stream=True) | {"text": "once upon a time"})


async def through_each(worker, count: int) -> list:
    """`count` streams through each process of the front: the other one is stopped while they connect."""
    fronts, begun = with_fronts(worker.process.pid)[1:], []
    assert len(fronts) == 2
    for other in fronts:
        os.kill(other, signal.SIGSTOP)
        try:
            begun += await asyncio.gather(*[stream(worker) for _ in range(count)])
        finally:
            os.kill(other, signal.SIGCONT)
    return begun


async def last_event(session, response) -> dict:
    """Of a stream that has ended, by its end or in the middle of an event."""
    async with session:
        events = [event for event in (await response.text()).split("\n\n") if event.startswith("data: {")]
    return json.loads(events[-1].removeprefix("data: "))


async def test_every_interpreter_became_one_of_the_servers_processes(worker):
    with Tree(worker) as tree:
        parts = {pid: name for pid, name in tree.engine.items() if "resource_tracker" not in name}
        roles = sorted(name.split()[0].removeprefix("sglang::") for name in parts.values() if name.startswith("sglang"))
        assert roles == ["data_parallel_controller", "detokenizer", "scheduler_DP0", "scheduler_DP1"]
        assert len(parts) == 1 + len(roles), parts  # and the server
        controller = tree.pid("data_parallel_controller")
        assert {title(pid).split()[0] for pid in descendants(controller)} == {
            "sglang::scheduler_DP0", "sglang::scheduler_DP1"}
        # As old as the server's own start: they imported beside it, the controller's children too.
        began = {pid: int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]) for pid in parts}
        server = tree.pid("server")
        late = (max(began.values()) - began[server]) / os.sysconf("SC_CLK_TCK")
        imports = next(line for line in worker.lines if "server_args=" in line)
        assert imports and late < 5, (late, parts)


async def test_both_replicas_answer_through_both_processes(platform, worker):
    ends = await asyncio.gather(*[last_event(*one) for one in await through_each(worker, 4)])
    assert {end["meta_info"]["dp_rank"] for end in ends} == {0, 1}
    assert {(end["text"], end["meta_info"]["completion_tokens"]) for end in ends} == {(ends[0]["text"], LONG)}
    chats = [await platform.submit(chat(PARIS, stream=True)) for _ in range(8)]
    assert [spoken(await job.finished(UP)) for job in chats] == [PARIS_ANSWER] * 8


async def test_a_killed_scheduler_of_one_replica_fails_what_ran_and_both_serve_again(platform, worker):
    before = restarts(worker)
    with Tree(worker) as tree:
        streams = await through_each(worker, 4)
        victim = tree.pid("scheduler_DP1")
        os.kill(victim, signal.SIGKILL)
        early = [await platform.submit(chat(PARIS, stream=True)) for _ in range(4)]
        for one in streams:
            error = (await last_event(*one))["error"]
            assert error["code"] == 502 and "The engine ended while this job was running" in error["message"]
        await tree.engine_gone()
    for job in early:  # those that the other replica had answered by then, and those that failed with it
        await job.finished(UP)
        assert error_of(job)["code"] == 502 if job.status == "FAILED" else spoken(job) == PARIS_ANSWER
    assert f"The SGLang server lost its scheduler_DP1 (process {victim}) and was killed" in worker.output
    answers = [(await (await platform.submit(native(1, 8))).finished(UP)).output[0][0] for _ in range(4)]
    assert {answer["meta_info"]["dp_rank"] for answer in answers} == {0, 1}
    assert restarts(worker) == before + 1 and worker.process.returncode is None
