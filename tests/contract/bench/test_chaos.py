"""A short chaos run, and that its judgement is strict: it must see what it says is not there."""

import json

import pytest

from bench import chaos_plan
from bench.chaos import Chaos
from bench.chaos_checks import BAD, Facts, judge
from bench.chaos_plan import Planned
from local.platform_records import Chunk, Job, Policy
from local.runpod_platform import Platform
from tests.support import say
from tests.worker import WorkerProcess, contract_environ

NO_FACTS = Facts({}, {}, 8.0, frozenset())


@pytest.mark.timeout(600)
async def test_nothing_is_lost_hung_duplicated_or_corrupted():
    plan = chaos_plan.make(seed=1, count=300, concurrency=32, faults=4)
    report = await Chaos(plan, 1, 32).run()
    assert report.clean, report.markdown() + "\n" + "\n".join(report.problems)
    assert sum(report.outcomes.values()) == 300 and not any(report.outcomes[bad] for bad in BAD)
    # The run was one: everything that it is for did happen.
    assert report.outcomes["completed"] > 100
    assert all(report.outcomes[outcome] for outcome in ("failed", "cancelled", "timed out"))
    assert sum(report.faults.values()) == 4 and report.restarts
    assert report.posts["job-stream"]["refused"] and report.posts["job-stream"]["dropped"]
    assert all(report.posts[kind]["unanswered"] for kind in ("job-stream", "job-done"))


async def test_a_job_that_is_cancelled_before_it_begins_does_not_run():
    script = {"tokens": 9, "hang_at": 2}
    async with Platform() as platform, WorkerProcess(platform, contract_environ(MAX_CONCURRENCY="8")) as worker:
        await worker.connected()
        for stream in (True, False):
            # Between the hand-out and the job's first step.
            job = await platform.submit({"messages": say(script), "stream": stream})
            await job.until(lambda record: record.status == "IN_PROGRESS")
            await platform.cancel(job.id)
            await worker.line(f'"{job.id}", "message": "Job stopped."')
        worker.process.terminate()
        assert "stopping: 0 running jobs" in await worker.line("stopping: ")
        assert await worker.ended() == 0


def test_a_plan_has_twins_that_run_at_the_same_time():
    jobs = chaos_plan.make(seed=1, count=400, concurrency=64, faults=5).jobs
    twins = [job for job in jobs for other in jobs[max(0, job.index - 8):job.index] if job.texts and not job.fails
             and job.input == other.input and job.kind != "models"]
    assert len(twins) >= 5


def test_a_seed_gives_the_same_plan():
    plans = [chaos_plan.make(seed, 400, 64, 5) for seed in (3, 3, 4)]
    assert repr(plans[0]) == repr(plans[1]) != repr(plans[2])
    assert len(plans[0].faults) == 5


# ------------------------------------------------------------------ the judgement
def record(status: str, **fields) -> Job:
    chunks = [Chunk(2.0, output, 10) for output in fields.pop("chunks", ())]
    return Job("job-1", {}, "run", Policy(), 0.0, **{"status": status, "chunks": chunks, "taken": 1.0, "ended": 3.0,
                                                    "attempts": 1, "worker_id": "worker-1", **fields})


def failure(code: int = 400, **changed) -> str:
    return json.dumps({"message": "no", "type": "t", "param": None, "code": code, "job_id": "job-1", **changed})


def stream(*texts: str, done: bool = True) -> list[str]:
    events = [{"choices": [{"delta": {"content": text}, "finish_reason": None}]} for text in texts]
    events += [{"choices": [{"delta": {}, "finish_reason": "stop"}]}] if done else []
    return [f"data: {json.dumps(event)}\n\n" for event in events] + ["data: [DONE]\n\n"] * done


CHAT = Planned(0, "chat", {}, "chat", ("Paris.",))
STREAM = Planned(0, "chat, streamed", {}, "chat-stream", ("Paris.",))
REFUSED = Planned(0, "bad input", {}, fails=frozenset({400}))
WHOLE = [{"choices": [{"message": {"content": "Paris."}}]}]
ERROR_EVENT = f'data: {json.dumps({"error": {"message": "no", "code": 502}})}\n\n'
GOOD = stream("Par", "is.")


