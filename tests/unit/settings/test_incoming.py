"""Quotes that were meant for a shell, and the variables of other workers."""

import json
from pathlib import Path

import pytest

from settings import config, flags
from settings.environment import engine_environ
from settings.foreign import FOREIGN, Other, Same
from settings.incoming import heard
from settings.worker_settings import WORKER_SETTINGS

SNAPSHOT = json.loads((Path(__file__).parents[3] / "builder" / "flags.json").read_text(encoding="utf-8"))
KNOWN = {*flags.variables(SNAPSHOT), *(setting.name for setting in WORKER_SETTINGS), "HF_TOKEN"}


def load(**environ):
    return config.load(environ, SNAPSHOT, None, "python3")


def value(settings, flag):
    return flags.Given(list(settings.server_args), SNAPSHOT).value(flag)


def lines(settings) -> list[str]:
    return [line for _, line in settings.notices]


# --- quotes -------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize(("name", "text", "meant"), [
    ("MODEL_NAME", '"owner/name"', "owner/name"), ("MODEL_PATH", "'owner/name'", "owner/name"),
    ("MODEL_NAME", ' "owner/name" ', "owner/name"), ("CONTEXT_LENGTH", "'32k'", "32k"), ("DTYPE", '"half"', "half"),
    ("TRUST_REMOTE_CODE", '"true"', "true"), ("SGLANG_PORT", "'30001'", "30001"), ("HF_TOKEN", '"hf_123"', "hf_123"),
    ("MODEL_ID", '"owner/name"', "owner/name"), ("WORKER_LOG_LEVEL", "'debug'", "debug"),
    ("DEFAULT_CHAT_TEMPLATE_KWARGS", "'{\"a\": 1}'", '{"a": 1}'),
    ("DEFAULT_CHAT_TEMPLATE_KWARGS", '"{"a": 1}"', '{"a": 1}'),
    ("LORA_PATHS", '"a=/x b=/y"', "a=/x b=/y"), ("LORA_PATHS", "'[{\"lora_name\": 1}]'", '[{"lora_name": 1}]'),
    ("SGLANG_EXTRA_ARGS", '"--tp 2"', "--tp 2"), ("SGLANG_LAUNCH_COMMAND", "'python -m server'", "python -m server"),
    ("DTYPE", '""', ""), ("MODEL_NAME", "\u201cowner/name\u201d", "owner/name"), ("DTYPE", "`half`", "half"),
])
def test_quotes_around_a_value_are_taken_off(name, text, meant):
    environ, notices = heard({name: text}, SNAPSHOT)
    assert environ[name] == meant
    assert ("warn", f"{name} is set in quotes, which are taken off") in notices


@pytest.mark.parametrize(("text", "meant"), [
    ("MODEL_NAME=owner/name", "owner/name"), ("MODEL_NAME='owner/name'", "owner/name"), (" MODEL_NAME= a/b", "a/b"),
])
def test_a_value_that_repeats_its_name(text, meant):
    assert load(MODEL_NAME=text).model == meant
    assert "MODEL_NAME begins with its own name and an equals sign, which are taken off" in lines(load(MODEL_NAME=text))


@pytest.mark.parametrize(("name", "text"), [
    ("ALLOWED_MEDIA_DOMAINS", "\"a.b\" \"c.d\""), ("SGLANG_LAUNCH_COMMAND", '"/opt/my python"'),
    ("SGLANG_LAUNCH_COMMAND", '"/opt/my python" -m "server"'), ("DEFAULT_CHAT_TEMPLATE_KWARGS", '"text"'),
    ("MODEL_NAME", "'owner/name\""), ("MODEL_NAME", '"'), ("PS1", '"$ "'), ("SOME_OTHER", "'a'"),
])
def test_quotes_that_may_be_meant_stay(name, text):
    assert heard({name: text}, SNAPSHOT) == ({name: text}, [])


def test_a_secret_in_quotes_is_hidden_in_both_spellings_and_reaches_the_engine_without():
    settings = load(API_KEY="'sk-12345678'", HF_TOKEN='"hf_12345678"')
    assert settings.api_key == "sk-12345678"
    assert {"sk-12345678", "hf_12345678"} <= set(settings.secrets)
    assert not any("12345678" in line for line in lines(settings))
    assert engine_environ(settings, {"HF_TOKEN": '"hf_12345678"'})["HF_TOKEN"] == "hf_12345678"


# --- other workers ------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("name", sorted(FOREIGN))
def test_the_table_leads_to_what_there_is(name):
    means = FOREIGN[name]
    assert name not in flags.variables(SNAPSHOT)
    if isinstance(means, Same):
        assert means.name in KNOWN
    else:
        assert isinstance(means, Other) and means.advice
        for word in means.advice.replace(",", " ").split():
            if word.isupper() and "_" in word and not word.endswith("_"):
                assert word.strip(".();") in KNOWN, word


