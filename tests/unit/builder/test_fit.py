"""python -m builder.fit: where its models come from, what it prints, how it ends."""

import json
import sys
from pathlib import Path
from types import ModuleType

import pytest

from builder import fit, fit_sources
from fit import POOLS, FitError
from tests.hub_folders import repository
from tests.unit.fit import configs
from tests.unit.settings.test_tensors import file

HUB_POOLS = Path(__file__).with_name("hub.schema.json").read_text(encoding="utf-8")


@pytest.fixture
def model(tmp_path):
    path = tmp_path / "config.json"
    path.write_text(json.dumps(configs.QWEN3_8B), encoding="utf-8")
    return str(path)


def run(capsys, *words):
    status = fit.main(list(map(str, words)))
    return status, capsys.readouterr()


def asked(capsys, *words):
    status, said = run(capsys, *words, "--json")
    return status, json.loads(said.out)


def test_the_table_has_every_pool_and_the_cheapest_that_fits(model, capsys):
    status, said = run(capsys, model, "--context", "16k")
    assert status == 0 and all(f"| {pool} |" in said.out for pool in POOLS)
    assert "8.19 billion parameters" in said.out and "KV cache" in said.out
    assert "cheapest that fits: AMPERE_16 x 2, 1.15 USD an hour" in said.out and "read on 2026-11-26" in said.out


def test_one_pool_is_told_in_detail_with_what_would_help(model, capsys):
    status, said = run(capsys, model, "--gpu", "ADA_24", "--count", 1)
    assert status == 1
    assert "ADA_24 x 1 (RTX 4090): does not fit" in said.out and "CONTEXT_LENGTH=7168" in said.out
    status, said = run(capsys, model, "--gpu", "ADA_24", "--count", 1, "--context", 7168)
    assert status == 0 and "ADA_24 x 1 (RTX 4090): fits" in said.out


def test_the_json_has_the_same(model, capsys):
    status, told = asked(capsys, model, "--gpu", "AMPERE_48", "--context", 16384)
    assert status == 0
    assert told["parameters"] == 8_190_735_360 and told["weights"] == "shapes"
    assert told["asked"]["pool"] == "AMPERE_48" and told["asked"]["kv_bytes_per_token"] == 147456
    assert told["asked"]["usd_per_hour"] == pytest.approx(1.224)
    assert told["asked"]["trouble"] == []
    assert "CONTEXT_LENGTH=7168" in asked(capsys, model, "--gpu", "ADA_24", "--count", 1)[1]["asked"]["trouble"][0]
    assert [pool["pool"] for pool in told["pools"]] == list(POOLS)
    assert told["cheapest"]["fits"] and told["pools"][0]["max_total_num_tokens"] > 0


def test_options_and_flags_of_the_server_count(model, capsys):
    _, plain = asked(capsys, model, "--gpu", "ADA_80_PRO", "--count", 1)
    _, fp8 = asked(capsys, model, "--gpu", "ADA_80_PRO", "--count", 1, "--kv-cache-dtype", "fp8_e4m3",
                   "--flags=--mem-fraction-static 0.9 --disable-cuda-graph")
    assert fp8["asked"]["kv_bytes_per_token"] == plain["asked"]["kv_bytes_per_token"] / 2
    assert fp8["asked"]["mem_fraction_static"] == 0.9
    status, many = asked(capsys, model, "--context", 32768, "--requests", 100)
    assert status == 0 and many["cheapest"]["requests"] >= 100 and many["cheapest"]["gpus"] > 1


def test_a_draft_model_is_held_beside(model, capsys, tmp_path):
    (tmp_path / "draft.json").write_text(json.dumps(configs.QWEN3_0_6B), encoding="utf-8")
    _, alone = asked(capsys, model, "--gpu", "ADA_80_PRO", "--count", 1)
    _, both = asked(capsys, model, "--gpu", "ADA_80_PRO", "--count", 1, "--draft", tmp_path / "draft.json")
    assert both["asked"]["weight_bytes"] > alone["asked"]["weight_bytes"] + 10 ** 9


def test_the_files_of_a_folder_count(tmp_path, capsys):
    (tmp_path / "config.json").write_text(json.dumps(configs.LLAMA_1B), encoding="utf-8")
    file(tmp_path / "model.safetensors", model__layers__0__w=5 << 20)
    _, told = asked(capsys, tmp_path, "--gpu", "ADA_24", "--count", 1)
    assert told["weights"] == "files" and told["asked"]["weight_bytes"] == (5 << 20) + 131072 * 64 * 4


