"""What is chosen, and refused, for the server's processes on the host."""

import json
from pathlib import Path

import pytest

from meter import setup
from settings import config, flags
from settings.config import ConfigError
from settings.flags import host

SNAPSHOT = json.loads((Path(__file__).parents[3] / "builder" / "flags.json").read_text(encoding="utf-8"))


def settings(**environ):
    return config.load({"MODEL_NAME": "org/tiny", "DEVICE": "cpu", **environ}, SNAPSHOT, 8, "python3")


def given(arguments: str) -> flags.Given:
    return flags.Given(arguments.split(), SNAPSHOT)


def chosen(made) -> str | None:
    return flags.Given(list(made.server_args), SNAPSHOT).value("--stream-interval")


def test_replicas_have_fewer_and_larger_events_and_one_line_says_so():
    made = settings(DATA_PARALLEL_SIZE="2", TOOL_CALL_PARSER="none")
    assert chosen(made) == str(host.OF_REPLICAS)
    assert [text for level, text in made.notices if "STREAM_INTERVAL" in text and level == "info"] == [
        f"STREAM_INTERVAL={host.OF_REPLICAS}: one process writes the streams of 2 replicas"]


@pytest.mark.parametrize("environ", [
    {}, {"TOOL_CALL_PARSER": "llama3"}, {"SGLANG_EXTRA_ARGS": "--tool-call-parser llama3"}])
def test_streamed_tool_calls_stay_whole(environ):
    made = settings(DATA_PARALLEL_SIZE="2", **environ)
    assert chosen(made) is None
    (line,) = [text for level, text in made.notices if "STREAM_INTERVAL" in text and level == "info"]
    assert "lose parts of streamed tool calls" in line and f"STREAM_INTERVAL={host.OF_REPLICAS}" in line


@pytest.mark.parametrize("environ, interval", [
    ({}, None), ({"DATA_PARALLEL_SIZE": "2", "IS_EMBEDDING": "true"}, None),
    ({"TENSOR_PARALLEL_SIZE": "2"}, None), ({"DATA_PARALLEL_SIZE": "2", "STREAM_INTERVAL": "1"}, "1"),
    ({"DATA_PARALLEL_SIZE": "2", "SGLANG_EXTRA_ARGS": "--stream-interval 2"}, "2"),
    ({"DATA_PARALLEL_SIZE": "2", "TENSOR_PARALLEL_SIZE": "2", "ENABLE_DP_ATTENTION": "true"}, None),
    ({"ATTN_DP_SIZE": "2", "TENSOR_PARALLEL_SIZE": "2"}, None)])
def test_nothing_is_chosen_for_one_replica_nor_where_the_user_did(environ, interval):
    made = settings(**environ)
    assert chosen(made) == interval and not any("STREAM_INTERVAL" in text for _, text in made.notices)


@pytest.mark.parametrize("environ, interval", [
    ({}, 1), ({"STREAM_INTERVAL": "8"}, 8), ({"SGLANG_EXTRA_ARGS": "--stream-interval 2"}, 2),
    ({"DATA_PARALLEL_SIZE": "2", "TOOL_CALL_PARSER": "none"}, host.OF_REPLICAS)])
def test_the_meter_knows_how_many_tokens_an_event_has(environ, interval):
    telemetry = settings(**environ).telemetry
    assert telemetry.interval == interval
    assert setup.made(telemetry, bool, int, dict).tokens_an_event == interval


def test_a_configuration_file_may_have_decided():
    assert host.stream_interval(given("--dp-size 2"), config_file=True, parsed=False) == ([], [])


@pytest.mark.parametrize("more, words", [
    ({"API_KEY": "sesame"}, "API_KEY"), ({"ADMIN_API_KEY": "sesame"}, "ADMIN_API_KEY"),
    ({"ENABLE_RESPONSE_STORE": "true"}, "ENABLE_RESPONSE_STORE")])
def test_what_several_tokenizers_do_not_go_with(more, words):
    with pytest.raises(ConfigError) as raised:
        settings(TOKENIZER_WORKER_NUM="2", **more)
    assert "TOKENIZER_WORKER_NUM" in str(raised.value) and f"does not go with {words}:" in str(raised.value)
    assert "sesame" not in str(raised.value)
    settings(TOKENIZER_WORKER_NUM="1", **more)
    settings(TOKENIZER_WORKER_NUM="2")
