"""The worker's log, its masking of secrets, and its one error shape."""

import json
import threading

import pytest

import utils
from utils import JobError


@pytest.fixture(autouse=True)
def fresh(monkeypatch):
    monkeypatch.setattr(utils, "_state", {"level": utils.LEVELS["info"], "secrets": ()})
    monkeypatch.delenv("RUNPOD_ENDPOINT_ID", raising=False)


@pytest.fixture
def platform(monkeypatch):
    monkeypatch.setenv("RUNPOD_ENDPOINT_ID", "endpoint")


# --- log ----------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("level, job_id, line", [
    ("info", None, "INFO  | hello é\n"), ("warn", "job-1", "WARN  | job-1 | hello é\n"),
    ("error", "", "ERROR | hello é\n"),
])
def test_log_in_a_terminal(capsys, level, job_id, line):
    utils.log("hello é", level, job_id)
    assert capsys.readouterr().out == line


@pytest.mark.parametrize("message", ["hello é", "two\nlines", 'a "quote"', "\ud800", ""])
def test_log_on_the_platform(capsys, platform, message):
    utils.log(message, "warn", "job-1")
    utils.log(message)
    first, second = capsys.readouterr().out.splitlines()
    assert json.loads(first) == {"requestId": "job-1", "message": message, "level": "WARN"}
    assert json.loads(second) == {"requestId": None, "message": message, "level": "INFO"}


@pytest.mark.parametrize("threshold, shown", [
    ("debug", ["debug", "info", "warn", "error"]), ("info", ["info", "warn", "error"]), ("warn", ["warn", "error"]),
    ("error", ["error"]),
])
def test_log_level(capsys, platform, threshold, shown):
    utils.set_log_level(threshold)
    for level in utils.LEVELS:
        utils.log("x", level)
    assert [json.loads(line)["level"] for line in capsys.readouterr().out.splitlines()] == [s.upper() for s in shown]


def test_lines_of_several_threads_stay_whole(capsys):
    def write(name):
        for _ in range(50):
            utils.log(name * 200)

    threads = [threading.Thread(target=write, args=(name,)) for name in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    lines = capsys.readouterr().out.splitlines()
    assert sorted(lines) == sorted(f"INFO  | {name * 200}" for name in "abcd" for _ in range(50))


# --- secrets ------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("secrets, text, shown", [
    (["hf_token"], "key hf_token!", "key ***!"),
    (["hf_token"], "hf_token hf_token", "*** ***"),
    (["hf_token", "sk-key"], "hf_token,sk-key", "***,***"),
    # one secret inside another, in whichever order they became known
    (["abcd", "abcdef"], "abcdef abcd", "*** ***"), (["abcdef", "abcd"], "abcdef abcd", "*** ***"),
    (["cdef", "abcdef"], "abcdef", "***"), (["bcde", "abcdef"], "abcdef", "***"),
    (["ключ模🙂"], "a ключ模🙂 b", "a *** b"), (["a.c*"], "abcc a.c*", "abcc ***"),
    # too short to hide anything, or nothing at all
    (["abc", "a", "", None], "abc a", "abc a"), ([], "abc", "abc"), (["hf_token"], "", ""),
])
def test_redact(secrets, text, shown):
    utils.hide(secrets)
    assert utils.redact(text) == shown


def test_secrets_add_up():
    utils.hide(["first"])
    utils.hide(["first-and-more", "other"])
    utils.hide([])
    assert utils.redact("first first-and-more other") == "*** *** ***"


@pytest.mark.parametrize("endpoint", [None, "endpoint"])
def test_log_hides_secrets(capsys, monkeypatch, endpoint):
    if endpoint:
        monkeypatch.setenv("RUNPOD_ENDPOINT_ID", endpoint)
    utils.hide(['se"cr\\et é'])
    utils.log('the key is se"cr\\et é')
    out = capsys.readouterr().out
    assert "the key is ***" in out and "cr" not in out


# --- the one error shape ------------------------------------------------------------------------------------------

@pytest.mark.parametrize("error, expected", [
    (JobError("No."), {"message": "No.", "type": "invalid_request_error", "param": None, "code": 400}),
    (JobError('é "x"\n', type="not_found_error", param="model", code=404),
     {"message": 'é "x"\n', "type": "not_found_error", "param": "model", "code": 404}),
    (JobError("", code=500), {"message": "", "type": "invalid_request_error", "param": None, "code": 500}),
])
@pytest.mark.parametrize("job_id", ["job-1", None])
def test_job_error(error, expected, job_id):
    assert json.loads(error.to_json(job_id)) == {**expected, "job_id": job_id}
    assert str(error) == error.message


def test_job_error_hides_secrets():
    utils.hide(['k"ey\\1'])
    assert json.loads(JobError('wrong k"ey\\1').to_json("j"))["message"] == "wrong ***"
