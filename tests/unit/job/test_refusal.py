"""Which jobs are told of their refusal by an event, and in which shape."""

import pytest

from job import refusal
from utils import JobError

NO = JobError("No.", code=404)


@pytest.mark.parametrize("job_input, begins", [
    ({"openai_route": "/v1/chat/completions", "openai_input": {"stream": True}}, 'data: {"error"'),
    ({"openai_route": "/v1/messages", "openai_input": {"stream": True}}, "event: error\n"),
    ({"openai_route": "/v1/messages?beta=true", "openai_input": {"stream": True}}, "event: error\n"),
    ({"openai_route": "/v1/responses", "openai_input": {"stream": True}}, "event: response.created\n"),
    ({"openai_route": "/nowhere", "openai_input": {"stream": True}}, 'data: {"error"'),
    ({"openai_route": 5, "openai_input": {"stream": True}}, 'data: {"error"'),
    ({"route": "/v1/messages", "body": {"stream": True}}, "event: error\n"),
    ({"messages": 5, "stream": True}, 'data: {"error"'), ({"text": "x", "stream": True}, 'data: {"error"'),
    ({"prompt": [], "stream": True}, 'data: {"error"'),
])
def test_a_stream_is_told_in_the_shape_of_its_route(job_input, begins):
    told = refusal.event(job_input, NO, "job-1")
    assert told.startswith(begins) and told.endswith("\n\n") and "No." in told


@pytest.mark.parametrize(("body", "streams"), [
    ({"extra_body": {"stream": True}}, True), ({"extra_body": {"stream": True}, "stream": False}, False),
    ({"extra_body": {"stream": True}, "stream": None}, True), ({"extra_body": [], "stream": True}, True),
    ({"extra_body": {"stream": "yes"}}, False), ({}, False)])
def test_a_literal_extra_body_may_ask_for_the_stream(body, streams):
    assert refusal.wants_stream(body) is streams


def test_a_response_has_the_id_that_the_job_gives_it():
    told = refusal.event({"openai_route": "/v1/responses", "openai_input": {"stream": True}}, NO, "job-1")
    assert '"id": "resp_job-1"' in told
    own = {"stream": True, "request_id": "resp_own"}
    assert '"id": "resp_own"' in refusal.event({"route": "/v1/responses", "body": own}, NO, "job-1")


@pytest.mark.parametrize("job_input", [
    None, 5, "x", [], {}, {"messages": []}, {"messages": [], "stream": False}, {"messages": [], "stream": "yes"},
    {"openai_route": "/v1/chat/completions"}, {"openai_route": "/v1/chat/completions", "openai_input": {}},
    {"openai_route": "/v1/chat/completions", "openai_input": [True]},
    {"openai_route": "/v1/chat/completions", "openai_input": {"messages": []}, "stream": True},
    {"route": "/v1/models", "stream": True}])
def test_a_job_that_does_not_stream_gets_no_event(job_input):
    assert refusal.event(job_input, NO, "job-1") is None
