"""Which job is run here, and what becomes of it."""

import contextlib
import json

import pytest

from front import local


@pytest.fixture(autouse=True)
def nowhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("RUNPOD_WEBHOOK_GET_JOB", "RUNPOD_REALTIME_PORT"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def test_a_given_job_is_run_even_on_the_platform(monkeypatch):
    monkeypatch.setenv("RUNPOD_WEBHOOK_GET_JOB", "http://x")
    assert local.job('{"input": {"text": "a"}}', False) == {"input": {"text": "a"}}


@pytest.mark.parametrize("name", ["RUNPOD_WEBHOOK_GET_JOB", "RUNPOD_REALTIME_PORT", None])
def test_jobs_come_from_outside(name, monkeypatch, nowhere):
    (nowhere / "test_input.json").write_text('{"input": {}}')
    if name:
        monkeypatch.setenv(name, "1")
    assert local.job(None, http_server=name is None) is None


def test_a_file_is_read(nowhere):
    (nowhere / "test_input.json").write_text('{"input": {"text": "a"}, "id": "b"}')
    assert local.job(None, False) == {"input": {"text": "a"}, "id": "b"}


@pytest.mark.parametrize("text, said", [("{", "not JSON"), ("[]", "object with `input`"), ('{"text": "a"}', "`input`")])
def test_what_is_no_job_ends_with_a_reason(text, said, nowhere):
    with pytest.raises(SystemExit, match=said):
        local.job(text, False)
    (nowhere / "test_input.json").write_text(text)
    with pytest.raises(SystemExit, match="test_input.json"):
        local.job(None, False)


def test_nothing_to_run_ends_with_a_reason():
    with pytest.raises(SystemExit, match="test_input.json"):
        local.job(None, False)


@pytest.mark.parametrize("outputs, status, out, err", [
    (["data: a\n\n", "data: b\n\n"], 0, "data: a\n\ndata: b\n\n", ""),
    ([{"text": "é"}], 0, json.dumps({"text": "é"}, indent=2, ensure_ascii=False) + "\n", ""),
    (["data: a\n\n", {"error": '{"code": 500}'}], 1, "data: a\n\n", '{"code": 500}\n')])
async def test_a_job_is_printed_as_it_comes(outputs, status, out, err, capsys):
    closed, jobs = [], []

    async def handle(job):
        jobs.append(job)
        for output in outputs:
            yield output

    async def close():
        closed.append(True)

    assert await local.run(handle, {"input": {}}, close) == status
    assert tuple(capsys.readouterr()) == (out, err) and closed and jobs == [{"id": "local", "input": {}}]


async def test_what_was_opened_is_closed_also_when_a_job_breaks_off():
    closed = []

    async def handle(job):
        raise RuntimeError
        yield

    async def close():
        closed.append(True)

    with contextlib.suppress(RuntimeError):
        await local.run(handle, {"input": {}}, close)
    assert closed
