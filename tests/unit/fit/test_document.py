"""docs/fitting.md says what is said."""

from pathlib import Path

import pytest

from fit import judge, words
from fit.reserve import reserve
from tests.unit.fit import configs

TEXT = (Path(__file__).resolve().parents[3] / "docs" / "fitting.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(("config", "pool", "asked"), [
    (configs.QWEN3_32B, "ADA_24", {}), (configs.LLAMA_8B, "ADA_24", {"context_length": 16384}),
    (configs.QWEN3_8B, "ADA_48_PRO", {}),
    (configs.LLAMA_8B, "ADA_24", {"context_length": 8192, "mem_fraction_static": 0.95})])
def test_the_worker_says_the_lines_that_stand_there(config, pool, asked):
    said = words.trouble(config, judge(config, pool, **asked))[-1]
    shown = [cell.split("`")[1] for line in TEXT.splitlines() if line.startswith("| ") for cell in line.split(" | ")[1:]
             if cell.startswith("`")]
    assert any(said == line or line.endswith("…") and said.startswith(line.removesuffix("…")) for line in shown), said


def test_the_detail_of_a_pool_is_what_is_printed(tmp_path, capsys):
    import json

    from builder import fit

    (tmp_path / "config.json").write_text(json.dumps(configs.QWEN3_8B), encoding="utf-8")
    fit.main([str(tmp_path), "--gpu", "ADA_24", "--count", "1"])
    printed = capsys.readouterr().out
    shown = TEXT.split("```\nADA_24")[1].split("\n```")[0].splitlines()
    for line in shown[1:]:
        assert line.removesuffix("…") in printed


def test_the_models_compared_are_as_many_as_it_says():
    assert f"parameters of {len(configs.MODELS)} published models" in TEXT


def test_an_rtx_4090_keeps_seven_gib_free():
    from fit import POOLS, Model, Serving
    kept = reserve(Model(configs.LLAMA_8B), Serving(tp_size=1), POOLS["ADA_24"]).wanted / 2**30
    less = reserve(Model(configs.LLAMA_8B), Serving(tp_size=1, chunked_prefill_size=2048), POOLS["ADA_24"]).wanted
    assert kept == pytest.approx(7.1, abs=0.1) and kept - less / 2**30 == pytest.approx(3.1, abs=0.15)
