"""Engine deaths, hangs, load, shutdown and failing POSTs: the worker process under the real SDK."""

import asyncio
import json
import os
import signal
from urllib.request import Request, urlopen

import pytest

from tests.support import say
from tests.worker import WorkerProcess, contract_environ, error_of


def whole(tokens: int) -> str:
    return "".join(f"t{i} " for i in range(tokens))


def spoken(job) -> str:
    """The text of a streamed chat, which must be complete."""
    events = "".join(job.output).split("\n\n")
    assert events[-2:] == ["data: [DONE]", ""]
    return "".join(json.loads(event[6:])["choices"][0]["delta"].get("content") or ""
                   for event in events[:-2] if event.startswith("data: "))


async def ask(worker: WorkerProcess, path: str, body: bytes | None = None):
    """Something of the scripted engine itself."""
    request = Request(f"http://127.0.0.1:{worker.environ['SGLANG_PORT']}{path}", data=body)

    def fetch():
        with urlopen(request, timeout=30) as response:
            return json.load(response)
    return await asyncio.to_thread(fetch)


# ------------------------------------------------------------------ the engine dies
@pytest.mark.parametrize("death", ["exit", "kill -9"])
async def test_a_dead_engine_fails_its_jobs_and_is_restarted_in_place(platform, death):
    async with WorkerProcess(platform, contract_environ()) as worker:
        await worker.connected()
        running = await platform.submit({"messages": say({"tokens": 9, "hang_at": 2}), "stream": True})
        await running.chunk(0)
        if death == "exit":
            await platform.submit({"messages": say({"die_at": 0, "die_code": 7})})
        else:
            os.kill((await ask(worker, "/_scripted/process"))["pid"], signal.SIGKILL)
        # Asked while there is no engine: it waits for the next one instead of failing.
        await running.finished()
        meanwhile = await platform.submit({"messages": say({"text": "Paris."})})
        error = error_of(running)
        assert error["code"] == 502
        assert ("exit status 7" if death == "exit" else "SIGKILL") in error["message"]
        assert '"error"' in running.chunks[-1].output  # a stream never ends as if it were complete
        await meanwhile.finished()
        assert meanwhile.output[0]["choices"][0]["message"]["content"] == "Paris."
        await worker.line("restarted: ")


async def test_a_worker_whose_engine_keeps_dying_gives_up(platform):
    environ = contract_environ(SGLANG_MAX_RESTARTS="1")
    async with WorkerProcess(platform, environ) as worker:
        await worker.connected()
        for code in (3, 4):
            job = await platform.submit({"messages": say({"die_at": 0, "die_code": code})})
            await job.finished()
            assert f"exit status {code}" in error_of(job)["message"]
        assert await worker.ended() == 1
        assert "SGLANG_MAX_RESTARTS" in worker.output


async def test_a_worker_that_gives_up_fails_what_runs_and_what_waits_and_delivers_it(platform):
    async with WorkerProcess(platform, contract_environ(SGLANG_MAX_RESTARTS="0")) as worker:
        await worker.connected()
        running = [await platform.submit({"messages": say({"tokens": 9, "hang_at": 2}), "stream": stream})
                   for stream in (True, False)]
        await running[0].chunk(0)
        await platform.wait_for(lambda: running[1].status == "IN_PROGRESS")
        platform.faults.fail("job-done", 500, 2)  # what is delivered late is delivered
        deadly = await platform.submit({"messages": say({"die_at": 0, "die_code": 7})})
        waiting = [await platform.submit({"messages": say({"text": "Paris."})}) for _ in range(3)]
        assert await worker.ended() == 1
        for job in (*running, deadly):
            assert "exit status 7" in error_of(job)["message"]
        for job in waiting:  # left for another worker, taken in the last moment, or answered in it
            assert job.status in ("IN_QUEUE", "FAILED", "COMPLETED")
            if job.status == "COMPLETED":
                assert job.output[0]["choices"][0]["message"]["content"] == "Paris."
            elif job.status == "FAILED":
                assert error_of(job)
        assert "SGLANG_MAX_RESTARTS" in worker.output


