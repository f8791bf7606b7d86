"""The platform stand-in's job store, planned faults and rate limits: pure, on a clock of the test's own."""

import json
from pathlib import Path

import pytest

from local.platform_faults import Faults
from local.platform_jobs import JobStore
from local.platform_program import parser
from local.platform_rates import RATES, WINDOW, Rates
from local.platform_records import FINAL, UNKNOWNS, Limits, Policy, Refused, Unknowns


class Clock:
    def __init__(self):
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def store(clock):
    return JobStore(clock, Limits(execution_timeout=(1, 10**9), ttl=(1, 10**9)))


def post(value) -> bytes:
    return json.dumps(value, ensure_ascii=False).encode()


def taken(store, worker="w", **submit):
    job = store.submit({"n": 1}, **submit)
    assert store.take(worker, 1) == [job]
    return job


def test_jobs_are_taken_in_order_and_once(store):
    jobs = [store.submit({"n": n}) for n in range(5)]
    assert store.take("w", 2) == jobs[:2]
    assert store.take("v", 10) == jobs[2:]
    assert store.take("w", 1) == []
    assert [j.worker_id for j in jobs] == ["w", "w", "v", "v", "v"]
    assert {j.status for j in jobs} == {"IN_PROGRESS"}
    assert len({j.id for j in jobs}) == 5


def test_a_job_streams_and_completes_with_its_aggregate(store, clock):
    job = taken(store)
    clock.now += 0.25
    store.chunk("w", job.id, post({"output": "a"}))
    clock.now += 1
    store.chunk("w", job.id, post({"output": "é"}))
    store.done("w", job.id, post({"output": ["a", "é"]}))
    assert (job.status, job.output, job.error, job.text) == ("COMPLETED", ["a", "é"], None, "aé")
    assert [(c.time, c.output) for c in job.chunks] == [(100.25, "a"), (101.25, "é")]
    assert job.public() == {"id": job.id, "status": "COMPLETED", "delayTime": 0, "executionTime": 1250,
                            "workerId": "w", "output": ["a", "é"]}


def test_an_error_fails_the_job_even_beside_an_output(store):
    job = taken(store)
    store.done("w", job.id, post({"output": ["x"], "error": "boom"}))
    assert (job.status, job.error) == ("FAILED", "boom")
    assert job.public()["error"] == "boom"


def test_progress_does_not_end_the_job(store):
    job = taken(store)
    store.done("w", job.id, post({"status": "IN_PROGRESS", "output": "half"}))
    assert job.status == "IN_PROGRESS" and job.public()["output"] == "half"
    store.done("w", job.id, post({"output": "whole"}))
    assert (job.status, job.output) == ("COMPLETED", "whole")


def test_the_stream_gives_each_chunk_once(store):
    job = taken(store)
    store.chunk("w", job.id, post({"output": 1}))
    store.chunk("w", job.id, post({"output": None}))
    assert store.news(job) == [{"output": 1}, {"output": None}]
    assert store.news(job) == []
    store.chunk("w", job.id, post({"output": 3}))
    assert store.news(job) == [{"output": 3}]


def test_a_chunk_above_the_limit_is_refused_and_the_job_goes_on(clock):
    store = JobStore(clock, Limits(chunk=40))
    job = taken(store)
    exact = post({"output": "x" * (40 - len(post({"output": ""})))})
    store.chunk("w", job.id, exact)
    with pytest.raises(Refused) as refused:
        store.chunk("w", job.id, exact[:-2] + b'x"}')
    assert refused.value.status == 400 and "41 bytes exceeds 40" in refused.value.message
    assert (job.status, len(job.chunks), store.oversized_chunks) == ("IN_PROGRESS", 1, 1)
    store.done("w", job.id, post({"output": "whole"}))
    assert (job.status, job.output) == ("COMPLETED", "whole")


def test_the_limits_count_the_bytes_of_the_body_not_the_characters(clock):
    store = JobStore(clock, Limits(chunk=40, result=40))
    job = taken(store)
    body = json.dumps({"output": '"' * 14}).encode()  # each quote takes two bytes
    assert len(body) == 42
    for accept in (store.chunk, store.done):
        with pytest.raises(Refused):
            accept("w", job.id, body)


def test_every_choice_of_what_is_unknown_is_told_and_can_be_given_on_the_command_line():
    told = (Path(__file__).resolve().parents[3] / "docs" / "clients.md").read_text(encoding="utf-8")
    for name, (_, choices) in UNKNOWNS.items():
        option = f"--{name.replace('_', '-')}"
        assert option in told
        assert getattr(Unknowns(), name) == choices[0] == getattr(parser().parse_args([]), name)
        assert [getattr(parser().parse_args([option, choice]), name) for choice in choices] == list(choices)


@pytest.mark.parametrize("wrong", [{"get_input": "none"}, {"abandoned": ""}, {"stream_header": None},
                                   {"large_chunk": "keep"}])
def test_an_unknown_choice_of_what_is_unknown_is_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Unknowns(**wrong)


