"""Deaths, hangs, cancellation, load, shutdown and secrets: the worker under the real SDK, with a real SGLang.

A start of the engine takes half a minute, so most tests share one worker. It is ended by the last of them.
"""

import asyncio
import contextlib
import ipaddress
import json
import os
import re
import select
import signal
import socket
import time
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest
import pytest_asyncio

from guard import descendants
from local import corpus
from local.runpod_platform import WORKER_KEY, Platform
from tests.support import free_port
from tests.worker import WorkerProcess

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(600)]

API_KEY = "open-sesame-for-the-fault-tests"
HF_TOKEN = "hf_of-nobody-for-the-fault-tests"
PARIS, PARIS_ANSWER = corpus.EXCHANGES[0]
PLANETS, PLANETS_ANSWER = corpus.EXCHANGES[5]
CONTEXT = 2048  # tokens that the tiny model takes
UP = 300  # seconds within which an engine is up again, on a machine that is busy with other things


@contextlib.asynccontextmanager
async def started(environ: dict[str, str], **extra: str):
    """A platform and a worker of one test's own, not yet connected."""
    settings = {**environ, "SGLANG_PORT": str(free_port()), "API_KEY": API_KEY, "HF_TOKEN": HF_TOKEN,
                "ENGINE_WAIT_TIMEOUT": str(UP), **extra}
    async with Platform() as platform, WorkerProcess(platform, settings, ready_within=UP) as worker:
        yield platform, worker


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def pair(real_environ):
    # LOG_REQUESTS: the engine itself says how each request ended.
    async with started(real_environ, SGLANG_MAX_RESTARTS="9", SGLANG_HANG_TIMEOUT="10", DRAIN_TIMEOUT="20",
                       MAX_CONCURRENCY="96", LOG_REQUESTS="true", LOG_REQUESTS_LEVEL="0") as (platform, worker):
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
    events = "".join(job.output).split("\n\n")
    assert events[-2:] == ["data: [DONE]", ""]
    choices = [json.loads(event.removeprefix("data: "))["choices"] for event in events[:-2]]
    return "".join(choice[0]["delta"].get("content") or "" for choice in choices if choice)


def answered(job) -> str:
    assert job.status == "COMPLETED", job.error
    return job.output[0]["choices"][0]["message"]["content"]


def error_of(job) -> dict:
    assert job.status == "FAILED", (job.status, job.output)
    return json.loads(job.error)


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
        assert not listeners([worker.process.pid, tree.guard])


async def test_the_engine_wants_its_key(worker):
    for key in (None, "wrong"):
        assert (await ask(worker, "/v1/models", key))[0] == 401
    assert (await ask(worker, "/v1/models"))[0] == 200


async def test_no_secret_in_the_engine_environment_or_in_the_output(worker):
    with Tree(worker) as tree:
        for pid in (tree.guard, *tree.engine):
            block = Path(f"/proc/{pid}/environ").read_bytes()
            names = {entry.partition(b"=")[0] for entry in block.split(b"\0")}
            assert not names & {b"API_KEY", b"RUNPOD_AI_API_KEY", b"RUNPOD_API_KEY"}, pid
            assert not any(name.startswith(b"RUNPOD_WEBHOOK_") for name in names), pid
            for secret in (API_KEY, WORKER_KEY):
                assert secret.encode() not in block, pid
        # Downloads need it, and this is where they look.
        assert f"HF_TOKEN={HF_TOKEN}".encode() in Path(f"/proc/{tree.pid('server')}/environ").read_bytes()
    assert "server_args=" in worker.output  # the engine prints every argument that it was given
    for secret in (API_KEY, HF_TOKEN, WORKER_KEY):
        assert secret not in worker.output


# ------------------------------------------------------------------ cancellation
@pytest.mark.parametrize("job_input", [
    pytest.param(endless(PARIS, stream=True), id="streamed"), pytest.param(endless(PARIS), id="whole"),
    pytest.param(native(24, CONTEXT - 100), id="batch"), pytest.param(native(24, CONTEXT - 100, stream=True),
                                                                      id="batch, streamed")])
async def test_cancelling_stops_generation(platform, worker, job_input):
    job = await platform.submit(job_input)
    async with asyncio.timeout(60):
        while not await load(worker):
            await asyncio.sleep(0.02)
    await platform.cancel(job.id)
    async with asyncio.timeout(10):  # the engine has no event for this
        while await load(worker):
            await asyncio.sleep(0.02)
    assert job.status == "CANCELLED"
    print("\n".join(line[:600] for line in worker.lines if job.id in line))
    await serves(platform)
