"""The table of families: what its cells say, and where it is written."""

import jinja2
import pytest

from bench.parser_table import BEGIN, END, table, written
from local.families import FAMILIES, Family

WEATHER = {"type": "function", "function": {"name": "get_weather", "parameters": {}}}


def row(family, **found):
    told = {"tools": None, "reasoning": None, "reads": {}, "tells": {}} | found
    return [cell.strip() for cell in table({family.name: told}, (family,))[-1].strip("|").split("|")]


@pytest.mark.parametrize("found, auto, by_hand", [
    ({"tools": "qwen", "reads": {"qwen": True, "qwen25": True}}, "`qwen`", ""),
    ({"reads": {"qwen25": True}}, "none", "`qwen25`"),
    ({"tools": "deepseekv3", "reads": {"deepseekv3": False, "qwen25": True}},
     "**`deepseekv3`, which does not read them**", "`qwen25`")])
def test_a_name_stands_where_detection_does_not_do(found, auto, by_hand):
    family = Family("F", "t", call="<tool_call>", tools="qwen25")
    assert row(family, **found) == ["F", auto, by_hand, "none, rightly", ""]


def test_a_family_that_sglang_has_no_parser_for():
    assert row(Family("F", "t", call="<|tool_call|>"), reads={"qwen": False})[1:3] == ["none", "no parser has its form"]


def test_thoughts_are_told_in_the_same_way():
    family = Family("F", "t", thought="[THINK]", reasoning="mistral")
    assert row(family, tells={"mistral": True}) == ["F", "none, rightly", "", "none", "`mistral`"]


def test_what_stands_around_the_table_stays():
    page = f"a\n{BEGIN}\nold\n{END}\nb\n"
    assert written(page, ["x", "y"]) == f"a\n{BEGIN}\nx\ny\n{END}\nb\n"
    assert written(written(page, ["x"]), ["x"]) == written(page, ["x"])


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_the_short_templates_are_templates(family):
    shown = jinja2.Environment().from_string(family.template).render(
        messages=[{"role": "user", "content": "How are you?"}], tools=[WEATHER], add_generation_prompt=True)
    assert "How are you?" in shown
    assert ("get_weather" in shown) is bool(family.call and "DeepSeek" not in family.name), "theirs show no tools"