def test_a_large_text_chunk_is_split_without_loss_and_counted(clock):
    store = JobStore(clock, Limits(chunk=40), split_chunks=lambda: True)
    job = taken(store)
    text = "aé🦜" * 30
    store.chunk("w", job.id, post({"output": text}))
    parts = [entry["output"] for entry in store.news(job)]
    assert len(parts) > 1 and "".join(parts) == text
    assert all(len(part.encode()) <= 40 for part in parts)
    assert store.oversized_chunks == 1


def test_a_large_chunk_that_is_no_text_stays_whole(clock):
    store = JobStore(clock, Limits(chunk=10), split_chunks=lambda: True)
    job = taken(store)
    store.chunk("w", job.id, post({"output": list(range(50))}))
    assert store.news(job) == [{"output": list(range(50))}]


def test_a_result_above_the_limit_is_refused_and_leaves_no_output(clock):
    store = JobStore(clock, Limits(result=100))
    job = taken(store)
    with pytest.raises(Refused) as refused:
        store.done("w", job.id, post({"output": "x" * 100}))
    assert refused.value.status == 400
    assert (job.status, job.output, job.error) == ("COMPLETED", None, None)


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b"\xff"])
def test_a_post_that_is_no_json_object_is_refused(store, body):
    job = taken(store)
    for call in (store.chunk, store.done):
        with pytest.raises(Refused) as refused:
            call("w", job.id, body)
        assert refused.value.status == 400
    assert job.status == "IN_PROGRESS" and not job.chunks


def test_posts_for_an_unknown_job_are_refused(store):
    for call in (store.chunk, store.done):
        with pytest.raises(Refused) as refused:
            call("w", "nope", post({"output": 1}))
        assert refused.value.status == 404


def test_cancel_in_the_queue_never_reaches_a_worker(store):
    job = store.submit({})
    store.cancel(job.id)
    assert job.status == "CANCELLED"
    assert store.take("w", 1) == [] and store.take_stops("w") == []


def test_cancel_in_progress_tells_its_worker_once(store):
    job = taken(store)
    store.cancel(job.id)
    assert job.status == "CANCELLED"
    assert store.take_stops("other") == []
    assert store.take_stops("w") == [job.id]
    assert store.take_stops("w") == []


def test_what_a_stopped_job_still_sends_is_ignored(store):
    job = taken(store)
    store.cancel(job.id)
    store.chunk("w", job.id, post({"output": "late"}))
    store.done("w", job.id, post({"output": "late"}))
    assert (job.status, job.output, job.chunks) == ("CANCELLED", None, [])


def test_cancel_of_an_ended_job_changes_nothing(store):
    job = taken(store)
    store.done("w", job.id, post({"output": 1}))
    assert store.cancel(job.id) is job and job.status == "COMPLETED"
    assert store.take_stops("w") == []


def test_the_execution_timeout_counts_from_the_take(store, clock):
    job = store.submit({}, policy={"executionTimeout": 5000})
    clock.now += 60
    store.expire()
    store.take("w", 1)
    clock.now += 4.9
    store.expire()
    assert job.status == "IN_PROGRESS"
    clock.now += 0.2
    assert store.next_deadline() <= clock.now
    store.expire()
    assert job.status == "TIMED_OUT" and "5000 ms" in job.error
    assert store.take_stops("w") == [job.id]


def test_the_time_to_live_ends_waiting_and_running_jobs(store, clock):
    waiting = store.submit({}, policy={"ttl": 10_000})
    clock.now += 10
    store.expire()
    assert waiting.status == "TIMED_OUT" and not store.queue
    running = taken(store, policy={"ttl": 10_000})
    clock.now += 10
    store.expire()
    assert running.status == "TIMED_OUT" and store.take_stops("w") == [running.id]
    for job in (waiting, running):
        with pytest.raises(Refused) as refused:
            store.get(job.id)
        assert refused.value.status == 404


def test_a_finished_job_outlives_its_deadlines_until_it_is_forgotten(clock):
    store = JobStore(clock, Limits(keep_run=1800, keep_runsync=60), Policy(600_000, 86_400_000))
    run, sync = taken(store, source="run"), taken(store, source="runsync")
    for job in (run, sync):
        store.done("w", job.id, post({"output": 1}))
    clock.now += 60
    store.expire()
    assert store.get(run.id) is run
    with pytest.raises(Refused):
        store.get(sync.id)
    clock.now += 1740
    store.expire()
    with pytest.raises(Refused):
        store.get(run.id)
    assert run.status == "COMPLETED"


@pytest.mark.parametrize("policy", [{"executionTimeout": 4999}, {"ttl": 9999}, {"ttl": "10000"},
                                    {"executionTimeout": 7 * 86_400_000 + 1}, {"executionTimeout": 1.5}, "x"])
def test_a_policy_out_of_range_is_refused(clock, policy):
    with pytest.raises(Refused) as refused:
        JobStore(clock).submit({}, policy=policy)
    assert refused.value.status == 400


