"""What front/queue relies on inside the runpod SDK. A change there is to be read before the pin moves."""

import hashlib
import inspect

import pytest
import runpod
from runpod import http_client, serverless
from runpod.serverless import worker
from runpod.serverless.modules import rp_fastapi, rp_handler, rp_http, rp_job, rp_logger, rp_ping, worker_state

RELIED_ON = {
    "start": (serverless.start, "aa3f846dcfc5da4f"),
    "run_worker": (worker.run_worker, "ce0b9b3f79f9f9d3"),
    "get_job": (rp_job.get_job, "8ce238208ca5261a"),
    "_job_get_url": (rp_job._job_get_url, "08b9c30905c64480"),
    "get_stop_signals": (rp_job.get_stop_signals, "031a55cb85064132"),
    "_job_stop_url": (rp_job._job_stop_url, "8f3407fceaf421fe"),
    "handle_job": (rp_job.handle_job, "849f93639768bc87"),
    "run_job": (rp_job.run_job, "3d5c3ab8a46d71fd"),
    "run_job_generator": (rp_job.run_job_generator, "a6742b7e5a56f3f8"),
    "_handle_result": (rp_http._handle_result, "ce88ccb812bcc41f"),
    "is_generator": (rp_handler.is_generator, "c9ff901decbea7f9"),
    "AsyncClientSession": (http_client.AsyncClientSession, "1c7910233ce3d6d4"),
    "_set_batch_id": (rp_logger._set_batch_id, "1643f09b04932617"),
    "Heartbeat": (rp_ping.Heartbeat, "aa0c15420df377b2"),
    "JobsProgress": (worker_state.JobsProgress, "36fc501c771d8f2f"),
    "PingJobMirror": (worker_state.PingJobMirror, "6826956beb7a61f3"),
    "WorkerAPI": (rp_fastapi.WorkerAPI, "83b0c989bb700f92"),
}


def digest(thing) -> str:
    return hashlib.sha256(inspect.getsource(thing).encode()).hexdigest()[:16]


def test_the_version_is_the_one_that_was_read():
    assert runpod.__version__ == "1.12.0"


@pytest.mark.parametrize("name", RELIED_ON)
def test_the_source_is_the_one_that_was_read(name):
    thing, expected = RELIED_ON[name]
    assert digest(thing) == expected, (
        f"{name} of the runpod SDK changed: read it again, check front/queue against it, and note {digest(thing)}")


def test_the_names_that_are_replaced_are_looked_up_when_they_are_used():
    source = inspect.getsource(worker.run_worker)
    assert "job_scaler = rp_scale.JobScaler(config)" in source and "job_scaler.start()" in source
    assert "heartbeat.start_ping(mirror)" in source and worker.heartbeat.__class__ is rp_ping.Heartbeat
    source = inspect.getsource(rp_job.handle_job)
    assert "await stream_result(session, stream_output, job)" in source
    assert "await send_result(session, job_result, job, is_stream=is_stream)" in source
    assert rp_job.stream_result is rp_http.stream_result and rp_job.send_result is rp_http.send_result
    assert "self._send_ping()" in inspect.getsource(rp_ping.Heartbeat.ping_loop)
    # The two ways in which front/queue/connections.py lets itself be used.
    assert "async with session.get(" in inspect.getsource(rp_job.get_job)
    assert "async with session.get(" in inspect.getsource(rp_job.get_stop_signals)
    assert "rp_fastapi.WorkerAPI(config)" in inspect.getsource(serverless.start)
    for name in ("_sim_stream", "_sim_runsync", "_sim_status", "_realtime"):
        assert f"self.{name}" in inspect.getsource(rp_fastapi.WorkerAPI.__init__)


def test_results_are_posted_where_the_sdk_posts_them():
    source = inspect.getsource(rp_http._handle_result)
    assert "url_template.replace(\"$ID\", job[\"id\"]) + f\"&isStream={is_stream}\"" in source
    assert "JOB_DONE_URL" in inspect.getsource(rp_http.send_result)
    assert "JOB_STREAM_URL" in inspect.getsource(rp_http.stream_result)