def test_a_repository_is_found_in_the_cache(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    repository(tmp_path, "Qwen/Qwen3-8B", {"config.json": json.dumps(configs.QWEN3_8B).encode()})
    status, told = asked(capsys, "qwen/qwen3-8b", "--context", 8192)
    assert status == 0 and told["config"].startswith(str(tmp_path))


def test_what_is_not_on_this_machine_is_asked_of_the_hub(tmp_path, monkeypatch, model, capsys):
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "none"))
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    library = ModuleType("huggingface_hub")
    calls = []
    library.hf_hub_download = lambda name, file, revision: calls.append((name, file, revision)) or model
    monkeypatch.setitem(sys.modules, "huggingface_hub", library)
    assert run(capsys, "Qwen/Qwen3-8B", "--revision", "abc")[0] == 0
    assert calls == [("Qwen/Qwen3-8B", "config.json", "abc")]

    def refused(name, file, revision):
        raise OSError("401 Client Error\nmore")
    library.hf_hub_download = refused
    status, said = run(capsys, "Qwen/Qwen3-8B")
    assert status == 2 and "401 Client Error)" in said.err and "HF_TOKEN" in said.err and "more" not in said.err


@pytest.mark.parametrize(("offline", "words"), [("1", "HF_HUB_OFFLINE forbids"), ("", "pip install huggingface_hub")])
def test_without_the_hub_the_error_names_the_remedy(tmp_path, monkeypatch, capsys, offline, words):
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "none"))
    monkeypatch.setenv("HF_HUB_OFFLINE", offline)
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    status, said = run(capsys, "Qwen/Qwen3-8B")
    assert status == 2 and words in said.err and "huggingface.co/Qwen/Qwen3-8B/raw/main/config.json" in said.err


@pytest.mark.parametrize(("name", "content", "words"), [
    ("config.json", "[1]", "is no JSON object"), ("config.json", "{}", "no config.json of a language model"),
    ("model.gguf", "x", "that of the model it was made of"), ("missing.json", None, "is no file or folder"),
    ("", None, "does not exist")])
def test_what_is_no_model_is_told(tmp_path, capsys, name, content, words):
    if content is not None:
        (tmp_path / name).write_text(content, encoding="utf-8")
    status, said = run(capsys, str(tmp_path / name))
    assert status == 2 and words in said.err and said.out == ""


def test_a_bad_option_is_told(model, capsys):
    status, said = run(capsys, model, "--kv-cache-dtype", "int2")
    assert status == 2 and "kv_cache_dtype 'int2' is unknown" in said.err
    with pytest.raises(SystemExit):
        run(capsys, model, "--gpu", "ADA_25")


def test_no_pool_may_fit(tmp_path, capsys):
    (tmp_path / "config.json").write_text(json.dumps(configs.DEEPSEEK_V3), encoding="utf-8")
    status, said = run(capsys, tmp_path, "--count", 1)
    assert status == 1 and "no pool fits" in said.out


def test_prices_may_be_ones_own(model, tmp_path, capsys):
    mine = tmp_path / "prices.json"
    mine.write_text(json.dumps({"source": "my contract", "usd_per_gpu_second": {"HOPPER_141": 0.0001}}))
    status, said = run(capsys, model, "--prices", mine)
    assert status == 0 and "cheapest that fits: HOPPER_141 x 1, 0.36 USD" in said.out and "my contract" in said.out
    mine.write_text("{}")
    assert run(capsys, model, "--prices", mine)[0] == 2


def test_the_prices_are_of_pools_that_there_are():
    prices, source = fit.prices(fit.PRICES)
    assert set(prices) <= set(POOLS) and len(prices) >= 8 and "2026" in source


def test_every_pool_that_the_hub_knows_can_be_judged():
    named = {"AMPERE_16", "AMPERE_24", "AMPERE_48", "AMPERE_80", "ADA_24", "ADA_32_PRO", "ADA_48_PRO", "ADA_80_PRO",
             "HOPPER_141"}
    assert named <= set(POOLS) and all(pool in HUB_POOLS for pool in named)


def test_a_path_of_another_machine_is_no_repository():
    with pytest.raises(FitError, match="no file or folder of this machine"):
        fit_sources.find("a/b/c", None, {})


@pytest.mark.parametrize(("words", "said"), [
    (("--flags='unclosed",), "--flags cannot be split into words"), (("--dp", "0"), "must be at least 1"),
    (("--mem-fraction", "2"), "no share between 0 and 1"),
    (("--gpu", "ADA_24", "--count", 3), "32 heads and 8 KV heads cannot be shared out over 3 GPUs")])
def test_what_cannot_be_asked_is_said_in_a_line(model, capsys, words, said):
    status, told = run(capsys, model, *words)
    assert status == 2 and said in told.err and told.err.count("\n") == 1


def test_a_broken_number_in_a_folders_file_is_said_in_a_line(tmp_path, capsys):
    (tmp_path / "config.json").write_text('{"num_hidden_layers": Infinity, "hidden_size": 64}', encoding="utf-8")
    status, told = run(capsys, tmp_path)
    assert status == 2 and "names no number of layers" in told.err