async def test_a_request_that_was_there_at_two_deaths_is_refused(platform):
    async with WorkerProcess(platform, contract_environ()) as worker:
        await worker.connected()
        deadly = {"messages": say({"die_at": 0}), "temperature": 0.5}
        codes = []
        for _ in range(3):
            job = await platform.submit(dict(deadly))
            await job.finished()
            codes.append(error_of(job)["code"])
        assert codes == [502, 502, 422]
        harmless = await (await platform.submit({"messages": say({"text": "Paris."})})).finished()
        assert harmless.status == "COMPLETED"


async def test_a_hung_engine_is_restarted(platform):
    async with WorkerProcess(platform, contract_environ(SGLANG_HANG_TIMEOUT="1")) as worker:
        await worker.connected()
        job = await platform.submit({"messages": say({"tokens": 9, "hang_at": 2}), "stream": True})
        await job.chunk(0)
        os.kill((await ask(worker, "/_scripted/process"))["pid"], signal.SIGSTOP)
        await job.finished()
        assert "killed by SIGKILL" in error_of(job)["message"]
        after = await (await platform.submit({"messages": say({"text": "Paris."})})).finished()
        assert after.output[0]["choices"][0]["message"]["content"] == "Paris."
        assert "SGLANG_HANG_TIMEOUT" in worker.output


async def test_a_long_prefill_and_a_deep_queue_are_no_hang(platform):
    environ = contract_environ(SGLANG_HANG_TIMEOUT="0.5", MAX_RUNNING_REQUESTS="2", MAX_CONCURRENCY="8")
    async with WorkerProcess(platform, environ) as worker:
        await worker.connected()
        jobs = [await platform.submit({"messages": say({"tokens": 3, "first_delay_ms": 1500}), "stream": True})
                for _ in range(4)]
        for job in jobs:
            assert spoken(await job.finished()) == whole(3)
        assert "restarting" not in worker.output


# ------------------------------------------------------------------ the engine refuses
async def test_a_full_queue_is_tried_again(platform):
    environ = contract_environ(MAX_RUNNING_REQUESTS="1", MAX_QUEUED_REQUESTS="1", MAX_CONCURRENCY="6")
    async with WorkerProcess(platform, environ) as worker:
        await worker.connected()
        chats = [await platform.submit({"messages": say({"tokens": 20, "tps": 200}), "stream": stream})
                 for stream in (True, False, True)]
        native = [await platform.submit({"text": '#script {"tokens": 20, "tps": 200}', "stream": True})
                  for _ in range(2)]
        for job in (*chats, *native):
            await job.finished()
            assert job.status == "COMPLETED", job.error
        assert spoken(chats[0]) == whole(20)


async def test_load_is_reported_when_it_lasts(platform):
    async with WorkerProcess(platform, contract_environ(RETRY_TIMEOUT="0.5")) as worker:
        await worker.connected()
        job = await (await platform.submit({"messages": say({"status": 503, "error_message": "busy"})})).finished()
        assert error_of(job)["code"] == 503
        assert len(await ask(worker, f"/_scripted/requests?rid={job.id}")) > 1


async def test_nothing_is_tried_again_once_something_was_seen(platform):
    async with WorkerProcess(platform, contract_environ()) as worker:
        await worker.connected()
        job = await (await platform.submit({"messages": say({"tokens": 9, "tps": 20, "drop_at": 4}),
                                           "stream": True})).finished()
        assert error_of(job)["code"] == 502
        assert len(await ask(worker, f"/_scripted/requests?rid={job.id}")) == 1


# ------------------------------------------------------------------ shutdown
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_an_idle_worker_stops_in_order(platform, number):
    async with WorkerProcess(platform, contract_environ()) as worker:
        await worker.connected()
        worker.process.send_signal(number)
        assert await worker.ended() == 0
        assert "Traceback" not in worker.output and "Unclosed" not in worker.output


