"""What is refused, counted and blamed, by the worker process under the real SDK."""



from tests.support import say
from tests.worker import WorkerProcess, contract_environ, error_of


async def test_twins_that_somebody_else_ended_the_engine_under_are_not_refused(platform):
    async with WorkerProcess(platform, contract_environ()) as worker:
        await worker.connected()
        body = {"messages": say({"tokens": 9, "hang_at": 2}), "stream": True}
        for _ in range(2):
            twins = [await platform.submit(dict(body)) for _ in range(2)]
            for twin in twins:
                await twin.chunk(0)
            other = await platform.submit({"messages": say({"die_at": 0, "die_code": 7})})
            for job in (*twins, other):
                await job.finished()
                assert error_of(job)["code"] == 502
        again = await platform.submit(dict(body))
        await again.chunk(0)  # it runs
        assert again.status == "IN_PROGRESS"


async def test_a_lone_request_at_two_deaths_is_recognised_on_every_route(platform):
    deadly = '#script {"die_at": 0}'
    routes = (("/v1/messages", {"messages": say({"die_at": 0}), "max_tokens": 9}),
              ("/generate", {"text": [deadly, "Hello"]}),
              ("/v1/completions", {"prompt": deadly, "rid": "one-of-my-own"}))
    async with WorkerProcess(platform, contract_environ(SGLANG_MAX_RESTARTS="9")) as worker:
        await worker.connected()
        for route, body in routes:
            codes = []
            for _ in range(3):
                job = await platform.submit({"openai_route": route, "openai_input": dict(body)})
                await job.finished()
                codes.append(error_of(job)["code"])
            assert codes == [502, 502, 422], route


async def test_a_result_is_counted_as_it_is_posted(platform):
    """A stream's events are full of quotes and line ends, each of which takes two bytes in the job's result."""
    body = {"messages": say({"tokens": 500}), "stream": True}

    async def run(limit: int):
        async with WorkerProcess(platform, contract_environ(MAX_RESULT_MB=f"{limit / 1e6:.6f}")) as worker:
            await worker.connected()
            return await (await platform.submit(dict(body))).finished()

    whole = await run(19_000_000)
    assert whole.status == "COMPLETED"
    posted = platform.calls_of("job-done")[-1].size
    text = sum(len(chunk.output) for chunk in whole.chunks)
    slack = 4000  # four bytes a chunk, and how many chunks there are is up to the moment
    assert text < posted - slack
    assert (await run(posted + slack)).status == "COMPLETED"
    assert error_of(await run(posted - slack))["code"] == 413


async def test_a_large_input_is_judged_by_its_json_and_by_what_is_in_it(platform):
    async with WorkerProcess(platform, contract_environ()) as worker:
        await worker.connected()
        ids = await (await platform.submit({"input_ids": [1] * 4_900_000})).finished(120)
        assert error_of(ids)["code"] == 400 and "4900000 token ids" in error_of(ids)["message"]
        chat = {"messages": say({"text": "Paris."}), "metadata": {"a": [{"b": [1, 2.5, None, "é"]}] * 20_000}}
        job = await (await platform.submit(chat)).finished(120)
        assert job.output[0]["choices"][0]["message"]["content"] == "Paris."
