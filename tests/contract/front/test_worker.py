"""The worker process under the real SDK in production mode, the platform stand-in, and a scripted engine."""

import asyncio
import json
import resource

import openai
import pytest

from settings.version import version
from tests.support import free_port, say
from tests.worker import WorkerProcess, contract_environ, error_of


@pytest.fixture
async def worker(platform):
    async with WorkerProcess(platform, contract_environ()) as process:
        yield await process.connected()


@pytest.fixture
def client(platform):
    return openai.AsyncOpenAI(base_url=platform.openai_url, api_key="any", max_retries=0)


async def test_every_way_in(platform, worker, client):
    models = [model.id async for model in await client.models.list()]
    assert models == ["tiny"]

    whole = await client.chat.completions.create(model="tiny", messages=say({"text": "Paris."}))
    assert whole.choices[0].message.content == "Paris."

    stream = await client.chat.completions.create(
        model="tiny", messages=say({"text": "Café 🦜 東京", "cut": "utf8", "cut_ms": 0}), stream=True,
        stream_options={"include_usage": True})
    parts = [chunk async for chunk in stream]
    assert "".join(c.choices[0].delta.content or "" for c in parts if c.choices) == "Café 🦜 東京"
    assert parts[-1].usage.completion_tokens > 0

    native = await (await platform.submit({"text": "Hi", "sampling_params": {"max_new_tokens": 4}})).finished()
    assert native.status == "COMPLETED"
    assert native.output[0]["meta_info"]["completion_tokens"] == 4

    streamed = await (await platform.submit({"text": "Hi", "sampling_params": {"max_new_tokens": 4},
                                             "stream": True})).finished()
    assert "".join(streamed.output).endswith("data: [DONE]\n\n")
    assert [chunk.output for chunk in streamed.chunks] == streamed.output

    routed = await (await platform.submit({"openai_route": "/v1/models"})).finished()
    assert routed.output[0]["data"][0]["id"] == "tiny"

    for job_input, code in (({"openai_route": "/flush_cache", "openai_input": {"a": 1}}, 404), ({}, 400),
                            ({"model": "gpt-4", "messages": say({})}, 404),
                            ({"messages": say({"status": 500, "error_message": "no"})}, 500)):
        job = await (await platform.submit(job_input)).finished()
        error = error_of(job)
        assert error["code"] == code and error["message"] and error["job_id"] == job.id, job_input
        assert "Traceback" not in job.error


async def test_a_failed_openai_request_raises_in_the_client(platform, worker, client):
    with pytest.raises(openai.APIStatusError) as raised:
        await client.chat.completions.create(model="nope", messages=say({}))
    error = json.loads(raised.value.body)  # the client hands over what stands under "error"
    assert error["code"] == 404 and "does not exist" in error["message"]
    with pytest.raises(openai.APIError):
        stream = await client.chat.completions.create(
            model="tiny", messages=say({"tokens": 9, "error_at": 3, "error": "openai"}), stream=True)
        async for _ in stream:
            pass


async def test_the_first_event_is_not_held_back_and_a_slow_post_makes_chunks_larger(platform, worker):
    platform.post_delay_ms = 50
    job = await platform.submit({"messages": say({"tokens": 300, "tps": 600}), "stream": True})
    first = await job.chunk(0)
    assert first.startswith("data: ")
    await job.finished()
    text = "".join(job.output)
    assert text.count("data: ") == 303 and text.endswith("[DONE]\n\n")  # role, 300 tokens, finish, [DONE]
    assert len(job.chunks) < 60


async def test_many_streams_at_once_are_each_exact(platform, worker):
    jobs = [await platform.submit({"messages": say({"tokens": 50, "tps": 400, "text": None}), "stream": True,
                                   "max_tokens": 50}) for _ in range(48)]
    for job in jobs:
        await job.finished()
        contents = [json.loads(event[6:])["choices"][0]["delta"].get("content") or ""
                    for event in "".join(job.output).split("\n\n")[:-2]]
        assert "".join(contents) == "".join(f"t{i} " for i in range(50))


