"""How jobs come in, and who has to show a key."""

import pytest

from tests.unit.settings.test_config import lines, load, problems

POD = {"RUNPOD_POD_ID": "p", "WORKER_API_KEY": "sesame-open-now"}
ENDPOINT = {"RUNPOD_POD_ID": "p", "RUNPOD_ENDPOINT_ID": "e"}
QUEUE = {**ENDPOINT, "RUNPOD_WEBHOOK_GET_JOB": "https://x/job-take"}


@pytest.mark.parametrize(("environ", "mode", "because"), [
    ({}, "queue", "nothing asks"), (QUEUE, "queue", "RUNPOD_WEBHOOK_GET_JOB"),
    ({**QUEUE, "PORT": "80"}, "queue", "RUNPOD_WEBHOOK_GET_JOB"), ({**ENDPOINT, "PORT": "80"}, "http", "PORT"),
    ({**ENDPOINT, "PORT_HEALTH": "81"}, "http", "PORT_HEALTH"), (ENDPOINT, "queue", "nothing asks"),
    (POD, "http", "Pod"), ({**QUEUE, "WORKER_MODE": "http"}, "http", "WORKER_MODE=http"),
    ({**POD, "WORKER_MODE": "queue"}, "queue", "WORKER_MODE=queue"),
    ({"PORT": "8080"}, "queue", "nothing asks"),
    ({"PORT": "8080", "WORKER_MODE": "http", "HOST": "::1"}, "http", "MODE")])
def test_the_way_in(environ, mode, because):
    http = load(environ).http
    assert http.mode == mode and because in http.reason


@pytest.mark.parametrize(("environ", "ports"), [
    ({**ENDPOINT, "WORKER_MODE": "http"}, (80, 80)), ({**ENDPOINT, "PORT": "5000"}, (5000, 5000)),
    ({**ENDPOINT, "PORT": "5000", "PORT_HEALTH": "5001"}, (5000, 5001)), (POD, (80, 80)),
    ({"WORKER_MODE": "http", "HOST": "127.0.0.1"}, (8000, 8000))])
def test_where_it_listens(environ, ports):
    http = load(environ).http
    assert (http.port, http.health_port) == ports


@pytest.mark.parametrize("environ", [
    {"RUNPOD_POD_ID": "p"}, {"WORKER_MODE": "http"}, {"WORKER_MODE": "http", "HOST": "0.0.0.0"},
    {"WORKER_MODE": "http", "HOST": "my-laptop"}, {"WORKER_MODE": "http", "WORKER_API_KEY": " , "}])
def test_an_open_port_needs_a_key(environ):
    assert [line for line in problems(environ) if line.startswith("WORKER_API_KEY")]


@pytest.mark.parametrize("environ", [
    POD, ENDPOINT, {"WORKER_MODE": "http", "HOST": "127.0.0.1"}, {"WORKER_MODE": "http", "HOST": "localhost"},
    {"WORKER_MODE": "http", "HOST": "::1"}, {"WORKER_MODE": "http", "WORKER_API_KEY": "none"},
    {**ENDPOINT, "WORKER_MODE": "http"}, {}])
def test_or_an_endpoint_or_a_wish_or_loopback(environ):
    load(environ)


def test_several_keys_all_of_them_secret():
    settings = load(POD, WORKER_API_KEY="first-key-1, second-key-2")
    assert settings.http.keys == ("first-key-1", "second-key-2")
    assert {"first-key-1", "second-key-2"} <= set(settings.secrets)
    assert "first-key" not in repr(settings.http)
    assert load({"WORKER_MODE": "http"}, WORKER_API_KEY="none").http.keys == ()


def test_none_is_no_key_beside_others():
    assert any("WORKER_API_KEY" in line and "beside" in line for line in problems(POD, WORKER_API_KEY="none,abc-key-1"))


def test_a_machine_s_name_in_host_is_said_not_to_count():
    settings = load(POD, HOST="my-laptop")
    assert settings.http.host == "0.0.0.0" and any("my-laptop" in line for line in lines(settings, "info"))


def test_none_of_it_reaches_the_server():
    from settings.environment import engine_environ
    environ = {**POD, "PORT": "80", "PORT_HEALTH": "81", "CORS_ORIGINS": "*"}
    assert not {"PORT", "PORT_HEALTH", "WORKER_API_KEY", "CORS_ORIGINS"} & set(engine_environ(load(environ), environ))


