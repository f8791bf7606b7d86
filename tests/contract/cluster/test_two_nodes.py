"""Two workers as two nodes: whatever happens to one, both are up again together or both end, and nothing hangs."""

import asyncio
import contextlib
import json
import os
import signal

import pytest

from local.forwarder import Forwarder
from local.frost import freeze, thaw
from tests.contract.front.http_worker import CHAT, KEY
from tests.two_nodes import LOST, kill

STARTING = json.dumps({"ready_delay": 1.5})


async def test_node_0_serves_and_the_other_says_how_its_part_stands_and_who_serves(pair):
    nodes = pair()
    first = await nodes.begin(0)
    assert (await first.becomes(204))[-1] == 204
    await first.worker.line("node 0 is there: 1 of 2")
    assert "Uvicorn" not in first.worker.output  # no engine before all are there
    async with first.session.get(first.base + "/-/state", headers={"Authorization": f"Bearer {KEY}"}) as response:
        start = (await response.json())["start"]
    assert start["phases"][-1]["name"] == "other nodes" and start["total_s"] < 60
    second = await nodes.begin(1)
    assert set(await second.becomes(200)) <= {None, 204, 200}
    await nodes.up()
    await nodes.answers()
    assert '"name": "other nodes"' in await first.worker.line("start report")
    for path in (CHAT, "/v1/models", "/", "/metrics"):
        async with second.session.get(second.base + path) as response:
            told = await response.json()
        assert (response.status, told["error"]["code"]) == (421, 421)
        assert "This is node 1 of 2: requests go to node 0 (127.0.0.1)" in told["error"]["message"]
    async with second.post("/v1/messages", body={}) as response:
        assert response.status == 421 and (await response.json())["type"] == "error"
    for rank in range(2):
        command = [line for line in nodes.said(rank).splitlines() if "tensor parallel size 2" in line]
        assert command and KEY not in nodes.said(rank)


@pytest.mark.parametrize(("rank", "moment", "processes"), [
    (0, "serving", "1"), (1, "serving", "1"), (0, "idle", "1"), (1, "idle", "1"), (1, "serving", "2")])
async def test_an_engine_that_dies_takes_the_other_along_and_both_are_started_again(pair, rank, moment, processes):
    nodes = await pair(HTTP_PROCESSES=processes).both()
    running = nodes.stream(hang_at=3) if moment == "serving" else None
    if running:
        await nodes.running()
    before = [await nodes.pid(one) for one in range(2)]
    kill(before[rank])
    if running:
        await running  # it ends, as one of a worker alone whose engine dies
    await nodes.nodes[0].worker.line("restarting the engine on all nodes (1 of at most 3 within 600 s)")
    for node in nodes.nodes:
        await node.worker.line("restarted: ")
    await nodes.up()
    after = [await nodes.pid(one) for one in range(2)]
    assert not set(before) & set(after)
    await nodes.answers()
    assert f"node {rank}'s engine: The SGLang server ended (killed by SIGKILL)" in nodes.said(0)


async def brought_to(pair, moment):
    """(both nodes, a stream that runs or None): with engines that start, up and idle, or serving."""
    nodes = pair(SCRIPTED_ENGINE_LIFE=STARTING) if moment == "start" else pair()
    if moment == "start":
        for one in range(2):
            await nodes.begin(one)
        for node in nodes.nodes:
            await node.worker.line("Uvicorn running on")
        return nodes, None
    await nodes.both()
    if moment == "idle":
        return nodes, None
    running = nodes.stream(hang_at=3)
    await nodes.running()
    return nodes, running


@pytest.mark.parametrize("rank", [0, 1])
@pytest.mark.parametrize("moment", ["start", "idle", "serving"])
async def test_a_worker_that_is_killed_is_waited_for_and_both_go_on(pair, rank, moment):
    nodes, running = await brought_to(pair, moment)
    left = nodes.nodes[1 - rank]
    pid = await nodes.pid(1 - rank)
    kill(nodes.nodes[rank].worker.process.pid)
    assert (await left.becomes(204))[-1] == 204
    if running is not None:
        await asyncio.wait([running])
    await nodes.begin(rank)
    await nodes.up()
    await nodes.answers()
    assert await nodes.pid(1 - rank) != pid
    assert f"node {rank} is lost: " in left.worker.output


@pytest.mark.parametrize("rank", [0, 1])
async def test_an_engine_that_hangs_is_killed_and_both_are_started_again(pair, rank):
    nodes = await pair(SGLANG_HANG_TIMEOUT="4").both()
    pids = [await nodes.pid(one) for one in range(2)]
    os.kill(pids[rank], signal.SIGSTOP)
    for node in nodes.nodes:
        await node.worker.line("restarted: ", 60)
    await nodes.up()
    assert not set(pids) & {await nodes.pid(one) for one in range(2)}
    await nodes.answers()
    assert f"node {rank}'s engine: The SGLang server hung and was killed" in nodes.said(0)


