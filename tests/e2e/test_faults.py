"""Deaths, hangs, cancellation, load, shutdown and secrets: the worker under the real SDK, with a real SGLang.

A start of the engine takes half a minute, so most tests share one worker. It is ended by the last of them.
"""

import asyncio
import contextlib
import ipaddress
import json
import os
import random
import re
import select
import signal
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest
import pytest_asyncio

from local import corpus
from local.runpod_platform import WORKER_KEY, Platform
from server.guard import descendants
from tests.e2e.fronts import FRONTS
from tests.over_http import KEY, OverHttp
from tests.support import free_port
from tests.worker import WorkerProcess

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(600)]

API_KEY = "open-sesame-for-the-fault-tests"
HF_TOKEN = "hf_of-nobody-for-the-fault-tests"
PARIS, PARIS_ANSWER = corpus.EXCHANGES[0]
PLANETS, PLANETS_ANSWER = corpus.EXCHANGES[5]
CONTEXT = 2048  # tokens that the tiny model takes
HANG = 8  # seconds of silence after which the engine counts as hung here
UP = 300  # seconds within which an engine is up again, on a machine that is busy with other things


@contextlib.asynccontextmanager
async def started(environ: dict[str, str], front: str = "queue", **extra: str):
    """A platform, or the worker's own HTTP front, and a worker of one test's own, not yet connected."""
    settings = {**environ, "SGLANG_PORT": str(free_port()), "API_KEY": API_KEY, "HF_TOKEN": HF_TOKEN,
                "ENGINE_WAIT_TIMEOUT": str(UP), **extra}
    async with (OverHttp if front == "http" else Platform)() as platform, WorkerProcess(
            platform, settings, ready_within=UP) as worker:
        yield platform, worker


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=FRONTS)
async def pair(request, real_environ):
    """Each front's own engine, for it is killed. The tests run through the one and then through the other."""
    async with started(real_environ, request.param, SGLANG_MAX_RESTARTS="9", SGLANG_HANG_TIMEOUT=str(HANG),
                       DRAIN_TIMEOUT=str(UP), MAX_CONCURRENCY="96") as (platform, worker):
        yield platform, await worker.connected()


@pytest.fixture
def platform(pair):
    return pair[0]


@pytest.fixture
def worker(pair):
    return pair[1]


# ------------------------------------------------------------------ jobs
def chat(question: str, **fields) -> dict:
    return {"messages": [{"role": "user", "content": question}], "temperature": 0, **fields}


def endless(question: str, **fields) -> dict:
    """A chat that goes on until the context is full."""
    return chat(question, max_tokens=CONTEXT - 300, ignore_eos=True, **fields)


def native(prompts: int, tokens: int, **fields) -> dict:
    return {"text": [f"{i} once upon a time" for i in range(prompts)],
            "sampling_params": {"temperature": 0, "max_new_tokens": tokens, "ignore_eos": True}, **fields}


def spoken(job) -> str:
    """The text of a streamed chat, which must be complete."""
    assert job.status == "COMPLETED", job.error
    # Over HTTP a stream that waits says so, in comments.
    events = [event for event in "".join(job.output).split("\n\n") if not event.startswith(":")]
    assert events[-2:] == ["data: [DONE]", ""]
    choices = [json.loads(event.removeprefix("data: "))["choices"] for event in events[:-2]]
    return "".join(choice[0]["delta"].get("content") or "" for choice in choices if choice)


def answered(job) -> str:
    assert job.status == "COMPLETED", job.error
    return job.output[0]["choices"][0]["message"]["content"]


def error_of(job) -> dict:
    assert job.status == "FAILED", (job.status, job.output)
    return json.loads(job.error)


async def begun(job) -> None:
    """Wait for the first chunk of a stream."""
    await job.until(lambda record: record.chunks or record.is_final, UP)
    assert job.chunks, job.error


async def serves(platform) -> None:
    """The engine answers a chat exactly, streamed and not."""
    whole, stream = [await platform.submit(chat(PARIS, stream=stream)) for stream in (False, True)]
    assert answered(await whole.finished(UP)) == PARIS_ANSWER
    assert spoken(await stream.finished(UP)) == PARIS_ANSWER


# ------------------------------------------------------------------ processes
def title(pid: int) -> str:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
    return ""


