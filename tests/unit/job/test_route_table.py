"""How a job may name a route: by its path alone, decoded once, and then as strictly as ever."""

import pytest

from job import routes
from job.route_table import ROUTES, match
from job.routes import Context
from utils import JobError

PLAIN = Context(served_model_name="tiny", model="org/tiny-model")


@pytest.mark.parametrize("route, path", [
    ("/v1/messages?beta=true", "/v1/messages"), ("/v1/messages/?beta=true", "/v1/messages"),
    ("/v1/models?limit=20&after=x", "/v1/models"), ("/v1/chat/completions?", "/v1/chat/completions"),
    ("/v1/chat/completions?api-version=2024-10-21", "/v1/chat/completions"),
    ("/v1/messages/count_tokens?beta=true&x=%2F..%2F..", "/v1/messages/count_tokens"),
    ("/v1/models/org%2Fname", "/v1/models/org/name"), ("/v1/models/org%2fname?x=1", "/v1/models/org/name"),
    ("/v1/models/tiny%3Aadapter", "/v1/models/tiny:adapter"), ("/v1/models/a%2Db", "/v1/models/a-b"),
    ("/v1/models/%E6%A8%A1", "/v1/models/%E6%A8%A1"), ("/v1/models/模", "/v1/models/%E6%A8%A1"),
    ("/v1/responses/resp_1?include=x", "/v1/responses/resp_1"), ("/v1/models/a?b", "/v1/models/a"),
])
def test_the_path_alone_counts_and_a_name_is_decoded_once(route, path):
    assert match(route)[0] == path


@pytest.mark.parametrize("route", [
    # decoded twice they would be dangerous, once they are no names
    "/v1/models/org%252Fname", "/v1/models/%252e%252e%252fflush_cache", "/v1/models/%25",
    # dot segments, however they are spelt
    "/v1/models/..%2Fflush_cache", "/v1/models/%2e%2e%2fflush_cache", "/v1/models/a/%2e%2e/flush_cache",
    "/v1/models/.", "/v1/models/%2e", "/v1/models/a%2F.%2Fb", "/v1/models/./b", "/v1/models/..",
    # what would be a query, a fragment, another host or a control character in the decoded path
    "/v1/models/a%3Fb", "/v1/models/a%23b", "/v1/models/a%5Cb", "/v1/models/%2F%2Fevil.com", "/v1/models/a%2F%2Fb",
    "/v1/models/a%00", "/v1/models/a%0d%0aHost:x", "/v1/models/a%20b", "/v1/models/a%7f", "/v1/models/%",
    "/v1/models/%zz", "/v1/models/%ff", "/v1/models/%c3%28", "/v1/models/%ed%a0%80", "/v1/models/",
    # a query that is no text, and paths whose fixed part is encoded
    "/v1/messages?a=\r\nHost: x", "/v1/messages?\x00", "/v1/messages?\ud800", "/v1%2Fmessages", "/v1/message%73",
    "/v1/messages%3Fbeta=true", "/v1/messages#?beta=true", "?/v1/messages", "//v1/messages?x",
    # words that are no ids of responses, and ids that are not plain
    "/v1/responses/compact", "/v1/responses/input_tokens", "/v1/responses/abc", "/v1/responses/abc/cancel",
    "/v1/responses/resp_1/input_items", "/v1/responses/resp_", "/v1/responses/resp_%2e%2e", "/v1/responses/resp_é",
])
def test_anything_else_is_no_route(route):
    if route == "/v1/models/":
        assert match(route)[0] == "/v1/models"  # as it always was
        return
    with pytest.raises(JobError) as caught:
        match(route)
    assert (caught.value.code, caught.value.type) == (404, "not_found_error")
    assert caught.value.message.isprintable()


def test_a_word_that_is_no_response_is_no_route_whatever_is_sent():
    for body in (None, {}, {"model": "tiny", "input": "Hi"}):
        with pytest.raises(JobError) as caught:
            routes.plan({"openai_route": "/v1/responses/compact", "openai_input": body}, PLAIN, "job-1")
        assert caught.value.code == 404 and "is not a route" in caught.value.message


@pytest.mark.parametrize("job_input, param", [
    ({"openai_route": "/v1/responses/resp_1", "openai_input": {"a": 1}}, "openai_input"),
    ({"openai_route": "/v1/models/org%2Fname?x=1", "openai_input": {"a": 1}}, "openai_input"),
    ({"route": "/v1/responses/resp_1", "method": "DELETE"}, "method"),
    ({"route": "/v1/responses/resp_1/cancel", "method": "GET"}, "method"),
    ({"route": "/v1/chat/completions?x=1", "method": "GET"}, "method"),
    ({"route": "/v1/rerank", "method": "PUT", "body": {"query": "a"}}, "method"),
])
def test_the_wrong_method_of_a_route_is_405(job_input, param):
    with pytest.raises(JobError) as caught:
        routes.plan(job_input, PLAIN, "job-1")
    assert (caught.value.code, caught.value.type, caught.value.param) == (405, "method_not_allowed", param)


def test_a_query_does_not_open_what_the_operator_opened_for_its_path():
    assert match("/flush_cache", ("/flush_cache",))[0] == "/flush_cache"
    with pytest.raises(JobError):
        match("/flush_cache?timeout=1", ("/flush_cache",))


@pytest.mark.parametrize("route, path", [
    ("/invocations", "/v1/chat/completions"), ("/rerank", "/v1/rerank"), ("/v2/rerank", "/v1/rerank"),
    ("/vertex_generate", "/generate"),
])
def test_a_route_of_another_shape_goes_to_the_engines_own(route, path):
    bodies = {"/invocations": {"messages": [{"role": "user", "content": "Hi"}]},
              "/vertex_generate": {"instances": [{"text": "Hi"}]}}
    body = bodies.get(route, {"query": "a", "documents": ["b"]})
    request = routes.plan({"route": route, "body": body}, PLAIN, "job-1")
    assert (request.method, request.path) == ("POST", path)


def test_every_engine_path_in_the_table_is_a_route_itself():
    assert all(entry.engine in ROUTES for entry in ROUTES.values() if entry.engine)


def test_a_refusal_quotes_no_query_for_that_may_hold_a_key():
    with pytest.raises(JobError) as caught:
        match("/v1/nothing?api_key=sk-of-the-caller")
    assert "sk-of" not in caught.value.message and "'/v1/nothing?…'" in caught.value.message
