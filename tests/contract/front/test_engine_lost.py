"""What becomes of jobs, and of the worker, when the engine is away for long or for good."""

import os
import signal
import subprocess

import pytest

from tests.support import LAUNCH, say
from tests.worker import WorkerProcess, contract_environ, error_of


def children(pid: int) -> list[int]:
    told = subprocess.run(["pgrep", "-P", str(pid)], capture_output=True, text=True)
    return [int(word) for word in told.stdout.split()]


def is_guard(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as f:
            return b"guard.py" in f.read()
    except OSError:
        return False


def guards_of(worker: WorkerProcess) -> list[int]:
    return [pid for pid in children(worker.process.pid) if is_guard(pid)]


@pytest.mark.parametrize("post_ms", [0, 1500])
async def test_a_worker_that_gives_up_fails_the_jobs_that_wait_and_delivers_that(platform, post_ms):
    async with WorkerProcess(platform, contract_environ(SGLANG_MAX_RESTARTS="1")) as worker:
        await worker.connected()
        first = await (await platform.submit({"messages": say({"die_at": 0, "die_code": 3})})).finished()
        assert error_of(first)["code"] == 502
        await worker.line("restarted: ")
        platform.post_delay_ms = post_ms
        running = await platform.submit({"messages": say({"tokens": 9, "hang_at": 2}), "stream": True})
        await running.chunk(0)
        killer = await platform.submit({"messages": say({"die_at": 0, "die_code": 4})})
        late = [await platform.submit({"messages": say({"text": "Paris."})}) for _ in range(3)]
        assert await worker.ended(60) == 1
        assert "SGLANG_MAX_RESTARTS" in worker.output and "stopping: " in worker.output
        for job in (running, killer):
            assert error_of(job)["code"] in (502, 503)
        for job in late:  # answered while there was an engine, failed with the reason, or left to another worker
            assert job.status in ("COMPLETED", "IN_QUEUE") or error_of(job)["code"] in (502, 503), job.status


async def test_an_engine_whose_processes_cannot_be_ended_ends_the_worker(platform):
    """A process that hangs in a driver survives SIGKILL. Here it is the guard that does not act on the order."""
    environ = contract_environ(SGLANG_HANG_TIMEOUT="1", ENGINE_WAIT_TIMEOUT="3", RETRY_TIMEOUT="3")
    async with WorkerProcess(platform, environ) as worker:
        await worker.connected()
        [guard] = guards_of(worker)
        [server] = children(guard)
        job = await platform.submit({"messages": say({"tokens": 9, "hang_at": 2}), "stream": True})
        await job.chunk(0)
        os.kill(guard, signal.SIGSTOP)
        os.kill(server, signal.SIGSTOP)
        assert await worker.ended(60) == 1
        assert error_of(job)["code"] in (502, 503)
        assert "did not end" in worker.output and "restarting the engine" not in worker.output
        later = await platform.submit({"messages": say({"text": "Paris."})})
        assert later.status == "IN_QUEUE"


async def test_a_job_waits_no_longer_for_the_engine_than_it_may(platform, tmp_path):
    """However long a request may be tried again: the wait for an engine has a limit of its own, and it is final."""
    launch, started = tmp_path / "launch", tmp_path / "started"
    launch.write_text(f'[ -e {started} ] && exec sleep 3600\ntouch {started}\nexec {LAUNCH} "$@"\n')
    environ = contract_environ(ENGINE_WAIT_TIMEOUT="1", RETRY_TIMEOUT="600", SGLANG_LAUNCH_COMMAND=f"sh {launch}")
    async with WorkerProcess(platform, environ) as worker:
        await worker.connected()
        await (await platform.submit({"messages": say({"die_at": 0, "die_code": 3})})).finished()
        job = await (await platform.submit({"messages": say({"text": "Paris."})})).finished(60)
        assert error_of(job)["code"] == 503 and "ENGINE_WAIT_TIMEOUT" in error_of(job)["message"]