class Tree:
    """The processes below a worker at one moment: the guard, the server and its parts.

    Held by descriptors, because a process id may be used again.
    """

    def __init__(self, worker: WorkerProcess):
        top = worker.process.pid
        [self.guard] = [pid for pid in descendants(top) if "guard.py" in title(pid)]
        below = descendants(self.guard)
        self.engine = {pid: title(pid) for pid in below}
        self._pids = [top, *descendants(top)]
        self._descriptors: dict[int, int] = {}
        for pid in self._pids:
            with contextlib.suppress(ProcessLookupError):
                self._descriptors[pid] = os.pidfd_open(pid)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for descriptor in self._descriptors.values():
            os.close(descriptor)

    def pid(self, role: str) -> int:
        """The engine's process by its own title, or the one that the guard started."""
        fragment = "launch_server" if role == "server" else f"sglang::{role}"
        return next(pid for pid, name in self.engine.items() if fragment in name)

    async def engine_gone(self) -> None:
        await self._gone([self.guard, *self.engine])

    async def all_gone(self) -> None:
        await self._gone(self._pids)

    async def _gone(self, pids: list[int]) -> None:
        """Wait for the end of these processes, and see that none is left of those that came later."""
        for pid in pids:
            if pid in self._descriptors:
                poller = select.poll()
                poller.register(self._descriptors[pid], select.POLLIN)
                assert await asyncio.to_thread(poller.poll, 60_000), f"{pid} is still there: {title(pid)}"
        assert not session(self.guard)


