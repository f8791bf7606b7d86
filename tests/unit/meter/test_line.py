"""The line of a request in the log."""

import json

import pytest

import utils
from meter.line import Lines, fields
from meter.record import Record
from meter.requests import Meter
from utils import JobError

CHAT = "/v1/chat/completions"


def ended(mode="http", error=None, gone=False, **known) -> Record:
    record = Meter().begin(mode, CHAT, "id-1")
    for name, value in known.items():
        setattr(record, name, value)
    if error:
        record.failed(error)
    if gone:
        record.left()
    record.end(known.get("status"))
    return record


@pytest.mark.parametrize(("record", "status", "outcome", "reason"), [
    (ended(status=200), 200, "completed", None), (ended(gone=True), None, "cancelled", None),
    (ended(status=404, error=JobError("x", code=404)), 404, "refused", "not_found"),
    (ended("queue"), "completed", "completed", None), (ended("queue", gone=True), "cancelled", "cancelled", None),
    (ended("queue", JobError("x", code=500)), "failed", "failed", None),
    (ended("queue", JobError("x", code=429)), "failed", "refused", "busy"),
    (ended("queue", JobError("x", code=507)), "failed", "failed", None)])
def test_what_became_of_it(record, status, outcome, reason):
    told = fields(record)
    assert (told["status"], told["outcome"], told["reason"]) == (status, outcome, reason)


def test_nothing_of_an_error_but_its_type_and_code():
    told = fields(ended(error=JobError("what the caller wrote", type="invalid_request_error", param="mine", code=400)))
    assert (told["error"], told["code"]) == ("invalid_request_error", 400)
    assert "caller" not in json.dumps(told) and "mine" not in json.dumps(told)


def test_a_long_name_of_a_model_is_cut():
    assert fields(ended(model="m" * 500))["model"] == "m" * 80 + "…"
    assert fields(ended(model="org/tiny"))["model"] == "org/tiny"


@pytest.mark.parametrize("platform", [True, False])
def test_it_is_one_line_of_json(capsys, monkeypatch, platform):
    monkeypatch.delenv("RUNPOD_ENDPOINT_ID", raising=False)
    if platform:
        monkeypatch.setenv("RUNPOD_ENDPOINT_ID", "ep-1")
    record = ended(status=200, request_id="mine", queued=0.123456, ttft=0.5)
    Lines().ended(record)
    [line] = capsys.readouterr().out.splitlines()
    told = json.loads(line)
    assert (told.pop("message"), told.pop("level")) == ("request", "INFO")
    assert told.pop("requestId", None) == ("id-1" if platform else None)
    assert told == fields(record) and (told["queue_s"], told["ttft_s"]) == (0.1235, 0.5)


def test_a_secret_that_a_caller_puts_into_its_id_is_masked(capsys, monkeypatch):
    monkeypatch.setitem(utils._state, "secrets", ())
    utils.hide(["sesame-4711"])
    Lines().ended(ended(status=200, request_id="sesame-4711", model="sesame-4711"))
    out = capsys.readouterr().out
    assert "sesame-4711" not in out and json.loads(out)["request_id"] == "***"
