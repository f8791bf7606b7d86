"""What SGLang detects of each family, against the table in docs/tools.md."""

import pytest

from bench import parser_table
from local.families import FAMILIES


@pytest.fixture(scope="module")
def found(engine_python):
    return parser_table.detected(engine_python)


def test_the_table_is_what_sglangs_own_code_says(found):
    page = parser_table.PAGE.read_text(encoding="utf-8")
    assert page == parser_table.written(page, parser_table.table(found)), "run python -m bench.parser_table"


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_the_parser_that_is_to_be_set_by_hand_reads_what_the_family_writes(found, family):
    told = found[family.name]
    assert bool(family.call) or not family.tools, "a parser needs a call to read"
    if family.tools:
        assert told["reads"][family.tools] is True
    elif family.call:
        assert len(told["reads"]) > 40 and not any(told["reads"].values()), "there is a parser for it now"
    if family.reasoning:
        assert told["tells"][family.reasoning] is True
    else:
        assert not family.thought