async def test_running_jobs_are_finished_and_delivered_before_the_end(platform):
    async with WorkerProcess(platform, contract_environ()) as worker:
        await worker.connected()
        jobs = [await platform.submit({"messages": say({"tokens": 100, "tps": 50}), "stream": stream})
                for stream in (True, False)]
        await jobs[0].chunk(0)
        worker.process.send_signal(signal.SIGTERM)
        assert await worker.ended() == 0
        assert spoken(jobs[0]) == whole(100)
        assert jobs[1].output[0]["choices"][0]["message"]["content"] == whole(100)
        queued = await platform.submit({"messages": say({})})
        assert queued.status == "IN_QUEUE"


async def test_what_is_not_done_in_time_fails_with_an_error(platform):
    async with WorkerProcess(platform, contract_environ(DRAIN_TIMEOUT="0.5")) as worker:
        await worker.connected()
        jobs = [await platform.submit({"messages": say({"tokens": 9, "hang_at": 2}), "stream": stream})
                for stream in (True, False)]
        await jobs[0].chunk(0)
        await platform.wait_for(lambda: jobs[1].status == "IN_PROGRESS")
        worker.process.send_signal(signal.SIGTERM)
        assert await worker.ended() == 0
        for job in jobs:
            assert error_of(job)["code"] == 503


async def test_a_job_that_arrives_with_the_signal_is_not_lost(platform):
    async with WorkerProcess(platform, contract_environ()) as worker:
        await worker.connected()
        worker.process.send_signal(signal.SIGTERM)
        await worker.line("stopping: ")
        job = await platform.submit({"messages": say({"text": "Paris."})})  # the poll is still open
        assert await worker.ended() == 0
        assert job.status == "COMPLETED"


async def test_a_second_signal_ends_at_once(platform):
    async with WorkerProcess(platform, contract_environ()) as worker:
        await worker.connected()
        job = await platform.submit({"messages": say({"tokens": 9, "hang_at": 2}), "stream": True})
        await job.chunk(0)
        worker.process.send_signal(signal.SIGTERM)
        await worker.line("stopping: ")
        worker.process.send_signal(signal.SIGTERM)
        assert await worker.ended() == 128 + signal.SIGTERM


@pytest.mark.parametrize("stuck, streams, outcome", [
    (["job-stream"], True, "FAILED"), (["job-done"], False, "IN_PROGRESS"),
    (["job-stream", "job-done"], True, "IN_PROGRESS"), (["job-stop"], True, "FAILED")])
async def test_a_platform_that_never_answers_does_not_hold_the_end_up(platform, stuck, streams, outcome):
    async with WorkerProcess(platform, contract_environ(DRAIN_TIMEOUT="0.5")) as worker:
        await worker.connected()
        for kind in stuck:
            platform.faults.slow(kind, 300)
        job = await platform.submit({"messages": say({"tokens": 9, "hang_at": 2 if streams else None}),
                                     "stream": streams})
        if stuck == ["job-stop"]:
            await job.chunk(0)
        else:
            await platform.wait_for(lambda: platform.begun[stuck[0]])
        worker.process.send_signal(signal.SIGTERM)
        assert await worker.ended() == 0
        assert job.status == outcome
        if outcome == "FAILED":
            assert error_of(job)["code"] in (502, 503)
        else:
            said = [line for line in worker.lines if "Failed to return job results" in line or "given up, " in line]
            assert any(job.id in line for line in said), worker.output


async def test_polls_that_are_never_answered_do_not_hold_the_end_up(platform):
    platform.faults.slow("job-take", 300)
    platform.faults.slow("job-take-batch", 300)
    async with WorkerProcess(platform, contract_environ()) as worker:
        await worker.connected()
        worker.process.send_signal(signal.SIGTERM)
        assert await worker.ended() == 0


# ------------------------------------------------------------------ the platform
async def test_a_job_that_takes_too_long_is_stopped_in_the_engine(platform):
    async with WorkerProcess(platform, contract_environ()) as worker:
        await worker.connected()
        job = await platform.submit({"messages": say({"tokens": 9, "hang_at": 2}), "stream": True},
                                    policy={"executionTimeout": 5000})
        await job.finished()
        assert job.status == "TIMED_OUT"
        assert await ask(worker, f"/_scripted/wait?rid={job.id}&state=aborted,disconnected")


