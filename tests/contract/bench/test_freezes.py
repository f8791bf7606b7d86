"""A short run of freezes, and that its judgement is strict: it must see what it says is not there."""

import random
from types import SimpleNamespace

import pytest

from bench import freezes
from bench.freezes import Victim
from bench.freezes_report import Report
from local.platform_records import Chunk, Job, Policy


@pytest.mark.timeout(300)
async def test_nothing_is_lost_hung_or_doubled():
    report = await freezes.run(count=6, workers=3, seed=1)
    assert report.clean, report.markdown() + "\n" + "\n".join(report.problems)
    assert report.noticed == 6 and report.jobs > 6


def job(**fields) -> Job:
    text = 'data: {"object": "chat.completion.chunk", "choices": [{"index": 0, "delta": {"role": "assistant", ' \
           '"content": "Paris."}, "finish_reason": "stop"}]}\n\n'
    done = "data: [DONE]\n\n"
    given = {"status": "COMPLETED", "output": [text, done], "chunks": [Chunk(0.0, text, 9), Chunk(0.0, done, 9)],
             "attempts": 1, **fields}
    return Job("j", {}, "run", Policy(), 0.0, **given)


def judged(one: Job, moment: str = "idle", way: str = "vanished", restarts: int = 0) -> Report:
    report = Report(1, 1)
    worker = SimpleNamespace(output="restarting the engine\n" * restarts)
    victim = Victim(None, None, worker, random.Random(0), report)
    victim.jobs = [(one, "chat-stream", "Paris.")]
    victim._judge(moment, way)
    return report


def test_a_job_that_is_right():
    report = judged(job())
    assert not report.bad and report.jobs == 1


def test_a_chunk_that_was_posted_again_is_counted_and_no_fault():
    right = job()
    report = judged(job(chunks=[right.chunks[0], *right.chunks]))
    assert not report.bad and report.chunks_twice == 1


@pytest.mark.parametrize(("fields", "kind"), [
    ({"status": "IN_QUEUE"}, "lost"), ({"status": "IN_PROGRESS"}, "hung"),
    ({"status": "FAILED", "error": "no"}, "failed"), ({"output": None}, "doubled"),
    ({"output": job().output[:1]}, "doubled"), ({"output": job().output * 2}, "doubled"),
    ({"chunks": job().chunks[::-1]}, "doubled"), ({"chunks": job().chunks[:1]}, "doubled")])
def test_a_job_that_is_not_right(fields, kind):
    report = judged(job(**fields))
    assert set(report.bad) == {kind} and not report.clean


def test_a_chunk_twice_over_connections_that_were_kept():
    right = job()
    assert judged(job(chunks=[right.chunks[0], *right.chunks]), way="kept").bad["doubled"] == 1


def test_a_restart_that_nobody_planned():
    assert judged(job(), restarts=1).bad["failed"] == 1