@pytest.mark.parametrize("rank", [0, 1])
@pytest.mark.parametrize("moment", ["start", "idle", "serving"])
async def test_a_worker_that_stands_still_counts_as_lost_and_may_come_back(pair, rank, moment):
    nodes, running = await brought_to(pair, moment)
    pids = [await nodes.pid(one) for one in range(2)]
    stopped = nodes.nodes[rank].worker.process
    stopped.send_signal(signal.SIGSTOP)
    left = nodes.nodes[1 - rank]
    await left.worker.line(f"node {rank} is lost: it said nothing for {LOST:g} s (NODE_LOST_TIMEOUT)")
    await left.becomes(204)
    stopped.send_signal(signal.SIGCONT)
    for node in nodes.nodes:
        await node.worker.found(lambda line, node=node: node.worker.output.count("Uvicorn running on") > 1 or None, 60)
    await nodes.up()
    if running:
        await running
    assert not set(pids) & {await nodes.pid(one) for one in range(2)}
    await nodes.answers()


@pytest.mark.parametrize("serving", [False, True])
async def test_a_connection_that_carries_nothing_any_more_counts_as_lost_on_both_sides(pair, serving):
    nodes = pair()
    async with Forwarder(nodes.port - 1) as between:
        nodes.environs[1]["PRIMARY_PORT"] = str(between.port + 1)
        await nodes.both()
        pids = [await nodes.pid(one) for one in range(2)]
        running = nodes.stream(hang_at=3) if serving else None
        if running:
            await nodes.running()
        between.swallow(told=False)
        for node in nodes.nodes:
            await node.worker.line("restarted: ", 60)
        await nodes.up()
        if running:
            await running
        assert not set(pids) & {await nodes.pid(one) for one in range(2)}
        await nodes.answers()
        assert "node 1 is lost: " in nodes.said(0) and "node 0 is lost: it said nothing for" in nodes.said(1)


async def test_all_of_them_frozen_and_thawed_have_lost_nobody(pair):
    nodes = await pair().both()
    pids = [await nodes.pid(one) for one in range(2)]
    stopped = [freeze(node.worker.process.pid) for node in nodes.nodes]
    await asyncio.sleep(LOST * 2)
    for one in stopped:
        thaw(one)
    for node in nodes.nodes:
        await node.worker.line("thawed after")
    await nodes.answers()
    await asyncio.sleep(LOST * 1.5)  # in which whoever counted it would have acted
    assert pids == [await nodes.pid(one) for one in range(2)]
    assert [await node.stage() for node in nodes.nodes] == [200, 200]


@pytest.mark.parametrize("rank", [0, 1])
async def test_who_waits_for_a_node_that_does_not_come_ends_with_the_reason(pair, rank):
    nodes = pair(NODE_WAIT_TIMEOUT="2")
    http = await nodes.begin(rank)
    assert await http.worker.ended(60) == 1
    assert f"node {1 - rank}" in http.worker.output
    assert "was not there within 2 s (NODE_WAIT_TIMEOUT)" in http.worker.output


@pytest.mark.parametrize("rank", [0, 1])
async def test_who_has_lost_a_node_for_good_ends_with_the_reason(pair, rank):
    nodes = await pair(NODE_WAIT_TIMEOUT="10").both()
    kill(nodes.nodes[rank].worker.process.pid)
    left = nodes.nodes[1 - rank]
    assert await left.worker.ended(60) == 1
    assert "was not there within 10 s (NODE_WAIT_TIMEOUT)" in left.worker.output


async def test_an_engine_that_never_was_up_ends_all_with_its_last_lines(pair):
    nodes = pair()
    nodes.environs[1]["SCRIPTED_ENGINE_LIFE"] = json.dumps(
        {"log": ["torch.OutOfMemoryError: CUDA out of memory."], "exit_after": 0, "exit_code": 1})
    for rank in range(2):
        await nodes.begin(rank)
    assert await nodes.ended() == [1, 1]
    for rank in range(2):
        assert "node 1: The SGLang server ended before it was ready (exit status 1)" in nodes.said(rank)
        assert "torch.OutOfMemoryError" in nodes.said(rank) and "What to do:" in nodes.said(rank)


async def test_when_the_restarts_are_spent_all_end(pair):
    nodes = await pair(SGLANG_MAX_RESTARTS="1").both()
    kill(await nodes.pid(1))
    await nodes.nodes[0].worker.line("restarting the engine on all nodes (1 of at most 1 within 600 s)")
    for node in nodes.nodes:
        await node.worker.found(lambda line: line if "restarted: " in line else None, 60)
    await nodes.up()
    kill(await nodes.pid(1))
    assert await nodes.ended() == [1, 1]
    for rank in range(2):
        assert "after 1 restarts of all nodes within 600 s (SGLANG_MAX_RESTARTS): all nodes end." in nodes.said(rank)


@pytest.mark.parametrize("rank", [0, 1])
async def test_told_to_stop_one_all_end_in_order_once_what_runs_is_done(pair, rank):
    nodes = await pair().both()
    running = nodes.stream(tokens=4, hang_at=2)
    await nodes.running()
    nodes.nodes[rank].worker.process.terminate()
    await nodes.nodes[0].worker.line("stopping: 1 running requests")
    if rank == 1:
        assert await nodes.nodes[1].stage() == 503
        assert "node 1 was told to stop: all nodes end, once the running requests are done" in nodes.said(0)
    await asyncio.to_thread(release, nodes.nodes[0].worker.environ["SGLANG_PORT"])
    assert "[DONE]" in await running
    assert await nodes.ended() == [0, 0]
    assert "is lost" not in nodes.said(0) + nodes.said(1)


