"""Who may come in, and what a refusal looks like."""

import json

import pytest

from front.http import shapes
from front.http.keys import Keys
from utils import JobError

KEYS = Keys(["sesame", "ouvre-toi"])


@pytest.mark.parametrize("headers", [
    {"Authorization": "Bearer sesame"}, {"Authorization": "bearer ouvre-toi"}, {"Authorization": "Bearer  sesame "},
    {"x-api-key": "sesame"}, {"x-api-key": "wrong", "Authorization": "Bearer sesame"},
    {"x-api-key": "ouvre-toi", "Authorization": "Bearer wrong"},
    {"Sec-WebSocket-Protocol": "realtime, openai-insecure-api-key.sesame"}])
def test_a_key_opens(headers):
    assert KEYS.admit(headers)


@pytest.mark.parametrize("headers", [
    {}, {"Authorization": ""}, {"Authorization": "sesame"}, {"Authorization": "Basic sesame"},
    {"Authorization": "Bearer"}, {"Authorization": "Bearer "}, {"Authorization": "Bearer sesam"},
    {"Authorization": "Bearer sesamee"}, {"x-api-key": ""}, {"x-api-key": "SESAME"},
    {"x-api-key": "sesame,ouvre-toi"}, {"Sec-WebSocket-Protocol": "sesame"},
    {"Sec-WebSocket-Protocol": "realtime, openai-insecure-api-key."},
    {"Authorization": "Bearer caf\u00e9"}, {"x-api-key": "\udcff"}])
def test_anything_else_does_not(headers):
    assert not KEYS.admit(headers)


def test_whoever_is_not_admitted_is_told_what_to_send():
    KEYS.check({"x-api-key": "sesame"})
    with pytest.raises(JobError, match="WORKER_API_KEY") as refused:
        KEYS.check({"x-api-key": "wrong"})
    assert refused.value.code == 401 and refused.value.type == "authentication_error"


def test_without_keys_everybody_comes_in():
    assert Keys([]).admit({}) and Keys([]).admit({"Authorization": "Bearer x"})


@pytest.mark.parametrize(("path", "shape"), [
    ("/v1/chat/completions", "openai"), ("/generate", "openai"), ("/", "openai"), ("/v1/messages", "anthropic"),
    ("/v1/messages/count_tokens", "anthropic"), ("/v1/messagesX", "openai")])
def test_a_refusal_has_the_shape_of_its_route(path, shape):
    error = JobError("no such thing", type="not_found_error", param="model", code=404)
    body = shapes.body(error, path, "request-1")
    if shape == "openai":
        assert body == {"error": {"message": "no such thing", "type": "not_found_error", "param": "model", "code": 404}}
    else:
        assert body == {"type": "error", "error": {"type": "not_found_error", "message": "no such thing"},
                        "request_id": "request-1"}


@pytest.mark.parametrize(("code", "kind"), [
    (400, "invalid_request_error"), (401, "authentication_error"), (404, "not_found_error"),
    (413, "request_too_large"), (422, "invalid_request_error"), (429, "rate_limit_error"), (500, "api_error"),
    (502, "api_error"), (503, "overloaded_error"), (504, "timeout_error")])
def test_anthropic_s_names_of_failures(code, kind):
    assert shapes.body(JobError("x", code=code), "/v1/messages", "r")["error"]["type"] == kind


def test_half_a_character_is_no_reason_to_fail():
    assert json.loads(shapes.dumps({"a": "x\ud800y"})) == {"a": "x?y"}
