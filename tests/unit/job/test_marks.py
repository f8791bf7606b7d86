"""A chat template's marks, and where the template is."""

import json

import pytest

from job.marks import likely, same, template
from local.families import FAMILIES

# Those of which SGLang's detection finds none, or another (docs/tools.md), and whose templates tell it here.
TOLD = {"Qwen 2.5, Qwen3-Instruct-2507, Qwen3-VL-Instruct", "Qwen3-Thinking-2507, QwQ", "Hermes 2 Pro, Hermes 3",
        "Llama 3.1, 3.2, 3.3", "Mistral 7B v0.3, Nemo, Small 3", "Magistral", "DeepSeek V3",
        "DeepSeek R1 and its distillates"}
MARKED = "{{ '[TOOL_CALLS]' }}"


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_the_marks_of_a_family_are_those_of_its_parser(family):
    found = likely(family.template)
    assert found is None or same(found, family.tools)
    assert found is not None or family.name not in TOLD


def test_every_family_that_is_told_by_its_marks_is_one():
    assert {family.name for family in FAMILIES} >= TOLD
    assert likely("") is None and likely("{{ messages }}") is None


@pytest.mark.parametrize("files", [
    {"chat_template.jinja": MARKED}, {"tokenizer_config.json": json.dumps({"chat_template": MARKED})},
    {"tokenizer_config.json": json.dumps({"chat_template": [
        {"name": "default", "template": "{{ messages }}"}, {"name": "tool_use", "template": MARKED}, "x"]})},
    {"chat_template.jinja": MARKED, "tokenizer_config.json": json.dumps({"chat_template": "{{ messages }}"})}])
def test_where_the_template_is(tmp_path, files):
    for name, text in {"config.json": "{}", **files}.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    assert likely(template((), str(tmp_path), {})) == "mistral"


def test_a_template_that_is_set_counts(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "chat_template.jinja").write_text(MARKED)
    (tmp_path / "own.jinja").write_text("own")
    where = str(tmp_path)
    assert template(("--chat-template", f"{where}/own.jinja"), where, {}) == "own"
    assert template(("--chat-template", "chatml"), where, {}) == ""
    assert template(("--chat-template", f"{where}/gone.jinja"), where, {}) == ""


def test_a_template_in_the_hubs_cache(tmp_path):
    snapshot = tmp_path / "models--org--name" / "snapshots" / ("0" * 40)
    (tmp_path / "models--org--name" / "refs").mkdir(parents=True)
    (tmp_path / "models--org--name" / "refs" / "main").write_text("0" * 40)
    snapshot.mkdir(parents=True)
    (snapshot / "config.json").write_text("{}")
    (snapshot / "chat_template.jinja").write_text(MARKED)
    assert template((), "org/name", {"HF_HUB_CACHE": str(tmp_path)}) == MARKED


@pytest.mark.parametrize("text", ["", "[", "[]", "{}", '{"chat_template": 5}', '{"chat_template": null}'])
def test_a_model_without_a_template_has_none(tmp_path, text):
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "tokenizer_config.json").write_text(text)
    assert template((), str(tmp_path), {}) == ""
    assert template((), str(tmp_path / "nowhere"), {}) == template((), "x" * 5000, {}) == ""