def test_processes_are_for_http_alone():
    assert load(POD).http.processes == 1 and load(POD, HTTP_PROCESSES="3").http.processes == 3
    settings = load(QUEUE, HTTP_PROCESSES="3")
    assert settings.http.processes == 1
    assert any("HTTP_PROCESSES=3 has no effect" in line for line in lines(settings, "info"))


@pytest.mark.parametrize(("name", "value"), [
    ("HTTP_PROCESSES", "0"), ("HTTP_PROCESSES", "65"), ("HTTP_PROCESSES", "two"),
    ("PORT", "0"), ("PORT", "65536"), ("PORT_HEALTH", "x"), ("HEALTH_CHECK_PATH", "ping"),
    ("HEALTH_CHECK_PATH", "/ping?x"), ("WORKER_MODE", "lb"), ("HTTP_QUEUE_SECONDS", "-1")])
def test_a_wrong_value_is_named(name, value):
    assert any(line.startswith(name) for line in problems({name: value}))


@pytest.mark.parametrize(("environ", "input_mb", "result_mb"), [
    (QUEUE, 20, 19), (POD, 30, 30), ({**QUEUE, "MAX_INPUT_MB": "5", "MAX_RESULT_MB": "6"}, 5, 6),
    ({**POD, "MAX_INPUT_MB": "5", "MAX_RESULT_MB": "6"}, 5, 6)])
def test_the_queue_carries_less_than_http(environ, input_mb, result_mb):
    limits = load(environ).limits
    assert (limits.input_bytes, limits.result_bytes) == (input_mb * 10**6, result_mb * 10**6)


@pytest.mark.parametrize(("environ", "warned"), [
    ({**QUEUE, "MAX_RESULT_MB": "20"}, False), ({**QUEUE, "MAX_RESULT_MB": "20.5"}, True), (QUEUE, False),
    ({**POD, "MAX_RESULT_MB": "40"}, False)])
def test_a_result_that_runpod_would_refuse_is_told_at_the_start(environ, warned):
    lines = [text for level, text in load(environ).notices if "MAX_RESULT_MB" in text and level == "warn"]
    assert [line.split(":")[0] for line in lines] == ["MAX_RESULT_MB=20.5"] * warned


@pytest.mark.parametrize(("environ", "kib", "a_second"), [
    (QUEUE, 512, 150), (POD, 64, 900), ({**POD, "STREAM_CHUNK_KIB": "512", "STREAM_POSTS_PER_SECOND": "0"}, 512, 0),
    ({**POD, "HTTP_PROCESSES": "3"}, 64, 2700), ({**QUEUE, "HTTP_PROCESSES": "3"}, 512, 150),
    ({**POD, "HTTP_PROCESSES": "3", "STREAM_POSTS_PER_SECOND": "600"}, 64, 600),
    ({**QUEUE, "STREAM_CHUNK_KIB": "9", "STREAM_POSTS_PER_SECOND": "7.5"}, 9, 7.5)])
def test_pieces_of_streams_cost_less_over_http_and_are_smaller(environ, kib, a_second):
    settings = load(environ)
    assert (settings.chunk_bytes, settings.stream_posts) == (kib * 1024, a_second)


@pytest.mark.parametrize(("environ", "seconds"), [
    ({**ENDPOINT, "WORKER_MODE": "http"}, 325), (POD, 0), ({**POD, "HTTP_REQUEST_SECONDS": "90"}, 90),
    ({**ENDPOINT, "WORKER_MODE": "http", "HTTP_REQUEST_SECONDS": "0"}, 0)])
def test_a_request_ends_before_runpods_load_balancer_ends_it(environ, seconds):
    assert load(environ).http.request_seconds == seconds


@pytest.mark.parametrize(("environ", "body", "held"), [
    (POD, 30, 1024), ({**POD, "MAX_INPUT_MB": "5"}, 30, 1024),
    ({**POD, "MAX_INPUT_MB": "90", "HTTP_BODY_MEMORY_MB": "200"}, 90, 200)])
def test_what_bodies_may_take(environ, body, held):
    http = load(environ).http
    assert (http.body_bytes, http.held_bytes) == (body * 10**6, held * 10**6)
