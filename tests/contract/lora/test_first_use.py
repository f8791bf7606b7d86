"""Adapters that are loaded where a request needs them: races, room, faults and ends."""

import asyncio
import json
import shutil
import signal

import pytest

from local import tiny_adapters
from local.runpod_platform import Platform
from tests.contract.lora.conftest import LIMIT, Stage, environ_of
from tests.over_http import OverHttp
from tests.support import say
from tests.worker import WorkerProcess, error_of

both_fronts = pytest.mark.parametrize("front", [Platform, OverHttp])


@both_fronts
async def test_a_hundred_requests_for_a_new_adapter_are_one_load(stage):
    stage.adapter("sql")
    jobs = await asyncio.gather(*[stage.ask("sql") for _ in range(100)])
    done = [await job.finished() for job in jobs]
    assert {job.status for job in done} == {"COMPLETED"}, [job.error for job in done if job.error][:1]
    assert {job.output[0]["model"] for job in done} == {"tiny:sql"}
    assert await stage.events("load", "unload") == [("load", "sql")]


async def test_it_is_named_alone_or_with_the_model_or_natively_and_in_every_route(stage):
    for name in ("a", "b", "c"):
        stage.adapter(name)
    for job_input in (
            {"model": "a", "messages": say({"text": "Paris."})},
            {"openai_route": "/v1/completions", "openai_input": {"model": "tiny:b", "prompt": "Hi", "max_tokens": 2}},
            {"openai_route": "/v1/messages", "openai_input": {
                "model": "c", "max_tokens": 3, "messages": say({"text": "Paris."})}},
            {"text": "Hi", "lora_path": "a", "sampling_params": {"max_new_tokens": 2}},
            {"text": ["Hi", "Ho", "Ha"], "lora_path": ["a", None, "b"], "sampling_params": {"max_new_tokens": 2}},
            {"openai_route": "/api/chat", "openai_input": {
                "model": "b", "messages": say({"text": "Paris."}), "stream": False}}):
        job = await (await stage.platform.submit(job_input)).finished()
        assert job.status == "COMPLETED", (job_input, job.error)
    assert sorted(await stage.events("load")) == [("load", "a"), ("load", "b"), ("load", "c")]
    bodies = [record["body"] for record in await stage.engine("requests?path=/generate")]
    assert [body.get("lora_path") for body in bodies][-4:] == ["a", *[["a", None, "b"]] * 3]


@both_fronts
async def test_the_list_has_what_is_offered_and_what_is_loaded(stage):
    stage.adapter("later")  # after the start
    listed = (await (await stage.platform.submit({"openai_route": "/v1/models"})).finished()).output[0]["data"]
    assert [(card["id"], card["parent"]) for card in listed] == [("tiny", None), ("later", "tiny")]
    assert (await (await stage.ask("later")).finished()).status == "COMPLETED"
    again = (await (await stage.platform.submit({"openai_route": "/v1/models"})).finished()).output[0]["data"]
    assert [card["id"] for card in again] == ["tiny", "later"] and again[1]["root"] == str(stage.folder / "later")
    card = (await (await stage.platform.submit({"openai_route": "/v1/models/later"})).finished()).output[0]
    assert (card["id"], card["parent"]) == ("later", "tiny")
    tags = (await (await stage.platform.submit({"openai_route": "/api/tags"})).finished()).output[0]["models"]
    assert "later" in json.dumps(tags)


async def test_names_that_are_not_offered_are_404_and_nothing_is_loaded(stage):
    stage.adapter("sql")
    (stage.folder.parent / "secret").mkdir()
    stage.folder.joinpath("link").symlink_to(stage.folder.parent / "outside")
    shutil.copytree(stage.folder / "sql", stage.folder.parent / "outside")
    for name in ("nope", "../outside", "link", "org/repo", "/etc", ".", "..", "sql/../sql", "a" * 500):
        for job_input in ({"model": f"tiny:{name}", "messages": say({})}, {"text": "Hi", "lora_path": name},
                          {"text": ["a", "b"], "lora_path": ["sql", name]}):
            error = error_of(await (await stage.platform.submit(job_input)).finished())
            assert (error["code"], error["type"]) == (404, "not_found_error"), (name, error)
            assert error["param"] == ("model" if "model" in job_input else "lora_path")
    assert not await stage.events("load")


async def test_the_least_recently_used_goes_and_one_in_use_never(stage):
    names = [f"a{number}" for number in range(LIMIT + 5)]
    for name in names:
        stage.adapter(name)
    held = await stage.ask(names[0], {"tokens": 9, "hang_at": 2}, stream=True)
    await held.chunk(0)
    for name in names[1:LIMIT]:
        assert (await (await stage.ask(name)).finished()).status == "COMPLETED"
    assert (await (await stage.ask(names[1])).finished()).status == "COMPLETED"  # so that names[2] is the oldest
    for name in names[LIMIT:]:
        assert (await (await stage.ask(name)).finished()).status == "COMPLETED"
    assert await stage.events("unload") == [("unload", name) for name in (names[2], names[3], names[1], *names[4:6])]
    await stage.engine("release", {})
    assert (await held.finished()).status == "COMPLETED"
    assert (await (await stage.ask(names[1])).finished()).status == "COMPLETED"  # the longest unused by now goes
    assert len((await stage.engine("adapters"))["loaded"]) == LIMIT


