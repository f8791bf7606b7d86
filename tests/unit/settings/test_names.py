"""Names of models: addresses of the hub, colons, and what jobs may ask for."""

import json
from pathlib import Path

import pytest

from settings import config, flags, names
from settings.names import Hub
from tests.flag_samples import parser

SNAPSHOT = json.loads((Path(__file__).parents[3] / "builder" / "flags.json").read_text(encoding="utf-8"))
PARSER = parser(SNAPSHOT)


def load(**environ):
    return config.load(environ, SNAPSHOT, None, "python3")


def parsed(settings, flag):
    return PARSER.parse_args(settings.server_args).__dict__[flag]


@pytest.mark.parametrize(("text", "means"), [
    ("https://huggingface.co/owner/name", Hub("owner/name", None)),
    ("http://www.huggingface.co/owner/name/", Hub("owner/name", None)),
    ("huggingface.co/owner/name", Hub("owner/name", None)),
    ("hf.co/owner/name:Q4_K_M", Hub("owner/name:Q4_K_M", None)),
    ("hf://owner/name", Hub("owner/name", None)),
    ("hf://owner/name@v1.0", Hub("owner/name", "v1.0")), ("https://hf.co/owner/name@main", Hub("owner/name", "main")),
    ("https://huggingface.co/gpt2", Hub("gpt2", None)),
    ("https://huggingface.co/models/owner/name", Hub("owner/name", None)),
    ("https://huggingface.co/owner/name?library=sglang#use", Hub("owner/name", None)),
    ("https://huggingface.co/owner/name/tree/main", Hub("owner/name", "main")),
    ("https://huggingface.co/owner/name/tree/refs%2Fpr%2F1", Hub("owner/name", "refs/pr/1")),
    ("https://huggingface.co/owner/name/blob/main/config.json", Hub("owner/name", "main")),
    ("https://huggingface.co/owner/name/resolve/v2/q/a.gguf?download=true", Hub("owner/name/q/a.gguf", "v2")),
    ("https://huggingface.co/gpt2/tree/main", Hub("gpt2", "main")),
    ("https://huggingface.co/owner/name/discussions/4", Hub("owner/name", None)),
    ("HTTPS://HuggingFace.co/owner/name", Hub("owner/name", None)),
    ("https://user:hf_token@huggingface.co/owner/name", Hub("owner/name", None)),
    ("owner/name/", Hub("owner/name", None)), ("./owner/", None), ("../owner/", None), ("~/owner/", None),
    ("huggingface.co/gpt2/", Hub("gpt2", None)), ("owner/name/more/", None),
    ("https://huggingface.co/datasets/owner/name", Hub("", None)), ("https://huggingface.co/", Hub("", None)),
    ("https://example.com/owner/name", None), ("s3://bucket/owner/name", None), ("owner/name", None),
    ("/models/huggingface.co/owner/name", None), ("owner/huggingface.co", None),
])
def test_addresses_of_the_hub(text, means):
    assert names.from_address(text) == means


def test_an_address_becomes_the_repository_and_its_revision():
    settings = load(MODEL_NAME="https://huggingface.co/owner/name/tree/v2")
    assert parsed(settings, "--model-path") == settings.model == settings.served_model_name == "owner/name"
    assert parsed(settings, "--revision") == settings.revision == "v2"
    assert ("info", "MODEL_NAME: owner/name is read from the address https://huggingface.co/owner/name/tree/v2, at "
                    "revision v2") in settings.notices
    assert load(MODEL_NAME="https://hf.co/o/n/tree/v2", MODEL_REVISION="v1").revision == "v1"
    both = load(MODEL_NAME="o/n", TOKENIZER_PATH="https://hf.co/o/t", SPECULATIVE_DRAFT_MODEL_PATH="hf.co/o/d/tree/x")
    assert parsed(both, "--tokenizer-path") == "o/t"
    assert parsed(both, "--speculative-draft-model-path") == "o/d"
    assert parsed(both, "--speculative-draft-model-revision") == "x"
    extra = load(SGLANG_EXTRA_ARGS="--model https://hf.co/o/n")
    assert extra.model == parsed(extra, "--model-path") == "o/n"


def test_addresses_of_adapters():
    settings = load(LORA_PATHS='a=https://huggingface.co/o/a/tree/main hf.co/o/b {"lora_name": "c", "lora_path": '
                               '"https://huggingface.co/o/c"} d=o/d e=https://example.com/e')
    first, second, third, *rest = flags.Given(list(settings.server_args), SNAPSHOT).values("--lora-paths")
    assert (first, second, json.loads(third)) == ("a=o/a", "o/b", {"lora_name": "c", "lora_path": "o/c"})
    assert rest == ["d=o/d", "e=https://example.com/e"]
    assert ("info", "LORA_PATHS: o/a is read from the address of an adapter") in settings.notices


def test_an_address_of_no_model_is_refused():
    with pytest.raises(config.ConfigError) as caught:
        load(MODEL_PATH="https://huggingface.co/datasets/o/n")
    assert caught.value.problems == ["MODEL_PATH=https://huggingface.co/datasets/o/n: is no address of a model on "
                                     "the hub: set owner/name, or a folder"]
    with pytest.raises(config.ConfigError, match="MODEL_NAME=https://example.com/o/n: is no address of a model on the"):
        load(MODEL_NAME="https://example.com/o/n")


def test_addresses_that_the_server_itself_reads_stay():
    for address in ("s3://bucket/model", "az://account/model", "https://account.blob.core.windows.net/models/x"):
        assert load(MODEL_NAME=address).model == address


def test_the_hub_may_be_elsewhere():
    assert load(MODEL_NAME="https://mirror.example/o/n/tree/v1", HF_ENDPOINT="https://mirror.example/").model == "o/n"


@pytest.mark.parametrize(("environ", "served", "asked"), [
    ({"MODEL_NAME": "owner/name:Q4_K_M"}, "owner/name-Q4_K_M", {"owner/name:Q4_K_M"}),
    ({"MODEL_NAME": "o/n", "SERVED_MODEL_NAME": "gpt-oss:120b"}, "gpt-oss-120b", {"gpt-oss:120b", "o/n"}),
    ({"MODEL_NAME": "o/n", "SGLANG_EXTRA_ARGS": "--served-model-name a:b:c"}, "a-b-c", {"a:b:c", "o/n"}),
    ({"MODEL_NAME": "/models/a:b"}, "/models/a-b", {"/models/a:b"}),
    ({"MODEL_NAME": "redis://host:6379/deep/model"}, "model", {"redis://host:6379/deep/model"}),
    ({"MODEL_NAME": "o/n", "SGLANG_CONFIG_FILE": "x.yaml", "SERVED_MODEL_NAME": "a:b"}, "a-b", {"a:b", "o/n"}),
])
def test_a_name_with_a_colon_is_served_under_one_without(environ, served, asked):
    settings = load(**environ)
    assert settings.served_model_name == served
    assert set(settings.model_names) == {served, *asked} and settings.model_names[0] == served
    if "SGLANG_CONFIG_FILE" not in environ:
        assert parsed(settings, "--served-model-name") == served and ":" not in served
    level, line = next(notice for notice in settings.notices if "colon" in notice[1])
    assert level == "warn" and line.startswith(f"served as {served}: in ")


@pytest.mark.parametrize("name", ["s3://bucket/model", "gs://b/m", "az://b/m", "owner/name", "-x"])
def test_other_names_are_served_as_they_are(name):
    assert names.servable(name) == name
    assert load(MODEL_NAME="o/n", SERVED_MODEL_NAME=name).model_names == (name, "o/n")