@pytest.mark.parametrize(("environ", "flag", "expected"), [
    ({"MODEL_ID": "o/n"}, "--model-path", "o/n"), ({"HF_MODEL": "o/n"}, "--model-path", "o/n"),
    ({"MODEL_ID": "https://huggingface.co/o/n"}, "--model-path", "o/n"),
    ({"MAX_MODEL_LEN": "8192"}, "--context-length", "8192"), ({"N_CTX": "8k"}, "--context-length", "8k"),
    ({"OPENAI_SERVED_MODEL_NAME_OVERRIDE": "gpt-4"}, "--served-model-name", "gpt-4"),
    ({"MAX_NUM_SEQS": "64"}, "--max-running-requests", "64"), ({"TP": "2"}, "--tp-size", "2"),
    ({"NUM_SHARD": "2"}, "--tp-size", "2"), ({"TOKENIZER": "o/t"}, "--tokenizer-path", "o/t"),
    ({"CUSTOM_CHAT_TEMPLATE": "{{ messages }}"}, "--chat-template", "{{ messages }}"),
    ({"SEED": "7"}, "--random-seed", "7"), ({"HF_OVERRIDES": '{"a": 1}'}, "--json-model-override-args", '{"a": 1}'),
    ({"LORA_MODULES": '{"name": "a", "path": "o/a", "base_model_name": "o/n"}'}, "--lora-paths",
     '{"lora_name": "a", "lora_path": "o/a"}'),
])
def test_a_variable_that_means_the_same_is_used(environ, flag, expected):
    settings = load(**environ)
    (name,) = environ
    assert value(settings, flag) == expected
    assert f"{name} is read as {FOREIGN[name].name}" in lines(settings)


def test_switches_that_mean_the_same_or_the_opposite():
    assert "--disable-radix-cache" in load(ENABLE_PREFIX_CACHING="false").server_args
    assert "--disable-radix-cache" not in load(ENABLE_PREFIX_CACHING="True").server_args
    assert value(load(ENFORCE_EAGER="1"), "--cuda-graph-backend-decode") == "disabled"
    assert "ENFORCE_EAGER is not read (neither true nor false): set DISABLE_CUDA_GRAPH" in lines(
        load(ENFORCE_EAGER="perhaps"))


@pytest.mark.parametrize("text", ["[", "[1]", '{"name": "a"}', "a=/x"])
def test_modules_that_cannot_be_read(text):
    (line,) = [line for line in lines(load(LORA_MODULES=text)) if "LORA" in line]
    assert line.startswith("LORA_MODULES is not read (") and line.endswith("): set LORA_PATHS")


def test_several_modules():
    settings = load(LORA_MODULES='[{"name": "a", "path": "o/a"}, {"name": "b", "path": "/b"}]')
    values = flags.Given(list(settings.server_args), SNAPSHOT).values("--lora-paths")
    assert [json.loads(text) for text in values] == [{"lora_name": "a", "lora_path": "o/a"},
                                                     {"lora_name": "b", "lora_path": "/b"}]


def test_the_workers_own_variable_wins_under_each_of_its_names():
    for own in ("MODEL_NAME", "MODEL_PATH", "MODEL"):
        settings = load(MODEL_ID="o/other", **{own: "o/n"})
        assert settings.model == "o/n"
        assert f"MODEL_ID is not read, as {own} is set" in lines(settings)
    assert value(load(MAX_MODEL_LEN="1024", CONTEXT_LENGTH="2048"), "--context-length") == "2048"
    assert [line for line in lines(load(MODEL_ID="o/n", MODEL_NAME="o/n")) if "MODEL_ID" in line] == []
    assert load(MODEL_ID="o/a", HF_MODEL="o/b").model == "o/a"
    assert load(MODEL_ID="o/a", MODEL_NAME=" ").model == "o/a"


@pytest.mark.parametrize(("name", "ours"), [
    ("GPU_MEMORY_UTILIZATION", "MEM_FRACTION_STATIC"), ("MAX_NUM_BATCHED_TOKENS", "CHUNKED_PREFILL_SIZE"),
    ("QUANTIZE", "QUANTIZATION"), ("ENABLE_AUTO_TOOL_CHOICE", "TOOL_CALL_PARSER"), ("MAX_LORAS", "MAX_LORAS_PER_BATCH"),
])
def test_a_variable_that_means_something_else_names_ours_once(name, ours):
    settings = load(**{name: "1"})
    found = [line for line in lines(settings) if line.startswith(name)]
    assert len(found) == 1 and found[0].startswith(f"{name} is not read: ") and ours in found[0]
    assert settings.server_args == load().server_args


@pytest.mark.parametrize("name", ["HUGGING_FACE_HUB_TOKEN", "HUGGINGFACEHUB_API_TOKEN", "HF_API_TOKEN",
                                  "HUGGINGFACE_TOKEN"])
def test_a_token_under_another_name_reaches_the_engine(name):
    environ = {name: "hf_12345678"}
    settings = load(**environ)
    assert engine_environ(settings, environ)["HF_TOKEN"] == "hf_12345678" and "hf_12345678" in settings.secrets
    assert engine_environ(settings, {**environ, "HF_TOKEN": "hf_own"})["HF_TOKEN"] == "hf_own"
    assert "MODEL_NAME" not in engine_environ(settings, {"MODEL_ID": "o/n"})
