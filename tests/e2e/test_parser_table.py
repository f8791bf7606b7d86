"""What SGLang detects of each family, against the table in docs/tools.md."""

import json
import os
import shutil
import subprocess

import pytest

from bench import parser_table
from local import environments
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


def test_parsers_that_lose_something_of_pieces_of_several_tokens(found):
    """Why settings/flags/host.py leaves STREAM_INTERVAL alone where calls are looked for; docs/tools.md names them."""
    told = [(name, right) for family in found.values() for name, right in family["pieces"].items()]
    assert {name for name, right in told if not right} == {
        "deepseekv3", "deepseekv31", "glm45", "gpt-oss", "hermes", "llama3", "mistral", "qwen", "qwen25"}
    assert {"glm47", "kimi_k2", "minimax-m2", "pythonic", "qwen3_coder"} <= {name for name, right in told if right}


def test_detection_still_fails_over_several_templates(engine_python, model_path, tmp_path):
    """Why settings/detection.py is there. Where this fails, SGLang has been put right, and that can go."""
    folder = shutil.copytree(model_path, tmp_path / "model")
    text = (folder / "chat_template.jinja").read_text(encoding="utf-8")
    (folder / "chat_template.jinja").unlink()
    config = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))
    config["chat_template"] = [{"name": "default", "template": text}, {"name": "tool_use", "template": text}]
    (folder / "tokenizer_config.json").write_text(json.dumps(config), encoding="utf-8")
    code = ("import sys; from sglang.srt.utils.hf_transformers_utils import get_tokenizer; "
            "from sglang.srt.parser.template_detection import detect_reasoning_pattern; "
            "detect_reasoning_pattern(get_tokenizer(sys.argv[1]).chat_template)")
    done = subprocess.run([str(engine_python), "-W", "ignore", "-c", code, str(folder)], text=True, timeout=240,
                          env=environments.engine_environ(os.environ), capture_output=True, check=False)
    assert done.returncode == 1 and done.stderr.rstrip().endswith("got 'dict'"), done.stderr[-500:]