async def test_a_new_adapter_gets_in_although_all_the_others_are_asked_for_all_the_time(stage):
    names = [f"a{number}" for number in range(LIMIT)]
    for name in (*names, "new"):
        stage.adapter(name)
    streams = []
    for name in names:  # one after the other, so that the first is the least recently used
        streams.append(await stage.ask(name, {"tokens": 9, "hang_at": 2}, stream=True))
        await streams[-1].chunk(0)
    new = await stage.ask("new")
    base = await stage.ask(None)
    assert (await base.finished()).status == "COMPLETED"  # which waits for no adapter
    more = [await stage.ask(name) for name in names[1:]]  # the oldest alone is closed
    for job in more:
        assert (await job.finished()).status == "COMPLETED"
    waits = await stage.ask(names[0])
    await stage.engine(f"release?rid={streams[0].id}", {})
    for job in (new, waits):
        assert (await job.finished()).status == "COMPLETED"
    await stage.engine("release", {})
    for stream in streams:
        assert (await stream.finished()).status == "COMPLETED"
    assert ("unload", names[0]) in await stage.events("unload")


async def test_a_load_holds_up_neither_the_base_nor_what_is_loaded(stage):
    stage.adapter("ready")
    stage.adapter("slow")
    assert (await (await stage.ask("ready")).finished()).status == "COMPLETED"
    await stage.steer(hold=["slow"])
    slow = await stage.ask("slow")
    await stage.until("load", 2)
    for name in ("ready", None, "ready"):
        assert (await (await stage.ask(name)).finished()).status == "COMPLETED"
    await stage.steer(hold=[])
    assert (await slow.finished()).status == "COMPLETED"


@both_fronts
async def test_a_job_that_is_cancelled_while_it_waits_lets_the_others_go_on(stage):
    stage.adapter("slow")
    await stage.steer(hold=["slow"])
    first, second = await stage.ask("slow"), await stage.ask("slow")
    await stage.until("load")
    await stage.platform.cancel(first.id)
    await stage.steer(hold=[])
    assert (await second.finished()).status == "COMPLETED" and first.status == "CANCELLED"
    assert await stage.events("load") == [("load", "slow")]
    # and nothing of the cancelled one is held: it may go
    for number in range(LIMIT):
        stage.adapter(f"a{number}")
        assert (await (await stage.ask(f"a{number}")).finished()).status == "COMPLETED"
    assert await stage.events("unload") == [("unload", "slow")]


@pytest.mark.parametrize("more", [{"STREAM_KEEPALIVE": "0.2"}])
async def test_a_stream_that_waits_for_a_load_gets_comments(stage):
    stage.adapter("slow")
    await stage.steer(hold=["slow"])
    job = await stage.platform.submit({"openai_route": "/v1/chat/completions", "openai_input": {
        "model": "slow", "stream": True, "messages": say({"text": "Paris."})}})
    assert (await job.chunk(0)).startswith(":")
    await stage.steer(hold=[])
    await job.finished()
    assert '"finish_reason":"stop"' in "".join(job.output) and job.output[-1].endswith("data: [DONE]\n\n")


async def test_what_the_engine_refuses_is_400_and_may_be_tried_again(stage):
    stage.adapter("sql")
    await stage.steer(refuse={"sql": "the rank is incompatible"})
    jobs = [await stage.ask("sql") for _ in range(3)]
    for job in jobs:
        error = error_of(await job.finished())
        assert error["code"] == 400 and "the rank is incompatible" in error["message"]
    await stage.steer(refuse={})
    assert (await (await stage.ask("sql")).finished()).status == "COMPLETED"


async def test_what_does_not_fit_is_400_before_the_engine_hears_of_it(stage):
    stage.adapter("high", rank=16)
    stage.adapter("dora", use_dora=True)
    (stage.folder / "torn").mkdir()
    shutil.copy(stage.adapter("whole") / "adapter_config.json", stage.folder / "torn")
    for name, said in (("high", "MAX_LORA_RANK=16"), ("dora", "use_dora"), ("torn", "it has no weights")):
        error = error_of(await (await stage.ask(name)).finished())
        assert (error["code"], error["param"]) == (400, "model") and said in error["message"], error
    assert not await stage.events("load")
    shutil.copy(stage.folder / "whole" / "adapter_model.safetensors", stage.folder / "torn")
    assert (await (await stage.ask("torn")).finished()).status == "COMPLETED"  # once it is whole


