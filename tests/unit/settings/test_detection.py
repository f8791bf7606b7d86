"""Nothing is detected where SGLang's detection would end the server."""

import json
from pathlib import Path

import pytest

from settings import config, flags
from settings.detection import checked, several
from settings.flags.parsers import REASONING, TOOLS

SNAPSHOT = json.loads((Path(__file__).parents[3] / "builder" / "flags.json").read_text(encoding="utf-8"))
NAMED = [{"name": "default", "template": "a"}, {"name": "tool_use", "template": "b"}]


def model(folder, chat_template=None, **files):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "tokenizer_config.json").write_text(json.dumps({"chat_template": chat_template}))
    for name, text in files.items():
        path = folder / name.replace("__", "/").replace("_jinja", ".jinja")
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    return str(folder)


def outcome(name, environ=None, **more):
    settings = checked(config.load({"MODEL_NAME": name, **more}, SNAPSHOT, None, "python"), SNAPSHOT, environ or {})
    given = flags.Given(list(settings.server_args), SNAPSHOT)
    said = [line for level, line in settings.notices if level == "warn" and "docs/tools.md" in line]
    return given.value(TOOLS), given.value(REASONING), said


def test_a_model_with_several_templates_is_served_without_detection(tmp_path):
    name = model(tmp_path, NAMED)
    tools, reasoning, [said] = outcome(name)
    assert (tools, reasoning) == (None, None) and said.startswith("TOOL_CALL_PARSER: ") and "has several" in said
    tools, reasoning, [said] = outcome(name, REASONING_PARSER="auto", SGLANG_EXTRA_ARGS="--tool-call-parser=auto")
    assert (tools, reasoning) == (None, None) and "TOOL_CALL_PARSER and REASONING_PARSER: " in said
    assert outcome(name, TOOL_CALL_PARSER="hermes", REASONING_PARSER="qwen3") == ("hermes", "qwen3", [])
    assert outcome(name, TOOL_CALL_PARSER="hermes", REASONING_PARSER="auto")[:2] == ("hermes", None)


def test_nothing_else_is_lost(tmp_path):
    plain = config.load({"MODEL_NAME": model(tmp_path, NAMED), "TOOL_CALL_PARSER": "none"}, SNAPSHOT, None, "python")
    detecting = config.load({"MODEL_NAME": str(tmp_path), "SCHEDULE_POLICY": "lpm"}, SNAPSHOT, None, "python")
    assert checked(plain, SNAPSHOT, {}) == plain
    left = checked(detecting, SNAPSHOT, {}).server_args
    assert left[-2:] == ("--schedule-policy", "lpm") and len(left) == len(detecting.server_args) - 2


def test_a_template_that_is_set_is_the_one_that_counts(tmp_path):
    (tmp_path / "own.jinja").write_text("x")
    name = model(tmp_path / "model", NAMED)
    assert outcome(name, CHAT_TEMPLATE=str(tmp_path / "own.jinja"))[0] == "auto"
    assert outcome(name, CHAT_TEMPLATE="chatml")[0] is None, "SGLang looks at the model's all the same"


@pytest.mark.parametrize("made, expected", [
    ({"chat_template": "text"}, False), ({"chat_template": NAMED}, True), ({"chat_template": None}, False),
    ({"chat_template": {"default": "a"}}, True), ({"chat_template": NAMED, "chat_template_jinja": "a"}, False),
    ({"chat_template_jinja": "a", "additional_chat_templates__tool_use_jinja": "b"}, True)])
def test_what_transformers_makes_a_table_of(tmp_path, made, expected):
    assert several(Path(model(tmp_path, **made))) is expected


def test_a_model_in_the_hubs_cache(tmp_path):
    snapshot = tmp_path / "models--org--name" / "snapshots" / ("0" * 40)
    model(snapshot, NAMED)
    (tmp_path / "models--org--name" / "refs").mkdir()
    (tmp_path / "models--org--name" / "refs" / "main").write_text("0" * 40)
    assert outcome("org/name", {"HF_HUB_CACHE": str(tmp_path)})[0] is None
    assert outcome("org/name")[0] == "auto"


@pytest.mark.parametrize("name, tools", [
    ("NousResearch/Hermes-3-Llama-3.1-8B", None), ("CohereForAI/c4ai-command-r-plus", None),
    ("CohereLabs/command-a-03-2025", None), ("Qwen/Qwen3-8B", "auto"), ("x" * 300, "auto")])
def test_a_model_that_is_still_to_come_is_known_by_its_name(name, tools):
    assert outcome(name)[0] == tools


def test_a_file_that_cannot_be_read_decides_nothing(tmp_path):
    (tmp_path / "tokenizer_config.json").write_text("[")
    assert several(tmp_path) is False and several(tmp_path / "nowhere") is False
