"""Failures as events of their route, as the routes' own clients read them."""

import json

import anthropic
import httpx
import httpx2
import openai
import pytest

import utils
from answer.relay import chunks
from answer.streaming import EventBuffer, event_data, event_failure, split
from answer.told import Told, error_event
from utils import JobError

NASTY = 'Two\nlines, "quotes", é模🙂'
BODY = {"model": "tiny", "request_id": "resp_job-1"}


def events(text):
    buffer = EventBuffer()
    buffer.feed(text.encode())
    found = split(buffer.take())
    assert buffer.pending == 0
    return [json.loads(event_data(event)) for event in found]


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/completions", "/generate", "", "/nowhere"])
def test_an_error_object(path):
    error = JobError(NASTY, type="overloaded_error", param="model", code=503)
    [event] = events(error_event(error, path))
    assert event == {"error": {"message": NASTY, "type": "overloaded_error", "param": "model", "code": 503}}


@pytest.mark.parametrize("code, kind", [
    (400, "invalid_request_error"), (401, "authentication_error"), (403, "permission_error"),
    (404, "not_found_error"), (405, "invalid_request_error"), (413, "request_too_large"),
    (422, "invalid_request_error"),
    (429, "rate_limit_error"), (500, "api_error"), (502, "api_error"), (503, "overloaded_error"),
    (504, "timeout_error")])
@pytest.mark.parametrize("path", ["/v1/messages", "/v1/messages?beta=true"])
def test_anthropic_has_types_of_its_own(path, code, kind):
    text = error_event(JobError(NASTY, type="server_error", code=code), path)
    assert text.startswith("event: error\n")
    assert events(text) == [{"type": "error", "error": {"type": kind, "message": NASTY}}]


def test_a_response_that_fails_before_it_began_is_created_first():
    created, failed = events(error_event(JobError("No.", code=400), "/v1/responses", BODY))
    assert [(e["type"], e["sequence_number"]) for e in (created, failed)] == [
        ("response.created", 0), ("response.failed", 1)]
    assert created["response"]["status"] == "in_progress" and created["response"]["error"] is None
    assert failed["response"]["id"] == "resp_job-1" and failed["response"]["status"] == "failed"
    assert failed["response"]["error"] == {"code": "invalid_prompt", "message": "No."}


def test_a_response_that_fails_later_goes_on_counting():
    last = 'data: {"sequence_number":6}\n\ndata: {"sequence_number": 7, "delta": "\\"sequence_number\\": 99"}\n\n'
    [failed] = events(error_event(JobError("No.", code=502), "/v1/responses", BODY, last))
    assert (failed["type"], failed["sequence_number"]) == ("response.failed", 8)


@pytest.mark.parametrize("code, message, told", [
    (400, "x", "invalid_prompt"), (404, "x", "invalid_prompt"), (422, "x", "invalid_prompt"),
    (400, "The input is longer than the model's context length.", "context_length_exceeded"),
    (429, "x", "rate_limit_exceeded"), (503, "x", "server_is_overloaded"), (500, "x", "server_error"),
    (502, "x", "server_error"), (504, "x", "server_error")])
def test_codes_of_a_failed_response(code, message, told):
    failed = events(error_event(JobError(message, code=code), "/v1/responses", {}))[-1]
    assert failed["response"]["error"]["code"] == told


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/messages", "/v1/responses"])
def test_no_secret_is_told(monkeypatch, path):
    monkeypatch.setitem(utils._state, "secrets", ("hf_secret",))
    assert "hf_secret" not in error_event(JobError("Wrong token hf_secret."), path)


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/messages", "/v1/responses"])
def test_our_own_events_are_failures(path):
    buffer = EventBuffer()
    buffer.feed(error_event(JobError("No."), path).encode())
    assert event_failure(split(buffer.take())[-1])


# --- the engine's own ---------------------------------------------------------------------------------------------

def engine(name, value):
    return f"event: {name}\ndata: {json.dumps(value)}\n\n"


FAILED = engine("response.failed", {"type": "response.failed", "sequence_number": 4, "response": {
    "id": "resp_1", "status": "failed", "error": {"code": "server_error", "message": "It broke."}, "usage": None}})
ANTHROPIC = engine("error", {"type": "error", "error": {"type": "overloaded_error", "message": "Full."}})


def failed_by(text, path):
    *before, failed = chunks(text.encode(), None, False, 10**6, path, 200)
    assert before == [] and isinstance(failed, Told)
    return failed


@pytest.mark.parametrize("text, path, code", [(FAILED, "/v1/responses", 500), (ANTHROPIC, "/v1/messages", 503)])
def test_an_event_that_has_the_shape_of_its_route_passes_as_it_is(text, path, code):
    failed = failed_by(text, path)
    assert failed.code == code
    assert error_event(failed, path, BODY, "data: {}\n\n") == text


@pytest.mark.parametrize("text, path", [
    ('data: {"error": {"message": "No.", "code": 400}}\n\n', "/v1/responses"),
    ('data: {"error": {"message": "No.", "code": 400}}\n\n', "/v1/messages"),
    ('data: {"error": "No."}\n\n', "/v1/chat/completions"),
    (FAILED.replace("It broke.", "Add `--is-embedding`."), "/v1/responses")])
def test_any_other_is_given_the_shape_of_its_route(text, path):
    failed = failed_by(text, path)
    assert failed.event is None
    assert event_failure(error_event(failed, path, BODY, "").encode().split(b"\n\n")[-2] + b"\n\n")


# --- the clients --------------------------------------------------------------------------------------------------

def answering(text, http=httpx):
    """A client of `http`, the HTTP library of the SDK, whose every request is answered by this stream."""
    return http.Client(transport=http.MockTransport(lambda request: http.Response(
        200, headers={"Content-Type": "text/event-stream"}, content=text.encode())))


def openai_client(text):
    return openai.OpenAI(api_key="k", base_url="http://engine/v1", max_retries=0,
                         http_client=answering(text))


def test_openais_client_raises_on_chat():
    client = openai_client(error_event(JobError("Too long.", code=400), "/v1/chat/completions"))
    with pytest.raises(openai.APIError, match=r"Too long\."):
        list(client.chat.completions.create(model="m", messages=[], stream=True))


def test_openais_client_reads_a_failed_response():
    client = openai_client(error_event(JobError("Too long.", code=400), "/v1/responses", BODY))
    with client.responses.stream(model="m", input="x") as stream:
        last = list(stream)[-1]
    assert last.type == "response.failed" and last.response.error.message == "Too long."
    assert last.response.id == "resp_job-1"


@pytest.mark.parametrize("code", [400, 404, 503])
def test_anthropics_client_raises_on_messages(code):
    text = error_event(JobError("Too long.", code=code), "/v1/messages")
    client = anthropic.Anthropic(api_key="k", base_url="http://engine", max_retries=0,
                                 http_client=answering(text, httpx2))
    with pytest.raises(anthropic.APIStatusError, match=r"Too long\."):
        list(client.messages.create(model="m", max_tokens=1, messages=[], stream=True))