async def test_more_adapters_in_one_job_than_are_loaded_at_once_is_400(stage):
    names = [f"a{number}" for number in range(LIMIT + 1)]
    for name in names:
        stage.adapter(name)

    async def batch(names):
        return await (await stage.platform.submit({"text": ["Hi"] * len(names), "lora_path": names,
                                                   "sampling_params": {"max_new_tokens": 2}})).finished()

    error = error_of(await batch(names))
    assert error["code"] == 400 and "MAX_LOADED_LORAS" in error["message"]
    many = await asyncio.gather(*[batch(names[start:start + LIMIT]) for start in (0, 1, 0, 1)])
    assert {job.status for job in many} == {"COMPLETED"}


async def test_after_a_restart_of_the_engine_they_are_loaded_anew(stage):
    stage.adapter("sql")
    assert (await (await stage.ask("sql")).finished()).status == "COMPLETED"
    error_of(await (await stage.ask(None, {"tokens": 9, "die_at": 1})).finished())
    assert (await (await stage.ask("sql")).finished(timeout=60)).status == "COMPLETED"
    assert await stage.events("load") == [("load", "sql")]  # of the new engine


async def test_who_waits_for_a_load_when_the_engine_ends_waits_for_the_next_engine(stage):
    stage.adapter("sql")
    await stage.steer(die=["sql"])  # which the next engine does not know of
    assert (await (await stage.ask("sql")).finished(timeout=90)).status == "COMPLETED"


@pytest.mark.parametrize("more", [{"SCRIPTED_ENGINE_LIFE": json.dumps({"adapters": {"die": ["deadly"]}})}])
async def test_an_engine_that_dies_of_a_load_twice_is_not_asked_a_third_time(stage):
    stage.adapter("deadly")
    stage.adapter("good")
    for _ in range(2):
        error = error_of(await (await stage.ask("deadly")).finished(timeout=90))
        assert error["code"] == 400 and "died twice" in error["message"], error
    assert (await (await stage.ask("good")).finished()).status == "COMPLETED"
    assert stage.worker.output.count("restarting the engine") == 2


@pytest.mark.parametrize("more", [{"LORA_LOAD_TIMEOUT": "1"}])
async def test_a_load_that_takes_too_long_is_503_and_goes_on(stage):
    stage.adapter("slow")
    await stage.steer(hold=["slow"])
    error = error_of(await (await stage.ask("slow")).finished())
    assert error["code"] == 503 and "LORA_LOAD_TIMEOUT" in error["message"]
    await stage.steer(hold=[])
    await stage.until("loaded")
    assert (await (await stage.ask("slow")).finished()).status == "COMPLETED"
    assert await stage.events("load") == [("load", "slow")]


async def test_a_worker_that_is_told_to_stop_finishes_what_waits_for_a_load(stage):
    stage.adapter("slow")
    await stage.steer(hold=["slow"])
    job = await stage.ask("slow")
    await stage.until("load")
    stage.worker.process.send_signal(signal.SIGTERM)
    await stage.steer(hold=[])
    assert (await job.finished()).status == "COMPLETED"
    assert await stage.worker.ended() == 0


@pytest.mark.parametrize("more", [{"DRAIN_TIMEOUT": "0.5"}])
async def test_a_worker_that_is_told_to_stop_does_not_wait_for_a_load_for_ever(stage):
    stage.adapter("slow")
    await stage.steer(hold=["slow"])
    job = await stage.ask("slow")
    await stage.until("load")
    stage.worker.process.send_signal(signal.SIGTERM)
    error = error_of(await job.finished())
    assert error["code"] == 503
    await stage.worker.ended(60)


async def test_those_of_the_start_go_and_come_back_like_the_others(folder, tmp_path):
    for name in ("first", "other"):
        tiny_adapters.make(tmp_path / "start" / name, 1)
    paths = f"first={tmp_path / 'start' / 'first'} {tmp_path / 'start' / 'other'}"
    environ = environ_of(folder, LORA_PATHS=paths, MAX_LOADED_LORAS="2")
    async with Platform() as platform, WorkerProcess(platform, environ) as worker:
        stage = Stage(platform, await worker.connected(), folder)
        other = str(tmp_path / "start" / "other")  # its path is its name
        for name in ("first", other):
            assert (await (await stage.ask(name)).finished()).status == "COMPLETED"
        assert not await stage.events("load")
        stage.adapter("new")
        for name in ("new", "first"):
            assert (await (await stage.ask(name)).finished()).status == "COMPLETED", name
        assert await stage.events("load", "unload") == [
            ("unload", "first"), ("load", "new"), ("unload", other), ("load", "first")]
        listed = (await (await platform.submit({"openai_route": "/v1/models"})).finished()).output[0]["data"]
        assert {card["id"] for card in listed} == {"tiny", "first", "new", other}
