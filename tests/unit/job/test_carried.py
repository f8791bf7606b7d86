"""Headers that go along to the engine."""

import pytest

from job import routes
from job.carried import headers, trace
from tests.unit.job.test_routes import PLAIN
from utils import JobError

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.mark.parametrize(("given", "carried"), [
    ({}, {}), ({"traceparent": PARENT}, {"traceparent": PARENT}), ({"tracestate": "a=b"}, {}),
    ({"traceparent": PARENT, "tracestate": "a=b", "cookie": "c"}, {"traceparent": PARENT, "tracestate": "a=b"}),
    ({"traceparent": "00-XYZ", "tracestate": "a=b"}, {}),
    ({"traceparent": PARENT, "tracestate": "a" * 513}, {"traceparent": PARENT})])
def test_a_trace_is_taken_from_the_headers_of_a_request(given, carried):
    assert trace(given) == carried


def test_a_job_may_bring_its_own():
    job = {"route": "/v1/chat/completions", "body": {"messages": []}, "headers": {"Traceparent": PARENT}}
    assert routes.plan(job, PLAIN, "j").headers == {"traceparent": PARENT}
    assert headers(None) == {} == routes.plan({"messages": []}, PLAIN, "j").headers


@pytest.mark.parametrize("given", [[], "x", {"cookie": "a"}, {"traceparent": 1}, {"traceparent": "x"},
                                   {"x-request-id": "a b"}, {"x-request-id": "a\r\nb: c"}, {"tracestate": "a\n"}])
def test_what_does_not_go_along_is_named(given):
    with pytest.raises(JobError) as raised:
        headers(given)
    assert raised.value.code == 400 and raised.value.param.startswith("headers")