@pytest.mark.parametrize(("planned", "job", "outcome"), [
    (CHAT, record("COMPLETED", output=WHOLE), "completed"),
    (CHAT, record("COMPLETED", output=WHOLE, chunks=WHOLE), "corrupted"),  # as a chunk as well
    (STREAM, record("COMPLETED", output=GOOD, chunks=GOOD), "completed"),
    (REFUSED, record("FAILED", error=failure()), "failed"),
    (CHAT, record("CANCELLED"), "corrupted"),
    (CHAT, record("TIMED_OUT"), "corrupted"),
    (Planned(0, "chat", {}, "chat", ("Paris.",), cancel_after=1.0), record("CANCELLED"), "cancelled"),
    (Planned(0, "chat", {}, "chat", ("Paris.",), execution_timeout=9), record("TIMED_OUT"), "timed out"),
    (CHAT, None, "lost"),
    (CHAT, record("IN_PROGRESS"), "lost"),
    (CHAT, record("IN_QUEUE"), "lost"),
    (CHAT, record("COMPLETED", output=WHOLE, attempts=2), "duplicated"),
    (CHAT, record("COMPLETED", output=WHOLE, chunks=[*WHOLE, *WHOLE]), "corrupted"),
    (CHAT, record("COMPLETED", output=[*WHOLE, *WHOLE], chunks=[*WHOLE, *WHOLE]), "corrupted"),
    (CHAT, record("COMPLETED", output=None), "corrupted"),
    (CHAT, record("FAILED", error=failure()), "corrupted"),
    (REFUSED, record("COMPLETED", output=WHOLE, chunks=WHOLE), "corrupted"),
    (REFUSED, record("FAILED", error="a traceback"), "corrupted"),
    (REFUSED, record("FAILED", error=failure(code="400")), "corrupted"),
    (REFUSED, record("FAILED", error=failure(job_id="job-2")), "corrupted"),
    (REFUSED, record("FAILED", error=failure(message="Internal error of the worker (KeyError).")), "corrupted"),
    (REFUSED, record("FAILED", error=failure(), chunks=GOOD), "corrupted"),
    (STREAM, record("COMPLETED", output=GOOD[:-1], chunks=GOOD[:-1]), "corrupted"),
    (STREAM, record("COMPLETED", output=GOOD[1:], chunks=GOOD[1:]), "corrupted"),
    (STREAM, record("COMPLETED", output=[GOOD[1], GOOD[0], *GOOD[2:]], chunks=[GOOD[1], GOOD[0], *GOOD[2:]]),
     "corrupted"),
    (STREAM, record("COMPLETED", output=[GOOD[0][:9], GOOD[0][9:], *GOOD[1:]],
                    chunks=[GOOD[0][:9], GOOD[0][9:], *GOOD[1:]]), "corrupted"),
])
def test_the_judgement_of_a_job(planned, job, outcome):
    assert judge(planned, job, 1, NO_FACTS).outcome == outcome


def test_a_job_that_a_worker_still_reports_hangs():
    facts = Facts({}, {}, 8.0, frozenset({"job-1"}))
    assert judge(CHAT, record("IN_PROGRESS"), 0, facts).outcome == "hung"


def test_two_results_for_one_job_are_seen():
    assert judge(CHAT, record("COMPLETED", output=WHOLE, chunks=WHOLE), 2, NO_FACTS).outcome == "duplicated"


@pytest.mark.parametrize(("chunks", "ends", "outcome"), [
    ([*stream("Par", done=False), ERROR_EVENT], [2.5], "failed"),
    ([], [2.5], "failed"),
    ([*stream("Par", done=False), ERROR_EVENT], [], "corrupted"),         # nothing explains it
    ([*stream("Par", done=False), ERROR_EVENT], [3.5], "corrupted"),      # the engine ended after the job
    (stream("Par", done=False), [2.5], "corrupted"),                      # the stream does not say that it broke
    ([*stream("Rap", done=False), ERROR_EVENT], [2.5], "corrupted"),      # what was delivered is wrong
    ([*GOOD, ERROR_EVENT], [2.5], "corrupted"),                           # it looked complete
])
def test_the_judgement_of_a_stream_that_broke(chunks, ends, outcome):
    facts = Facts({"worker-1": ends}, {}, 8.0, frozenset())
    job = record("FAILED", error=failure(502), chunks=chunks)
    assert judge(STREAM, job, 1, facts).outcome == outcome


@pytest.mark.parametrize(("stuck", "stopping", "chunks", "outcome"), [
    ({"job-1"}, {"worker-1": 0.5}, stream("Par", done=False), "failed"),
    ({"job-1"}, {}, stream("Par", done=False), "corrupted"),            # the POST would have been tried again
    ({"job-2"}, {"worker-1": 0.5}, stream("Par", done=False), "corrupted"),
    ({"job-1"}, {"worker-1": 0.5}, stream("Rap", done=False), "corrupted"),
    ({"job-1"}, {"worker-1": 0.5}, GOOD, "corrupted"),
])
def test_a_stream_may_end_without_a_word_only_if_its_worker_ended_and_the_platform_did_not_answer(
        stuck, stopping, chunks, outcome):
    facts = Facts({}, stopping, 1.0, frozenset(), frozenset(stuck))
    assert judge(STREAM, record("FAILED", error=failure(503), chunks=chunks), 1, facts).outcome == outcome


@pytest.mark.parametrize(("chunks", "outcome"), [
    ([], "cancelled"), (stream("Par", done=False), "cancelled"), (GOOD, "cancelled"),
    ([*stream("Par", done=False), ERROR_EVENT], "cancelled"), (stream("is.", done=False), "corrupted")])
def test_the_judgement_of_a_cancelled_stream(chunks, outcome):
    planned = Planned(0, "chat, streamed", {}, "chat-stream", ("Paris.",), cancel_after=1.0)
    assert judge(planned, record("CANCELLED", chunks=chunks), 0, NO_FACTS).outcome == outcome


@pytest.mark.parametrize(("told", "outcome"), [(1.0, "failed"), (2.5, "corrupted"), (None, "corrupted")])
def test_a_stopped_worker_may_fail_a_job_only_after_its_time(told, outcome):
    facts = Facts({}, {} if told is None else {"worker-1": told}, 2.0, frozenset())
    assert judge(CHAT, record("FAILED", error=failure(503)), 1, facts).outcome == outcome