async def test_cancel_reaches_the_engine(platform, worker):
    from urllib.request import urlopen

    job = await platform.submit({"messages": say({"tokens": 9, "hang_at": 2}), "stream": True})
    await job.chunk(0)
    await platform.cancel(job.id)
    url = f"http://127.0.0.1:{worker.environ['SGLANG_PORT']}/_scripted/wait?rid={job.id}&state=aborted,disconnected"
    with await asyncio.to_thread(urlopen, url, timeout=10) as response:
        assert json.load(response)
    assert job.status == "CANCELLED"


async def test_an_engine_that_cannot_start_stops_the_worker_with_the_reason():
    life = json.dumps({"log": ["torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB"],
                       "exit_after": 0})
    async with WorkerProcess(None, contract_environ(SCRIPTED_ENGINE_LIFE=life), "--test_input",
                             '{"input": {"text": "Hi"}}') as process:
        assert await process.ended() == 1
        assert "CUDA out of memory" in process.output
        assert "What to do: " in process.output and "MEM_FRACTION_STATIC" in process.output


async def test_a_wrong_configuration_is_reported_at_once_and_whole():
    environ = contract_environ(TENSOR_PARALLEL_SIZE="two", QUANTIZATION="fb8", SGLANG_PORT=str(free_port()))
    async with WorkerProcess(None, environ) as process:
        assert await process.ended() == 2
        assert "TENSOR_PARALLEL_SIZE" in process.output and "QUANTIZATION" in process.output
        assert "fp8" in process.output


async def test_the_version_is_told_without_a_setting_that_counts():
    environ = contract_environ(TENSOR_PARALLEL_SIZE="two")
    async with WorkerProcess(None, environ, "--version") as process:
        assert await process.ended() == 0
        assert process.lines == [version()]


async def test_the_version_is_the_first_line_of_the_log(worker):
    assert json.loads(worker.lines[0])["message"] == version()


async def test_a_wrong_configuration_says_whose_it_is():
    async with WorkerProcess(None, contract_environ(TENSOR_PARALLEL_SIZE="two")) as process:
        assert await process.ended() == 2
        assert process.lines[:2] == [version(), "1 problem in the configuration:"]


async def test_print_config_masks_secrets():
    environ = contract_environ(API_KEY="sesame-open-now", HF_TOKEN="hf_abcdefgh")
    async with WorkerProcess(None, environ, "--print-config") as process:
        assert await process.ended() == 0
        assert "--served-model-name tiny" in process.output and "***" in process.output
        assert "sesame" not in process.output and "hf_abc" not in process.output


@pytest.mark.parametrize("as_file", [True, False])
async def test_a_local_job_really_runs(tmp_path, as_file):
    job = json.dumps({"input": {"messages": say({"text": "Paris."})}})
    arguments = () if as_file else ("--test_input", job)
    if as_file:
        (tmp_path / "test_input.json").write_text(job)
    async with WorkerProcess(None, contract_environ(), *arguments, cwd=tmp_path) as process:
        assert await process.ended() == 0
        assert '"content": "Paris."' in process.output


async def test_a_local_job_that_fails_ends_with_status_1():
    async with WorkerProcess(None, contract_environ(), "--test_input", '{"input": {"model": "x", "prompt": "a"}}'
                             ) as process:
        assert await process.ended() == 1
        assert '"code": 404' in process.output


async def test_nothing_to_do_is_said_before_the_engine_starts(tmp_path):
    async with WorkerProcess(None, contract_environ(), cwd=tmp_path) as process:
        assert await process.ended() == 1
        assert "test_input.json" in process.output and "Uvicorn" not in process.output


async def test_many_streams_share_the_deliveries_and_a_lone_one_has_them_all(platform):
    environ = contract_environ(STREAM_POSTS_PER_SECOND="1", MAX_CONCURRENCY="8")
    async with WorkerProcess(platform, environ) as worker:
        await worker.connected()
        job = {"messages": say({"tokens": 60, "tps": 60}), "stream": True}
        lone = await (await platform.submit(job)).finished()
        crowd = [await platform.submit(job) for _ in range(8)]
        for one in [await handle.finished() for handle in crowd]:
            assert one.status == "COMPLETED", one.error
            events = "".join(one.output).split("\n\n")
            assert events[-2:] == ["data: [DONE]", ""] and len(events) > 60
        assert len(lone.chunks) > 10
        assert sum(len(handle.chunks) for handle in crowd) < 8 * len(lone.chunks) / 2


