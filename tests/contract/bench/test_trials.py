"""Every trial holds; and what the trials themselves must notice."""

import pytest

from bench import trials
from bench.trial import wrong
from bench.trials_platform import _filling
from local.platform_records import Job, Policy


@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", trials.TRIALS)
async def test_trial(name):
    problems = await trials.run(name)
    assert not problems, "\n".join(problems)


def test_every_trial_says_what_it_is():
    assert all(trials.about(name).strip() for name in trials.TRIALS)


@pytest.mark.parametrize("job", [
    Job("j", {}, "run", Policy(), 0.0, status="COMPLETED", output=None),
    Job("j", {}, "run", Policy(), 0.0, status="COMPLETED", output=[{"choices": [{"message": {"content": "Rome."}}]}]),
    Job("j", {}, "run", Policy(), 0.0, status="FAILED", error="no"),
    Job("j", {}, "run", Policy(), 0.0, status="IN_PROGRESS")])
def test_a_job_that_is_not_right(job):
    assert wrong(job, "chat", "Paris.")


def test_a_job_that_is_right():
    job = Job("j", {}, "run", Policy(), 0.0, status="COMPLETED",
              output=[{"choices": [{"message": {"content": "Paris."}}]}])
    assert wrong(job, "chat", "Paris.") is None


@pytest.mark.parametrize(("text", "streamed", "bytes_each"), [
    ("x", False, 1), ('"', False, 2), ('"', True, 4), ("é", True, 2), ("\x01", False, 6), ("\x01", True, 7)])
def test_a_result_is_filled_by_its_size_in_json(text, streamed, bytes_each):
    script = _filling(text, 17.0, streamed)
    assert len(script["text"]) * script["repeat"] * bytes_each == pytest.approx(17e6, rel=0.01)
