"""The parser of tool calls is detected unless a setting says something else; that of reasoning is off unless set."""

import copy
import json
from pathlib import Path

import pytest

from settings import config, flags
from settings.flags.parsers import REASONING, TOOLS

SNAPSHOT = json.loads((Path(__file__).parents[3] / "builder" / "flags.json").read_text(encoding="utf-8"))


def given(snapshot=SNAPSHOT, **environ):
    settings = config.load(environ, snapshot, None, "python")
    options = flags.Given(list(settings.server_args), snapshot)
    return options.value(TOOLS), options.value(REASONING)


def test_tool_calls_are_detected_and_reasoning_is_not():
    assert given() == ("auto", None)
    assert given(TOOL_CALL_PARSER=" ") == ("auto", None)


@pytest.mark.parametrize("environ, tools, reasoning", [
    ({"TOOL_CALL_PARSER": "qwen25"}, "qwen25", None), ({"TOOL_CALL_PARSER": "Llama3"}, "llama3", None),
    ({"TOOL_CALL_PARSER": "auto"}, "auto", None),
    ({"SGLANG_EXTRA_ARGS": "--tool-call-parser=mistral"}, "mistral", None),
    ({"REASONING_PARSER": "auto"}, "auto", "auto"), ({"REASONING_PARSER": "qwen3"}, "auto", "qwen3")])
def test_what_is_set_counts(environ, tools, reasoning):
    assert given(**environ) == (tools, reasoning)


@pytest.mark.parametrize("word", ["none", "None", "off", "false", "no", "0", '"none"'])
def test_there_is_a_word_for_no_parser(word):
    assert given(TOOL_CALL_PARSER=word, REASONING_PARSER=word) == (None, None)


def test_a_wrong_name_is_told_of_that_word_too():
    for name in ("TOOL_CALL_PARSER", "REASONING_PARSER"):
        with pytest.raises(config.ConfigError) as caught:
            given(**{name: "gwen"})
        (problem,) = caught.value.problems
        assert name in problem and "must be one of none, auto, " in problem


@pytest.mark.parametrize("environ", [
    {"IS_EMBEDDING": "true"}, {"SKIP_TOKENIZER_INIT": "true"}, {"SGLANG_CONFIG_FILE": "x.yaml"}])
def test_nothing_is_detected_where_nothing_would_be_read(environ):
    assert given(**environ) == (None, None)
    assert given(TOOL_CALL_PARSER="qwen25", **environ) == ("qwen25", None)


def test_an_sglang_that_cannot_detect_is_not_asked_to():
    older = copy.deepcopy(SNAPSHOT)
    older["flags"][TOOLS]["choices"].remove("auto")
    assert given(older) == (None, None)
    del older["flags"][TOOLS]
    assert given(older) == (None, None)


def test_what_the_parser_may_be_is_known_to_the_jobs():
    names = config.load({}, SNAPSHOT, None, "python").tool_parsers
    assert names[0] == "auto" and {"qwen25", "llama3", "mistral"} < set(names)