def session(leader: int) -> dict[int, str]:
    """Living processes of the session that a guard leads, whoever is their parent now."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            state, _, _, sid = (folder / "stat").read_text(errors="replace").rpartition(")")[2].split()[:4]
            if int(sid) == leader and state != "Z":
                found[int(folder.name)] = title(int(folder.name))
    return found


def listeners(pids) -> list[tuple[ipaddress.IPv4Address | ipaddress.IPv6Address, int, int]]:
    """(address, port, process id) of every TCP socket on which these processes listen."""
    owners = {}
    for pid in pids:
        for descriptor in Path(f"/proc/{pid}/fd").iterdir():
            with contextlib.suppress(OSError):
                if found := re.fullmatch(r"socket:\[(\d+)\]", os.readlink(descriptor)):
                    owners[found[1]] = pid
    found = []
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and fields[9] in owners:
                address, port = fields[1].split(":")
                words = [bytes.fromhex(address[i:i + 8])[::-1] for i in range(0, len(address), 8)]
                found.append((ipaddress.ip_address(b"".join(words)), int(port, 16), owners[fields[9]]))
    return found


async def ask(worker: WorkerProcess, path: str, key: str | None = API_KEY) -> tuple[int, dict]:
    """Status and JSON of a read of the engine itself."""
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    request = Request(f"http://127.0.0.1:{worker.environ['SGLANG_PORT']}{path}", headers=headers)

    def fetch():
        try:
            with urlopen(request, timeout=60) as response:
                return response.status, json.load(response)
        except HTTPError as error:
            return error.code, json.load(error)
    return await asyncio.to_thread(fetch)


async def load(worker: WorkerProcess) -> int:
    """Requests that the engine runs or has queued."""
    status, body = await ask(worker, "/v1/loads")
    assert status == 200
    return sum(entry["num_running_reqs"] + entry["num_waiting_reqs"] for entry in body["loads"])


def restarts(worker: WorkerProcess) -> int:
    return sum("restarting the engine" in line for line in worker.lines)


# ------------------------------------------------------------------ nobody let in, nothing told
async def test_only_loopback_is_listened_on(worker):
    with Tree(worker) as tree:
        found = listeners(tree.engine)
        served = [address for address, port, _ in found if port == int(worker.environ["SGLANG_PORT"])]
        assert served == [ipaddress.ip_address("127.0.0.1")]
        # torch's own rendezvous, which has no setting for the address (SECURITY.md); it is none of the worker's ports.
        others = [(address, pid) for address, _, pid in found if not address.is_loopback]
        assert len(others) <= 1 and all(pid == tree.pid("scheduler") for _, pid in others), found
        ports = [port for _, port, _ in listeners([worker.process.pid, tree.guard])]
        assert ports == ([int(worker.environ["PORT"])] if worker.over_http else [])


async def test_the_engine_wants_its_key(worker):
    for key in (None, "wrong"):
        assert (await ask(worker, "/v1/models", key))[0] == 401
    assert (await ask(worker, "/v1/models"))[0] == 200


async def test_no_secret_in_the_engine_environment_or_in_the_output(worker):
    with Tree(worker) as tree:
        for pid in (tree.guard, *tree.engine):
            block = Path(f"/proc/{pid}/environ").read_bytes()
            names = {entry.partition(b"=")[0] for entry in block.split(b"\0")}
            assert not names & {b"API_KEY", b"RUNPOD_AI_API_KEY", b"RUNPOD_API_KEY", b"WORKER_API_KEY"}, pid
            assert not any(name.startswith(b"RUNPOD_WEBHOOK_") for name in names), pid
            for secret in (API_KEY, WORKER_KEY, KEY):
                assert secret.encode() not in block, pid
        # Downloads need it, and this is where they look.
        assert f"HF_TOKEN={HF_TOKEN}".encode() in Path(f"/proc/{tree.pid('server')}/environ").read_bytes()
    assert "server_args=" in worker.output  # the engine prints every argument that it was given
    for secret in (API_KEY, HF_TOKEN, WORKER_KEY, KEY):
        assert secret not in worker.output


# ------------------------------------------------------------------ cancellation
async def settled(worker: WorkerProcess, count: int) -> None:
    """Wait until the engine has `count` requests; it has no event for that."""
    async with asyncio.timeout(120):
        while await load(worker) != count:  # noqa: ASYNC110
            await asyncio.sleep(0.02)


@pytest.mark.parametrize("job_input, requests", [
    pytest.param(endless(PARIS, stream=True), 1, id="streamed"), pytest.param(endless(PARIS), 1, id="whole"),
    pytest.param(native(24, CONTEXT - 300, stream=True), 24, id="batch, streamed"),
    pytest.param(native(24, CONTEXT - 300), 24, id="batch"), pytest.param(endless(PARIS, n=4), 4, id="four answers"),
    pytest.param(endless(PARIS, n=4, stream=True), 4, id="four answers, streamed")])
async def test_cancelling_stops_generation(platform, worker, job_input, requests):
    job = await platform.submit(job_input)
    await settled(worker, requests)
    # As long, and begun later: what ends before it was stopped.
    other = await platform.submit(endless(PLANETS, stream=True))
    await settled(worker, requests + 1)
    await platform.cancel(job.id)
    await settled(worker, 1)
    assert job.status == "CANCELLED" and other.status == "IN_PROGRESS"
    await platform.cancel(other.id)
    await settled(worker, 0)
    await serves(platform)


@pytest.mark.parametrize("route, body", [
    ("/v1/messages", {"messages": [{"role": "user", "content": PARIS}], "max_tokens": 50}),
    ("/v1/responses", {"input": PARIS, "max_output_tokens": 50, "store": False})])
async def test_cancelling_reaches_routes_that_take_no_rid(platform, worker, route, body):
    # Behind these it waits for as long as they run, so only its cancellation can take it away.
    others = await platform.submit(native(32, CONTEXT - 300))
    await settled(worker, 32)
    job = await platform.submit({"openai_route": route, "openai_input": body})
    await settled(worker, 33)
    await platform.cancel(job.id)
    await settled(worker, 32)
    assert job.status == "CANCELLED" and others.status == "IN_PROGRESS"
    await platform.cancel(others.id)
    await settled(worker, 0)
    await serves(platform)


# ------------------------------------------------------------------ a busy engine is not a hung one
async def test_long_prompts_and_a_deep_queue_are_no_hang(platform, worker):
    before = restarts(worker)
    picks = random.Random(7)

    def long_prompts(count: int) -> list[list[int]]:
        return [[picks.randrange(10, 400) for _ in range(CONTEXT - 100)] for _ in range(count)]
    # The first answers nothing until all of its prompts are done, and the second waits behind it.
    jobs = [await platform.submit({"input_ids": long_prompts(count), "stream": stream,
                                   "sampling_params": {"max_new_tokens": 40, "ignore_eos": True}})
            for count, stream in ((64, False), (8, True))]
    for job in jobs:
        await job.finished(UP)
        assert job.status == "COMPLETED", job.error
    assert [answer["meta_info"]["completion_tokens"] for answer in jobs[0].output[0]] == [40] * 64
    assert restarts(worker) == before
    assert "no sign of life" not in worker.output


# ------------------------------------------------------------------ the engine dies
@pytest.mark.parametrize("victim", ["scheduler", "detokenizer", "server"])
async def test_a_killed_process_fails_its_jobs_and_the_engine_comes_back(platform, worker, victim):
    await serves(platform)
    before = restarts(worker)
    with Tree(worker) as tree:
        # A question of its own each time: what was there at two deaths is refused afterwards.
        stream, whole = [await platform.submit(endless(f"Mind the {victim}.", stream=stream))
                         for stream in (True, False)]
        await begun(stream)
        await settled(worker, 2)
        os.kill(tree.pid(victim), signal.SIGKILL)
        for job in (stream, whole):
            error = error_of(await job.finished())
            assert error["code"] == 502
            assert error["message"] == "The engine ended while this job was running: killed by SIGKILL."
        assert "error" in json.loads(stream.chunks[-1].output.removeprefix("data: "))
        assert "[DONE]" not in stream.text
        await serves(platform)  # asked while there is no engine: it waits for the next one
        await tree.engine_gone()
    assert restarts(worker) == before + 1
    assert worker.process.returncode is None


async def test_a_stopped_scheduler_is_a_hang_and_the_engine_is_restarted(platform, worker):
    await serves(platform)
    before = restarts(worker)
    with Tree(worker) as tree:
        job = await platform.submit(endless("Mind the hang.", stream=True))
        await begun(job)
        os.kill(tree.pid("scheduler"), signal.SIGSTOP)
        error = error_of(await job.finished(120))
        assert error["code"] == 502 and "killed by SIGKILL" in error["message"]
        assert any("no sign of life" in line and "SGLANG_HANG_TIMEOUT" in line for line in worker.lines)
        await serves(platform)
        await tree.engine_gone()
    assert restarts(worker) == before + 1


# ------------------------------------------------------------------ shutdown
async def test_a_running_stream_is_delivered_whole_before_the_end(platform, worker):
    """Ends the worker that the tests above share."""
    await serves(platform)
    with Tree(worker) as tree:
        job = await platform.submit(endless("Mind the end.", stream=True, stream_options={"include_usage": True}))
        await begun(job)
        worker.process.send_signal(signal.SIGTERM)
        await worker.line("stopping: ")
        assert job.status == "IN_PROGRESS"
        if worker.over_http:
            assert await platform.health() == 503
            late = await (await platform.submit(chat(PARIS))).finished()
            assert error_of(late)["code"] == 503
        assert await worker.ended(UP) == 0
        assert spoken(await job.finished())  # with its [DONE]
        last = json.loads("".join(job.output).split("\n\n")[-3].removeprefix("data: "))
        assert last["usage"]["completion_tokens"] == job.input["max_tokens"]
        await tree.all_gone()
    for secret in (API_KEY, HF_TOKEN, WORKER_KEY, KEY):  # nor in anything that the faults made it say
        assert secret not in worker.output
    # The worker's own lines, but for what it quotes of a server that ended.
    own = [line for line in worker.lines if line.startswith("{") and "Its last lines:" not in line]
    assert not [line for line in own if "Traceback" in line]


@pytest.mark.parametrize("front", FRONTS)
async def test_a_full_queue_is_tried_again_and_what_outlasts_the_drain_fails(real_environ, front):
    async with started(real_environ, front, MAX_RUNNING_REQUESTS="1", MAX_QUEUED_REQUESTS="1", MAX_CONCURRENCY="8",
                       RETRY_TIMEOUT=str(UP), DRAIN_TIMEOUT="1") as (platform, worker):
        await worker.connected()
        # One that runs and one that waits fill the engine; the rest is refused at first.
        first = await platform.submit(endless(PLANETS))
        await settled(worker, 1)
        chats = [(stream, await platform.submit(chat(PARIS, stream=stream))) for stream in (True, False) * 3]
        text = await platform.submit(native(1, 20, stream=True))
        for stream, job in chats:
            await job.finished(UP)
            assert (spoken if stream else answered)(job) == PARIS_ANSWER
        for job in (first, text):
            await job.finished(UP)
            assert job.status == "COMPLETED", job.error
        await worker.line('"POST /v1/chat/completions HTTP/1.1" 503', UP)

        with Tree(worker) as tree:
            stream = await platform.submit(endless(PLANETS, stream=True))
            await begun(stream)
            whole = await platform.submit(endless(PLANETS))
            await settled(worker, 2)
            worker.process.send_signal(signal.SIGTERM)
            assert await worker.ended(60) == 0
            for job in (stream, whole):
                assert error_of(await job.finished())["code"] == 503
            assert "[DONE]" not in stream.text and '"error"' in stream.chunks[-1].output
            await tree.all_gone()


@pytest.mark.parametrize("moment", ["starting", "up"])
async def test_nothing_outlives_a_killed_worker(real_environ, moment):
    async with started(real_environ) as (platform, worker):
        if moment == "up":
            await worker.connected()
            job = await platform.submit(endless(PARIS, stream=True))
            await begun(job)
        else:
            # The scheduler says so; the detokenizer, which SGLang itself would leave behind, starts beside it.
            await worker.line("Load weight begin", UP)
        with Tree(worker) as tree:
            assert len(tree.engine) >= 3
            worker.process.kill()
            await tree.all_gone()