def test_a_policy_changes_only_what_it_names(clock):
    job = JobStore(clock, policy=Policy(7_000, 70_000)).submit({}, policy={"ttl": 20_000})
    assert job.policy == Policy(7_000, 20_000)


def test_the_jobs_of_a_silent_worker_are_lost_and_can_go_to_another(store, clock):
    job, other = taken(store, "w"), taken(store, "v")
    store.ping("w", {})
    store.chunk("w", job.id, post({"output": "half"}))
    clock.now += 30
    store.ping("v", {"job_id": other.id, "runpod_version": "1.12.0"})
    assert store.lost(20) == [job]
    assert store.workers["v"].jobs == (other.id,) and store.workers["v"].version == "1.12.0"
    store.requeue(job.id)
    later = store.submit({})
    assert store.take("v", 2) == [job, later]
    assert job.chunks == [] and job.attempts == 2
    store.done("w", job.id, post({"output": "from the dead"}))
    assert job.status == "IN_PROGRESS"
    store.done("v", job.id, post({"output": "whole"}))
    assert job.output == "whole"


def test_a_requeued_job_gets_a_whole_execution_timeout(store, clock):
    job = taken(store, policy={"executionTimeout": 10_000})
    clock.now += 8
    store.requeue(job.id)
    store.take("v", 1)
    clock.now += 3
    store.expire()
    assert job.status == "IN_PROGRESS"
    clock.now += 7
    store.expire()
    assert job.status == "TIMED_OUT"


def test_only_a_job_in_progress_is_requeued(store):
    with pytest.raises(Refused):
        store.requeue(store.submit({}).id)


def test_purge_cancels_what_waits_and_nothing_else(store):
    running = taken(store)
    waiting = [store.submit({}) for _ in range(3)]
    assert store.purge() == 3
    assert {j.status for j in waiting} == {"CANCELLED"} and running.status == "IN_PROGRESS"


def test_health_counts_jobs_and_workers(store):
    taken(store, "busy")
    store.submit({})
    store.ping("idle", {})
    store.ping("sick", {"status": "unhealthy", "check": "gpu", "reason": "gone"})
    assert store.workers["sick"].unhealthy == "gpu: gone"
    assert store.health() == {
        "jobs": {"completed": 0, "failed": 0, "inProgress": 1, "inQueue": 1, "retried": 0},
        "workers": {"idle": 1, "initializing": 0, "ready": 2, "running": 1, "throttled": 0, "unhealthy": 1}}


def test_every_change_is_told(clock):
    seen = []
    store = JobStore(clock, on_change=lambda job: seen.append(job.status))
    job = taken(store)
    store.chunk("w", job.id, post({"output": 1}))
    store.done("w", job.id, post({"output": [1]}))
    assert seen == ["IN_QUEUE", "IN_PROGRESS", "IN_PROGRESS", "COMPLETED"]
    assert seen[-1] in FINAL


# ---------------------------------------------------------------- planned faults
def test_a_fault_hits_so_often_and_only_its_kind():
    faults = Faults()
    faults.fail("job-done", 502, times=2)
    assert faults.pick("job-stream", "j") is None
    assert [f and f.status for f in (faults.pick("job-done", "j") for _ in range(3))] == [502, 502, None]


def test_a_fault_of_one_job_spares_the_others():
    faults = Faults()
    faults.drop("job-stream", times=None, job_id="a")
    assert faults.pick("job-stream", "b") is None
    assert faults.pick("job-stream", "a").dropped and faults.pick("job-stream", "a").dropped


def test_a_fraction_is_about_right_and_the_same_for_the_same_seed():
    def hits(seed):
        faults = Faults()
        faults.fail_fraction("job-stream", 0.25, seed=seed)
        return [faults.pick("job-stream", None) is not None for _ in range(1000)]
    assert hits(3) == hits(3) != hits(4)
    assert 200 < sum(hits(3)) < 300


def test_an_unknown_kind_of_fault_is_an_error():
    with pytest.raises(ValueError, match="job-streams"):
        Faults().slow("job-streams", 1)


# ---------------------------------------------------------------- rate limits
def test_the_rate_window_slides(clock):
    rates = Rates(clock)
    most, _ = RATES["purge-queue"]
    for _ in range(most):
        with rates.counted("purge-queue"):
            pass
    with pytest.raises(Refused) as refused, rates.counted("purge-queue"):
        pass
    assert refused.value.status == 429
    clock.now += WINDOW
    with rates.counted("purge-queue"):
        pass


def test_open_requests_are_limited_too(clock):
    rates, (_, at_once) = Rates(clock), RATES["cancel"]
    held = [rates.counted("cancel") for _ in range(at_once)]
    for one in held:
        one.__enter__()
    with pytest.raises(Refused), rates.counted("cancel"):
        pass
    held[0].__exit__(None, None, None)
    with rates.counted("cancel"):
        pass


def test_calls_without_a_documented_rate_are_free(clock):
    rates = Rates(clock)
    for _ in range(5000):
        with rates.counted("status"):
            pass