async def test_a_silent_stream_on_an_openai_route_gets_comments(platform):
    body = {"messages": say({"tokens": 3, "first_delay_ms": 1200}), "stream": True}
    async with WorkerProcess(platform, contract_environ(STREAM_KEEPALIVE="0.3")) as worker:
        await worker.connected()
        routed = await platform.submit({"openai_route": "/v1/chat/completions", "openai_input": body})
        plain = await platform.submit(body)
        assert (await routed.chunk(0)).startswith(":")
        assert spoken(await routed.finished()) == spoken(await plain.finished()) == whole(3)
        assert not any(chunk.output.startswith(":") for chunk in plain.chunks)


async def test_failing_and_dropped_posts_lose_nothing(platform):
    async with WorkerProcess(platform, contract_environ()) as worker:
        await worker.connected()
        platform.faults.fail_fraction("job-stream", 0.2, 502, seed=7)
        platform.faults.drop("job-stream", 3)
        platform.faults.fail("job-done", 500)
        platform.faults.drop("job-done", 1)
        jobs = [await platform.submit({"messages": say({"tokens": 60, "tps": 60}), "stream": True}) for _ in range(4)]
        for job in jobs:
            await job.finished()
            assert spoken(job) == whole(60)
            assert "".join(chunk.output for chunk in job.chunks) == "".join(job.output)


async def test_a_result_that_took_effect_and_whose_answer_is_lost_stays_the_only_one(platform):
    async with WorkerProcess(platform, contract_environ()) as worker:
        await worker.connected()
        platform.faults.drop("job-done", 2, after=True)
        job = await (await platform.submit({"messages": say({"text": "Paris."})})).finished()
        first, ended = job.output, job.ended
        await platform.wait_for(lambda: platform.posts["job-done"] == 3)
        assert (job.status, job.output, job.ended, job.attempts) == ("COMPLETED", first, ended, 1)
        # And it is no job any more for the worker, which takes the next.
        after = await (await platform.submit({"messages": say({"text": "Rome."})})).finished()
        assert after.output[0]["choices"][0]["message"]["content"] == "Rome."


async def test_a_chunk_that_cannot_be_delivered_fails_the_job(platform):
    async with WorkerProcess(platform, contract_environ()) as worker:
        await worker.connected()
        platform.faults.fail("job-stream", 400)
        job = await (await platform.submit({"messages": say({"tokens": 9}), "stream": True})).finished()
        assert error_of(job)["code"] == 502 and "delivered" in error_of(job)["message"]


# ------------------------------------------------------------------ limits
async def test_limits_are_refused_with_their_names(platform):
    environ = contract_environ(MAX_INPUT_MB="0.01", MAX_RESULT_MB="0.05", MAX_INPUT_DEPTH="10")
    async with WorkerProcess(platform, environ) as worker:
        await worker.connected()
        nested: list = []
        for _ in range(20):
            nested = [nested]
        for job_input, code, name in (
                ({"text": "x" * 20_000}, 413, "MAX_INPUT_MB"), ({"text": "x", "deep": nested}, 400, "MAX_INPUT_DEPTH"),
                ({"messages": say({"tokens": 20, "token_bytes": 10_000})}, 413, "MAX_RESULT_MB"),
                ({"messages": say({"tokens": 20, "token_bytes": 10_000}), "stream": True}, 413, "MAX_RESULT_MB")):
            job = await (await platform.submit(job_input)).finished()
            error = error_of(job)
            assert error["code"] == code and name in error["message"]
        assert (await (await platform.submit({"messages": say({"text": "Paris."})})).finished()).status == "COMPLETED"


async def test_a_result_that_runpod_would_drop_fails_with_its_size(platform):
    async with WorkerProcess(platform, contract_environ(MAX_RESULT_MB="40")) as worker:
        await worker.connected()
        job = await (await platform.submit({"messages": say({"tokens": 105, "token_bytes": 200_000})})).finished()
        error = error_of(job)
        assert error["code"] == 413 and "21.0 MB" in error["message"] and error["job_id"] == job.id
        assert max(call.size for call in platform.calls_of("job-done")) < 1000
