"""LORA_SOURCES: what it may name, what it does not go with, and the server's flags that follow."""

import json

import pytest

from local import tiny_adapters
from settings import lora_flags
from settings.config import ConfigError, load
from settings.lora import Place, places
from tests.unit.settings.test_config import SNAPSHOT


def settings(**environ):
    return load({"MODEL_NAME": "org/model", **environ}, SNAPSHOT, None, "python3")


def prepared(**environ):
    made = lora_flags.prepared(settings(**environ), SNAPSHOT)
    words = list(made.server_args)
    sizes = ("--max-lora-rank", "--max-loaded-loras")
    return made, {flag: words[words.index(flag) + 1] for flag in sizes if flag in words}


def modules_of(made) -> list[str]:
    words = list(made.server_args)
    rest = words[words.index("--lora-target-modules") + 1:]
    return rest[:next(at for at, word in enumerate(rest) if word.startswith("-"))]


def test_elements():
    assert places(" /vol/a, org/one org/x-*@v1\nsql=/vol/b/  fr=org/fr@main ") == (
        Place(folder="/vol/a"), Place(repository="org/one"), Place(repository="org/x-*", revision="v1"),
        Place("sql", folder="/vol/b"), Place("fr", repository="org/fr", revision="main"))
    assert places('["/vol/with space", "a=org/b"]') == (Place(folder="/vol/with space"), Place("a", repository="org/b"))
    assert places("'/vol/with space'") == places('["/vol/with space"]')
    assert places("/vol/a/* /vol/a//b/.. /vol/a") == (Place(folder="/vol/a"),)


@pytest.mark.parametrize("text, words", [
    ("*/*", "owner"), ("*", "must be a folder"), ("*/name", "owner"), ("/", "whole file system"),
    ("/*", "whole file system"), ("/vol/../..", "whole file system"), ("/vol/a*/b", "no `*`"), ("vol/a/b", "must be"),
    ("./adapters", "must be a folder"), ("../adapters", "must be a folder"), ("org/..", "must be"), ("name", "must be"),
    ("a=org/*", "many repositories"), ("a b=org/x", "must be"), ("a:b=org/x", "before `=`"),
    ("../x=/vol/a", "before `=`"),
    ("a=/vol/a a=/vol/b", "two adapters 'a'"), ('["/vol/a", 1]', "texts"), ("[1", "JSON"), ("'/vol", "split"),
    ("org/x@", "must be"), ("https://huggingface.co/org/x", "must be"), ("[]", "no element"), ("s3://a/b", "must be"),
])
def test_what_is_no_element(text, words):
    with pytest.raises(ValueError) as raised:
        places(text)
    assert words in str(raised.value)
    with pytest.raises(ConfigError, match="LORA_SOURCES"):
        settings(LORA_SOURCES=text)


@pytest.mark.parametrize("more, words", [
    ({"DP_SIZE": "2"}, "DP_SIZE=2"), ({"TOKENIZER_WORKER_NUM": "2"}, "TOKENIZER_WORKER_NUM=2"),
    ({"ALLOWED_ROUTES": "/load_lora_adapter"}, "ALLOWED_ROUTES"),
    ({"ALLOWED_ROUTES": "/unload_lora_adapter"}, "ALLOWED_ROUTES"),
    ({"WORKER_MODE": "http", "WORKER_API_KEY": "none", "HTTP_PROCESSES": "2"}, "HTTP_PROCESSES"),
])
def test_what_it_does_not_go_with(more, words):
    with pytest.raises(ConfigError) as raised:
        settings(LORA_SOURCES="/vol/a", **more)
    assert words in str(raised.value)
    settings(**more)


def test_nothing_is_set_without_it():
    made = settings(LORA_PATHS="a=/vol/a")
    assert lora_flags.prepared(made, SNAPSHOT) is made and not made.lora.places


def test_the_settings():
    made = settings(LORA_SOURCES="/vol/a", LORA_LOAD_TIMEOUT="7", LORA_DOWNLOAD_TIMEOUT="8", LORA_DOWNLOAD_MAX_MB="9",
                    LORA_PATHS='{"lora_name": "p", "lora_path": "/x", "pinned": true} q=/y').lora
    assert (made.wait_seconds, made.download_seconds, made.download_bytes) == (7, 8, 9_000_000)
    assert made.pinned == {"p"}


def test_the_flags_of_what_is_not_there_yet():
    made, sizes = prepared(LORA_SOURCES="/nowhere/adapters")
    assert "--enable-lora" in made.server_args and made.lora_enabled
    assert sizes == {"--max-lora-rank": "32", "--max-loaded-loras": "16"}
    assert modules_of(made) == ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
    assert any("MAX_LORA_RANK is 32" in text for _, text in made.notices)
    assert prepared(LORA_SOURCES="org/*")[1]["--max-lora-rank"] == "32"


def test_the_flags_follow_the_adapters_on_this_machine(tmp_path):
    for name, rank in (("a", 4), ("b", 64)):
        tiny_adapters.make(tmp_path / "volume" / name, 1, rank, modules=("q_proj", "v_proj"))
    tiny_adapters.make(tmp_path / "volume" / "odd", 1, 2, modules=("q_proj", "v_proj"),
                       target_modules=["lm_head", "model.x.q_proj", "nonsense"])
    (tmp_path / "volume" / "broken").mkdir()
    (tmp_path / "volume" / "broken" / "adapter_config.json").write_text('{"r": "many", "target_modules": 7}')
    made, sizes = prepared(LORA_SOURCES=str(tmp_path / "volume"), MAX_LORAS_PER_BATCH="3")
    assert sizes == {"--max-lora-rank": "64", "--max-loaded-loras": "6"}
    assert "lm_head" in modules_of(made) and "nonsense" not in modules_of(made)
    # not below PEFT's default
    assert prepared(LORA_SOURCES=str(tmp_path / "volume" / "a"))[1]["--max-lora-rank"] == "8"


def test_what_is_given_counts(tmp_path):
    tiny_adapters.make(tmp_path / "a", 1, 64)
    made, sizes = prepared(LORA_SOURCES=str(tmp_path), MAX_LORA_RANK="16", MAX_LOADED_LORAS="9",
                           LORA_TARGET_MODULES="q_proj", ENABLE_LORA="true")
    assert sizes == {"--max-lora-rank": "16", "--max-loaded-loras": "9"} and modules_of(made) == ["q_proj"]
    assert made.server_args.count("--enable-lora") == 1


def test_as_many_are_loaded_as_the_server_starts_with():
    paths = " ".join(f"a{number}=/x/{number}" for number in range(20))
    assert prepared(LORA_SOURCES="org/*", LORA_PATHS=paths)[1]["--max-loaded-loras"] == "20"


@pytest.mark.parametrize("config", [{"num_experts": 128}, {"text_config": {"n_routed_experts": 64}}])
def test_experts_are_left_out_unless_an_adapter_has_them(tmp_path, config):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text(json.dumps(config))
    environ = {"MODEL_NAME": str(tmp_path / "model"), "LORA_SOURCES": str(tmp_path / "volume")}
    made, _ = prepared(**environ)
    assert modules_of(made) == ["q_proj", "k_proj", "v_proj", "o_proj"]
    assert any("not its experts" in text for _, text in made.notices)
    tiny_adapters.make(tmp_path / "volume" / "a", 1)
    assert "gate_proj" in modules_of(prepared(**environ)[0])


def test_a_configuration_file_has_the_sizes():
    made, sizes = prepared(LORA_SOURCES="/vol/a", SGLANG_CONFIG_FILE="/x/server.yaml")
    assert not sizes and "--enable-lora" in made.server_args