@pytest.mark.parametrize("rank", [0, 1])
async def test_told_to_stop_all_at_once_they_finish_what_runs(pair, rank):
    nodes = await pair().both()
    running = nodes.stream(tokens=4, hang_at=2)
    await nodes.running()
    nodes.nodes[rank].worker.process.terminate()
    await nodes.nodes[0].worker.line("stopping: 1 running requests")
    nodes.nodes[1 - rank].worker.process.terminate()  # for node 0 the second after that of node 1
    await nodes.nodes[1].becomes(503)
    await asyncio.to_thread(release, nodes.nodes[0].worker.environ["SGLANG_PORT"])
    assert "[DONE]" in await running
    assert await nodes.ended() == [0, 0]


@pytest.mark.parametrize("moment", [("node 1 is there", "is connected to node 0"), ("listening on",) * 2])
@pytest.mark.parametrize("rank", [0, 1])
async def test_told_to_stop_while_they_start_all_end_in_order(pair, rank, moment):
    nodes = pair(SCRIPTED_ENGINE_LIFE=json.dumps({"ready_delay": 300}), DRAIN_TIMEOUT="300")
    for one in range(2):
        await nodes.begin(one)
    await nodes.nodes[rank].worker.line(moment[rank])
    nodes.nodes[rank].worker.process.terminate()
    assert await nodes.ended() == [0, 0]


async def test_a_node_that_is_lost_while_node_0_drains_holds_up_nothing(pair):
    nodes = await pair(DRAIN_TIMEOUT="300").both()
    running = nodes.stream(hang_at=3)
    await nodes.running()
    nodes.nodes[0].worker.process.terminate()
    await nodes.nodes[0].worker.line("stopping: 1 running requests")
    kill(nodes.nodes[1].worker.process.pid)
    assert "error" in await running
    assert await nodes.nodes[0].worker.ended(60) == 0


async def test_a_node_that_leaves_does_not_wait_for_a_node_0_that_says_nothing(pair):
    nodes = await pair(DRAIN_TIMEOUT="300").both()
    nodes.nodes[0].worker.process.send_signal(signal.SIGSTOP)
    nodes.nodes[1].worker.process.terminate()
    assert await nodes.nodes[1].worker.ended(60) == 0


async def test_a_node_that_is_told_to_stop_does_not_wait_for_a_node_0_that_is_not_there(pair):
    nodes = pair(DRAIN_TIMEOUT="300")
    node = await nodes.begin(1)
    await node.worker.line("node 0 is not reached")
    node.worker.process.terminate()
    assert await node.worker.ended(60) == 0


async def test_node_0_has_to_be_able_to_listen(pair):
    node = await pair(NODE_ADDR="192.0.2.1").begin(0)
    assert await node.worker.ended(60) == 1
    assert "Node 0 cannot listen for the others on 192.0.2.1:" in node.worker.output


def release(port: str) -> None:
    import urllib.request
    urllib.request.urlopen(urllib.request.Request(f"http://127.0.0.1:{port}/_scripted/release", method="POST"))


@pytest.mark.parametrize(("name", "value", "says"), [
    ("CONTEXT_LENGTH", "4096", "node 1 was started with other settings: --context-length"),
    ("MODEL_NAME", "org/other", "node 1 was started with other settings: model"),
    ("WORKER_API_KEY", "sesame-of-another", "it has another WORKER_API_KEY"),
])
async def test_a_node_that_is_none_of_them_is_told_why_and_ends(pair, name, value, says):
    nodes = pair()
    nodes.environs[1][name] = value
    for rank in range(2):
        await nodes.begin(rank)
    assert await nodes.nodes[1].worker.ended(60) == 1
    assert f"node 0 does not let this node in: {says}" in nodes.said(1)
    assert f"a node was not let in: {says}" in nodes.said(0)
    nodes.environs[1][name] = nodes.environs[0].get(name, "")
    await nodes.begin(1)
    await nodes.up()


async def test_strangers_at_the_port_change_nothing(pair):
    nodes = await pair().both()
    pids = [await nodes.pid(one) for one in range(2)]
    for said in (b"GET / HTTP/1.1\r\n\r\n", b'["hello",1,"x","y",{}]\n', b'["hello",true]\n', b"[" * 300_000 + b"\n",
                 b"[" * 100_000 + b"\n", b""):
        reader, writer = await asyncio.open_connection("127.0.0.1", nodes.port - 1)
        assert json.loads(await reader.readline())[0] == "challenge"
        writer.write(said)
        if not said:
            writer.close()
        async with asyncio.timeout(60):
            with contextlib.suppress(ConnectionError):
                assert b"welcome" not in await reader.read()
    await nodes.answers()
    assert pids == [await nodes.pid(one) for one in range(2)]
