"""What is told of a job to whoever measures it."""

import math

import pytest

from answer.request import Request
from job import measured
from job.route_table import MAX_ROUTE, OTHER, ROUTES, label
from meter.record import Record


@pytest.mark.parametrize("path", sorted(ROUTES))
def test_an_open_route_is_called_by_its_path(path):
    assert label(path) == label(f"{path}?a=b") == label(f"{path}/") == path


@pytest.mark.parametrize(("route", "name"), [
    ("/v1/models/org/my-model", "/v1/models/{name}"), ("/v1/models/a%2Fb", "/v1/models/{name}"),
    ("/v1/responses/resp_abc123", "/v1/responses/{name}"),
    ("/v1/responses/resp_abc/cancel", "/v1/responses/{name}/cancel"), ("/mine/x", "/mine/x"),
    ("/v1/realtime?model=x", "/v1/realtime"),
    ("/flush_cache", OTHER), ("/secret/of/a/caller", OTHER), ("", OTHER), (None, OTHER), (5, OTHER),
    (["/generate"], OTHER),
    ("/" + "x" * MAX_ROUTE, OTHER)])
def test_what_a_caller_may_choose_is_not_in_a_name(route, name):
    assert label(route, ("/mine/x",)) == name


@pytest.mark.parametrize(("job_input", "name"), [
    ({"openai_route": "/v1/chat/completions", "openai_input": {}}, "/v1/chat/completions"),
    ({"route": "/v1/embeddings"}, "/v1/embeddings"), ({"messages": []}, "/v1/chat/completions"),
    ({"prompt": "x"}, "/v1/completions"), ({"text": "x"}, "/generate"), ({}, "/generate"), (None, OTHER), ("x", OTHER),
    ({"route": {"a": 1}}, OTHER)])
def test_the_route_of_a_job_however_wrong_it_is(job_input, name):
    assert measured.route(job_input) == name


@pytest.mark.parametrize(("told", "seconds"), [
    (1500, 1.5), (0, 0.0), (2.5, 0.0025), (-1, None), (None, None), ("1500", None), (True, None), (math.inf, None),
    (math.nan, None)])
def test_a_delay_is_a_number_of_milliseconds_or_unknown(told, seconds):
    assert measured.delay({"delayTime": told}) == seconds
    assert measured.delay({}) is None


@pytest.mark.parametrize(("body", "rids", "prompt"), [
    ({"sampling_params": {"n": 2}}, ("a",), 5), ({"sampling_params": {"n": "2"}}, ("a",), None),
    ({"sampling_params": [{}, {}]}, ("a", "b"), None), ({"text": ["a", "b"]}, ("a_0", "a_1"), 10)])
def test_how_many_answers_a_native_request_gets(body, rids, prompt):
    record = Record("http", "/generate")
    measured.planned(record, Request("POST", "/generate", body, rids))
    answer = {"meta_info": {"prompt_tokens": 5, "completion_tokens": 1, "finish_reason": {"type": "stop"}}}
    record.whole([answer, answer], 2)
    record.end(200)
    assert record.usage.prompt == prompt and record.usage.completion == 2


def test_the_caller_of_a_job_is_told_by_its_headers():
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    headers = {"x-request-id": "mine", "traceparent": trace, "tracestate": "a=b"}
    record = Record("queue", "/generate")
    measured.planned(record, Request("POST", "/generate", {}, headers=headers))
    assert (record.request_id, record.trace_id) == ("mine", trace[3:35])
    assert record.carrier == {"traceparent": trace, "tracestate": "a=b"}