async def test_of_a_native_stream_only_the_newest_event_is_delivered(platform, worker):
    platform.post_delay_ms = 50
    job = await (await platform.submit({"text": "Hi#script " + json.dumps({"tokens": 80, "tps": 200}),
                                        "stream": True})).finished()
    assert job.status == "COMPLETED", job.error
    events = [[json.loads(event[6:]) for event in chunk.split("\n\n") if event.startswith("data: {")]
              for chunk in job.output]
    assert all(len(chunk) <= 1 for chunk in events) and 2 < len(events) < 40
    texts = [chunk[0]["text"] for chunk in events if chunk]
    assert all(later.startswith(earlier) and later != earlier for earlier, later in zip(texts, texts[1:], strict=False))
    assert events[-1][0]["meta_info"]["completion_tokens"] == 80 and job.output[-1].endswith("data: [DONE]\n\n")


async def test_the_switch_of_the_sdks_own_loops_is_taken_and_said_to_be_without_effect(platform):
    async with WorkerProcess(platform, contract_environ(SDK_FAST_START="off")) as worker:
        await worker.connected()
        assert "no effect" in await worker.line("SDK_FAST_START")
        assert (await (await platform.submit({"messages": say({"text": "Paris."})})).finished()).status == "COMPLETED"


async def test_more_jobs_than_were_asked_for_run_as_well(platform):
    take = platform.store.take
    platform.store.take = lambda worker, most: take(worker, most + 2 if most > 1 else 1)  # of a batch
    async with WorkerProcess(platform, contract_environ(MAX_CONCURRENCY="2")) as worker:
        await worker.connected()
        jobs = [await platform.submit({"messages": say({"text": "Paris."})}) for _ in range(9)]
        for job in jobs:
            assert (await job.finished()).status == "COMPLETED", job.error


async def test_a_whole_answer_is_posted_once_whatever_the_platform_says_to_chunks(platform, worker):
    platform.faults.fail("job-stream", 413, None)
    job = await (await platform.submit({"messages": say({"tokens": 100, "token_bytes": 20_000})})).finished()
    assert job.status == "COMPLETED", job.error
    assert len(job.output) == 1 and len(job.output[0]["choices"][0]["message"]["content"]) == 2_000_000
    assert [call.kind for call in platform.calls if call.job_id == job.id] == ["job-done"] and job.chunks == []


async def test_a_failed_answer_is_posted_once_as_well(platform, worker):
    job = await (await platform.submit({"model": "gpt-4", "messages": say({})})).finished()
    assert error_of(job)["code"] == 404
    assert [call.kind for call in platform.calls if call.job_id == job.id] == ["job-done"]


async def test_a_late_stop_does_not_reach_the_job_that_is_sent_again(platform, worker):
    """RunPod's /retry queues a job again under its id."""
    job = await (await platform.submit({"messages": say({"text": "Paris."})})).finished()
    platform.store.stops["worker-1"] = [job.id]
    platform.wake("stop")
    await platform.wait_for(lambda: platform.posts["job-stop"] and not platform.store.stops)
    again = job.record
    again.status, again.worker_id, again.taken, again.output, again.ended = "IN_QUEUE", None, None, None, None
    platform.store.queue.append(again)
    platform.wake("queue")
    await job.until(lambda record: record.is_final)
    assert job.status == "COMPLETED" and job.output[0]["choices"][0]["message"]["content"] == "Paris."


async def test_more_jobs_than_a_ping_can_name_are_warned_of(platform):
    async with WorkerProcess(platform, contract_environ(MAX_CONCURRENCY="300")) as worker:
        assert "ping" in await worker.line("MAX_CONCURRENCY=300")


async def test_the_limit_of_open_files_is_raised_for_many_jobs(platform):
    async with WorkerProcess(platform, contract_environ(MAX_CONCURRENCY="400")) as worker:
        _, hard = resource.prlimit(worker.process.pid, resource.RLIMIT_NOFILE)
        resource.prlimit(worker.process.pid, resource.RLIMIT_NOFILE, (1024, hard))
        await worker.connected()
        assert resource.prlimit(worker.process.pid, resource.RLIMIT_NOFILE)[0] >= min(3 * 400, hard)
