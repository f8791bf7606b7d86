"""Where the model is: the hub cache's folders as they are found on workers, and what the server is told of them."""

import dataclasses
import hashlib
import json
import os
import sys
from pathlib import Path

import pytest

from settings import config, flags, hub_cache, model_source
from settings.whole import Needs, problem
from tests.hub_folders import COMMIT, MODEL, OTHER, repository, safetensors

SNAPSHOT = json.loads((Path(__file__).parents[3] / "builder/flags.json").read_text(encoding="utf-8"))
TOKENIZER = {"tokenizer.json": b"{}", "chat_template.jinja": b"{{ messages }}"}
ADAPTER = {"adapter_config.json": b'{"r": 8}', "adapter_model.safetensors": safetensors()}
SHARDS = [f"model-0000{number}-of-00003.safetensors" for number in (1, 2, 3)]
SHARDED = {**MODEL, **{name: safetensors() for name in SHARDS},
           "model.safetensors.index.json": json.dumps({"weight_map": dict(zip("abc", SHARDS, strict=True))}).encode()}
del SHARDED["model.safetensors"]


@pytest.fixture
def environ(tmp_path):
    """A machine whose caches are all below tmp_path: home, home/hub of HF_HOME, and RunPod's."""
    return {"HOME": str(tmp_path), "RUNPOD_MODEL_CACHE": str(tmp_path / "runpod"), "MODEL_NAME": "org/Name"}


@pytest.fixture
def runpod(tmp_path):
    return tmp_path / "runpod"


def locate(environ, **more) -> config.Settings:
    environ = {**environ, **{name: value for name, value in more.items() if value is not None}}
    return model_source.locate(config.load(environ, SNAPSHOT, None, sys.executable), SNAPSHOT, environ)


def value(settings: config.Settings, flag: str):
    """What the server makes of a flag: its value, or its values where it takes several."""
    values = flags.Given(list(settings.server_args), SNAPSHOT).values(flag)
    return values[0] if len(values) == 1 else list(values) or None


def lines(settings: config.Settings, level: str) -> str:
    return "\n".join(line for at, line in settings.notices if at == level)


# ------------------------------------------------------------------ where
def test_nowhere_means_the_hub(environ):
    before = config.load(environ, SNAPSHOT, None, sys.executable)
    settings = locate(environ)
    assert settings.server_args == before.server_args and not settings.offline
    assert "model: org/Name, from the hub; the server may ask the hub, for the model" in lines(settings, "info")
    assert lines(settings, "warn") == ""


def _own(folder: Path, files=MODEL) -> str:
    """A folder of the user's with `files`."""
    folder.mkdir()
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return str(folder)


def refused(environ, **more) -> list[str]:
    with pytest.raises(config.ConfigError) as caught:
        locate(environ, **more)
    return caught.value.problems


def test_local_folder_is_passed_on_unchanged(environ, tmp_path):
    settings = locate(environ, MODEL_NAME=_own(tmp_path / "mine"))
    assert value(settings, "--model-path") == settings.model == settings.served_model_name == str(tmp_path / "mine")
    assert settings.offline


@pytest.mark.parametrize("path", ["/models/absent", "./absent", "../absent", "~/absent", "~nobody/absent"])
def test_missing_local_folder_is_refused(environ, runpod, path):
    repository(runpod, "org/Name", MODEL)
    says = f"{path} is no file or folder of this machine"
    assert refused(environ, MODEL_NAME=path) == [f"MODEL_NAME: {says}"]
    assert refused(environ, TOKENIZER_PATH=path) == [f"TOKENIZER_PATH: {says}"]
    assert refused(environ, SPECULATIVE_DRAFT_MODEL_PATH=path) == [f"SPECULATIVE_DRAFT_MODEL_PATH: {says}"]
    assert refused(environ, LORA_PATHS=f"a=org/a, b={path}") == [f"LORA_PATHS: {says}"]


def test_an_address_that_the_server_does_not_read_is_refused(environ):
    assert "SGLang does not read" in refused(environ, MODEL_NAME="ollama://owner/name")[0]
    assert "s3://bucket/key, read by the server" in " ".join(
        text for _, text in locate(environ, MODEL_NAME="s3://bucket/key").notices)


POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 5\n"
IS_POINTER = "is a Git LFS pointer, not the file itself (git lfs pull fetches it)"


@pytest.mark.parametrize(("changed", "reason"), [
    ({"config.json": None}, "config.json is missing"),
    ({"config.json": b'{"a": '}, "config.json cannot be read"),
    ({"config.json": POINTER}, f"config.json {IS_POINTER}"),
    ({"config.json": None, "adapter_config.json": b"{}"},
     "it is a LoRA adapter, not a model: name its base model, and this in LORA_PATHS"),
    ({"config.json": None, "a-Q4_K_M.gguf": b"GGUF"}, "it holds GGUF files: name one of them"),
    ({"tokenizer.json": b'{"a": '}, "tokenizer.json is no whole JSON"),
    ({"tokenizer.json": POINTER}, f"tokenizer.json {IS_POINTER}"),
    ({"tokenizer.json": None}, "it has no tokenizer"),
    ({"tokenizer.json": None, "tokenizer_config.json": b"{}"}, "it has no tokenizer"),
    ({"tokenizer_config.json": b'{"a": '}, "tokenizer_config.json is no whole JSON"),
    ({"special_tokens_map.json": b""}, "special_tokens_map.json is empty"),
    ({"added_tokens.json": b"[1,"}, "added_tokens.json is no whole JSON"),
    ({"chat_template.jinja": POINTER}, f"chat_template.jinja {IS_POINTER}"),
    ({"chat_template.jinja": b""}, "chat_template.jinja is empty"),
    ({"model.safetensors": None}, "it has no weights (*.safetensors, *.bin, *.pt)"),
    ({"model.safetensors": POINTER}, f"model.safetensors {IS_POINTER}"),
    ({"model.safetensors": safetensors()[:-1]}, "model.safetensors has "),
    ({"model.safetensors": None, "pytorch_model-00001-of-00002.bin": b"w"},
     "pytorch_model-00002-of-00002.bin is missing"),
])
def test_own_folder_is_checked_as_snapshots_are(environ, tmp_path, changed, reason):
    files = {name: content for name, content in {**MODEL, **changed}.items() if content is not None}
    folder = _own(tmp_path / "mine", files)
    (problem,) = refused(environ, MODEL_NAME=folder)
    assert problem.startswith(f"MODEL_NAME: {folder}: {reason}")
    assert refused(environ, SGLANG_EXTRA_ARGS=f"--model {folder}", MODEL_NAME="") == [problem]


@pytest.mark.parametrize(("changed", "more"), [
    ({"tokenizer.json": None, "vocab.txt": b"a"}, {}), ({"tokenizer.json": None, "tokenization_own.py": b"a"}, {}),
    ({"tokenizer.json": None}, {"SKIP_TOKENIZER_INIT": "true"}),
    ({"tokenizer.json": None}, {"TOKENIZER_PATH": "org/t"}),
    ({"model.safetensors": None}, {"LOAD_FORMAT": "dummy"}), ({"generation_config.json": b"{"}, {}),
    ({"vocab.json": b"[]", "added_tokens.json": b"[]"}, {}),
    ({"README.md": POINTER, "original.pth": b""}, {}), ({"optimizer.pt": b""}, {}),
])
def test_what_the_server_can_do_without_is_not_missed(environ, tmp_path, changed, more):
    files = {name: content for name, content in {**MODEL, **changed}.items() if content is not None}
    folder = _own(tmp_path / "mine", files)
    assert value(locate(environ, MODEL_NAME=folder, **more), "--model-path") == folder


@pytest.mark.parametrize(("content", "kept", "whole"), [
    (b'{"a": 1}', b'{"a": 1}', True), (b'{"a": 1}', b'{"a"', False), (b'{"a"', b'{"a"', True),
])
@pytest.mark.parametrize("named", [
    lambda data: hashlib.sha256(data).hexdigest(),
    lambda data: hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest(),
], ids=["large", "small"])
def test_a_blob_that_is_what_its_name_says_is_not_read_twice(environ, runpod, content, kept, whole, named):
    """The hub's own files, as they were pushed; only what is not as the cache names it has to parse."""
    folder = repository(runpod, "org/Name", MODEL)
    blob = folder.parents[1] / "blobs" / named(content)
    blob.write_bytes(kept)
    (folder / "tokenizer.json").unlink()
    (folder / "tokenizer.json").symlink_to(blob)
    assert locate(environ).offline is whole


def test_own_files_and_adapters_are_checked(environ, tmp_path, runpod):
    repository(runpod, "org/Name", MODEL)
    (tmp_path / "a.gguf").write_bytes(POINTER)
    assert refused(environ, MODEL_NAME=str(tmp_path / "a.gguf")) == [
        f"MODEL_NAME: {tmp_path / 'a.gguf'}: a.gguf {IS_POINTER}"]
    (tmp_path / "empty").mkdir()
    assert refused(environ, LORA_PATHS=f"a={tmp_path / 'empty'}") == [
        f"LORA_PATHS: {tmp_path / 'empty'}: adapter_config.json is missing"]


def test_a_folder_below_the_home(environ, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    folder = _own(tmp_path / "mine")
    settings = locate(environ, MODEL_NAME="~/mine")
    assert value(settings, "--model-path") == folder and settings.served_model_name == "~/mine"


@pytest.mark.parametrize(("files", "has"), [
    ({}, False), ({"tokenizer_config.json": b'{"chat_template": "{{ messages }}"}'}, True),
    ({"tokenizer_config.json": b'{"chat_template": null}'}, False), ({"chat_template.json": b'{"a": 1}'}, False),
    ({"chat_template.json": b'{"chat_template": "x"}'}, True),
    ({"processor_config.json": b'{"chat_template": "x"}'}, True),
    ({"chat_template.jinja": b"x"}, True), ({"tekken.json": b"{}"}, True),
])
def test_without_a_chat_template_the_hub_is_not_forbidden(environ, runpod, files, has):
    files = {**{name: content for name, content in MODEL.items() if name != "chat_template.jinja"}, **files}
    folder = str(repository(runpod, "org/Name", files))
    settings = locate(environ)
    assert settings.offline is has and value(settings, "--model-path") == folder
    assert ("chat template: none is there; chat jobs need one, set CHAT_TEMPLATE" in lines(settings, "info")) is not has
    for more in ({"IS_EMBEDDING": "true"}, {"CHAT_TEMPLATE": "chatml"}, {"SKIP_TOKENIZER_INIT": "true"}):
        assert locate(environ, **more).offline


@pytest.mark.parametrize("cache, more", [
    (".cache/huggingface/hub", {}),
    ("home/hub", {"HF_HOME": "{root}/home"}),
    ("xdg/huggingface/hub", {"XDG_CACHE_HOME": "{root}/xdg"}),
    ("any", {"HF_HUB_CACHE": "{root}/any", "HF_HOME": "{root}/home"}),
    ("any", {"HUGGINGFACE_HUB_CACHE": "{root}/any"}),
    (".cache/huggingface/hub", {"HF_HOME": "{root}/volume"}),
    ("runpod", {}),
    ("own", {"DOWNLOAD_DIR": "{root}/own"}),
])
def test_every_cache_is_looked_at(environ, tmp_path, cache, more):
    folder = repository(tmp_path / cache, "org/Name", MODEL)
    settings = locate(environ, **{name: text.format(root=tmp_path) for name, text in more.items()})
    assert value(settings, "--model-path") == str(folder)
    assert settings.model == settings.served_model_name == value(settings, "--served-model-name") == "org/Name"
    assert settings.offline
    assert f"model: org/Name, whole in {folder}; the server starts without the hub" in lines(settings, "info")


def test_the_image_comes_before_the_volume(environ, tmp_path, runpod):
    image = repository(tmp_path / ".cache/huggingface/hub", "org/Name", MODEL)
    repository(runpod, "org/Name", MODEL)
    assert value(locate(environ), "--model-path") == str(image)


@pytest.mark.parametrize("name", ["org/name", "ORG/NAME", "org/Name"])
def test_letter_case_does_not_matter(environ, runpod, name):
    folder = repository(runpod, name, MODEL)
    settings = locate(environ)
    assert value(settings, "--model-path") == str(folder) and settings.served_model_name == "org/Name"


def test_exact_case_comes_first(environ, runpod):
    folder = repository(runpod, "org/Name", MODEL)
    repository(runpod, "ORG/NAME", MODEL)
    assert value(locate(environ), "--model-path") == str(folder)


def test_whole_copy_in_another_case_is_taken_instead_of_a_broken_one(environ, runpod):
    repository(runpod, "org/Name", {"config.json": b"{}"})
    folder = repository(runpod, "org/name", MODEL)
    assert value(locate(environ), "--model-path") == str(folder)


def test_incomplete_falls_through_with_the_reason(environ, tmp_path, runpod):
    broken = repository(tmp_path / ".cache/huggingface/hub", "org/Name", SHARDED)
    (broken / SHARDS[2]).unlink()
    settings = locate(environ)
    assert value(settings, "--model-path") == "org/Name" and not settings.offline
    assert lines(settings, "warn") == f"org/Name was found in {broken.parents[1]}, but {SHARDS[2]} is missing"
    whole = repository(runpod, "org/Name", SHARDED)
    settings = locate(environ)
    assert value(settings, "--model-path") == str(whole) and settings.offline
    assert f"{SHARDS[2]} is missing" in lines(settings, "warn")


# ------------------------------------------------------------------ which revision
@pytest.mark.parametrize("revision, commit", [
    (None, COMMIT), ("main", COMMIT), ("v2", OTHER), ("refs/pr/1", OTHER),
    (OTHER, OTHER), (OTHER[:8], OTHER), (OTHER[:7].upper(), OTHER)])
@pytest.mark.parametrize("variable", ["MODEL_REVISION", "REVISION"])
def test_revision(environ, runpod, revision, commit, variable):
    repository(runpod, "org/Name", MODEL)
    repository(runpod, "org/Name", MODEL, OTHER, refs=("v2", "refs/pr/1"))
    settings = locate(environ, **{variable: revision})
    assert value(settings, "--model-path") == str(runpod / "models--org--Name/snapshots" / commit)
    assert value(settings, "--revision") == revision
    assert revision is None or f"org/Name at {revision}, whole in " in lines(settings, "info")


@pytest.mark.parametrize("revision, reason", [
    ("v3", "revision 'v3' is missing"), ("f" * 40, f"revision '{'f' * 40}' is missing"),
    ("abcdefa", "'abcdefa' may be any of 2 commits"), ("abcdef", "revision 'abcdef' is missing"),
    ("gone", "the commit that 'gone' stands for (dddddddddddd) is missing"),
    ("../refs/main", "revision '../refs/main' is missing"),
    ("/etc/hostname", "revision '/etc/hostname' is missing"),
])
def test_revision_that_is_not_there(environ, runpod, revision, reason):
    repository(runpod, "org/Name", MODEL, "abcdefa" + "0" * 33)
    repository(runpod, "org/Name", MODEL, "abcdefa" + "1" * 33)
    (runpod / "models--org--Name/refs/gone").write_text("d" * 40)
    settings = locate(environ, MODEL_REVISION=revision)
    assert value(settings, "--model-path") == "org/Name" and not settings.offline
    assert reason in lines(settings, "warn")


def test_lone_snapshot_needs_no_ref(environ, runpod):
    folder = repository(runpod, "org/Name", MODEL, refs=())
    assert value(locate(environ), "--model-path") == str(folder)
    repository(runpod, "org/Name", MODEL, OTHER, refs=())
    settings = locate(environ)
    assert value(settings, "--model-path") == "org/Name"
    assert "'main' may be any of 2 commits" in lines(settings, "warn")


# ------------------------------------------------------------------ whole or not
def _blob(folder: Path, name: str) -> Path:
    return (folder / name).resolve()


def _damage(folder: Path, how: str) -> None:
    name = SHARDS[1]
    blob = _blob(folder, name)
    if how == "link":
        blob.unlink()
    elif how == "empty":
        blob.write_bytes(b"")
    elif how == "incomplete":
        (folder / name).unlink()
        (folder / name).symlink_to(blob.rename(blob.with_suffix(".incomplete")))
    elif how == "short":
        blob.write_bytes(blob.read_bytes()[:-1])
    elif how == "long":
        blob.write_bytes(blob.read_bytes() + b"\0")
    elif how == "pointer":
        blob.write_bytes(POINTER)
    elif how == "header":
        blob.write_bytes((2).to_bytes(8, "little") + b"[]")
    elif how == "index":
        _blob(folder, "model.safetensors.index.json").write_bytes(b"{")
    elif how == "no config":
        (folder / "config.json").unlink()
    elif how == "config":
        _blob(folder, "config.json").write_bytes(b"half of it")
    elif how == "no tokenizer":
        (folder / "tokenizer.json").unlink()
    elif how == "empty tokenizer":
        _blob(folder, "tokenizer.json").write_bytes(b"")
    elif how == "cut tokenizer":
        _blob(folder, "tokenizer.json").write_bytes(b'{"model": {')
    elif how == "tokenizer pointer":
        _blob(folder, "tokenizer.json").write_bytes(POINTER)
    elif how == "cut tokenizer configuration":
        (folder / "tokenizer_config.json").write_bytes(b'{"chat_template": "')
    elif how == "cut generation":
        (folder / "generation_config.json").write_bytes(b'{"eos_token_id": [1')
    elif how == "template pointer":
        _blob(folder, "chat_template.jinja").write_bytes(POINTER)
    elif how == "two":
        (folder / SHARDS[0]).unlink()
        (folder / SHARDS[2]).unlink()
    elif how == "no shard":
        for shard in SHARDS:
            (folder / shard).unlink()


@pytest.mark.parametrize("how, reason", [
    ("link", f"{SHARDS[1]} is a link to a missing file"), ("empty", f"{SHARDS[1]} is empty"),
    ("incomplete", f"{SHARDS[1]} is only partly downloaded"),
    ("short", f"{SHARDS[1]} has {len(safetensors()) - 1} of {len(safetensors())} bytes"),
    ("long", f"{SHARDS[1]} has {len(safetensors()) + 1} of {len(safetensors())} bytes"),
    ("pointer", f"{SHARDS[1]} is a Git LFS pointer, not the file itself (git lfs pull fetches it)"),
    ("header", f"{SHARDS[1]} is no whole safetensors file"),
    ("index", "model.safetensors.index.json cannot be read"), ("no config", "config.json is missing"),
    ("config", "config.json cannot be read"), ("no tokenizer", "it has no tokenizer"),
    ("empty tokenizer", "tokenizer.json is empty"), ("cut tokenizer", "tokenizer.json is no whole JSON"),
    ("tokenizer pointer", "tokenizer.json is a Git LFS pointer, not the file itself (git lfs pull fetches it)"),
    ("cut tokenizer configuration", "tokenizer_config.json is no whole JSON"),
    ("cut generation", "generation_config.json cannot be read"),
    ("template pointer", f"chat_template.jinja {IS_POINTER}"),
    ("two", f"{SHARDS[0]} is missing (and 1 more of 3 files are not whole)"),
    ("no shard", f"{SHARDS[0]} is missing (and 2 more of 3 files are not whole)"),
])
def test_damaged_snapshot(environ, runpod, how, reason):
    folder = repository(runpod, "org/Name", SHARDED)
    assert locate(environ).offline
    _damage(folder, how)
    settings = locate(environ)
    assert not settings.offline and value(settings, "--model-path") == "org/Name"
    assert lines(settings, "warn") == f"org/Name was found in {runpod / 'models--org--Name'}, but {reason}"


def _folder(tmp_path: Path, *names: str, **contents: bytes) -> Path:
    for name in names:
        (tmp_path / name).write_bytes(safetensors() if name.endswith(".safetensors") else b"{}")
    for name, content in contents.items():
        (tmp_path / name.replace("__", ".")).write_bytes(content)
    return tmp_path


@pytest.mark.parametrize("names, reason", [
    (["config.json", "model.safetensors"], None),
    (["config.json", "pytorch_model.bin"], None), (["config.json", "weights.pt"], None),
    (["config.json"], "it has no weights (*.safetensors, *.bin, *.pt)"),
    (["config.json", "training_args.bin", "optimizer.pt"], "it has no weights (*.safetensors, *.bin, *.pt)"),
    (["config.json", "model-00001-of-00002.safetensors"], "model-00002-of-00002.safetensors is missing"),
    (["config.json", "pytorch_model-00001-of-00002.bin"], "pytorch_model-00002-of-00002.bin is missing"),
    (["params.json", "consolidated.safetensors"], None),
    (["params.json", "model-00001-of-00001.safetensors"], "config.json is missing"),
])
def test_weights_without_an_index(tmp_path, names, reason):
    assert problem(_folder(tmp_path, *names), Needs()) == reason


def test_index_of_a_format_that_is_not_loaded_does_not_count(tmp_path):
    index = json.dumps({"weight_map": {"a": "pytorch_model-00001-of-00001.bin"}}).encode()
    folder = _folder(tmp_path, "config.json", "model.safetensors", pytorch_model__bin__index__json=index)
    assert problem(folder, Needs()) is None
    (folder / "model.safetensors").unlink()
    assert problem(folder, Needs()) == "pytorch_model-00001-of-00001.bin is missing"


def test_index_decides_which_parts_there_are(tmp_path):
    index = json.dumps({"weight_map": {"a": "model-00001-of-00009.safetensors"}}).encode()
    folder = _folder(tmp_path, "config.json", "model-00001-of-00009.safetensors", model__safetensors__index__json=index)
    assert problem(folder, Needs()) is None


@pytest.mark.parametrize("names, whole", [
    (["tokenizer.json"], True), (["tokenizer.model"], True), (["tekken.json"], True), (["vocab.txt"], True),
    (["vocab.json", "merges.txt"], True), (["qwen.tiktoken"], True), (["sentencepiece.bpe.model"], True),
    (["vocab.json"], False), (["tokenizer_config.json"], False), ([], False)])
def test_tokenizer_files(tmp_path, names, whole):
    found = problem(_folder(tmp_path, *names), Needs(None, (), tokenizer=True))
    assert found == (None if whole else "it has no tokenizer")


def test_unreadable_folder_is_a_reason(tmp_path):
    assert "cannot be read" in problem(tmp_path / "absent", Needs())


@pytest.mark.parametrize("load_format, names, whole", [
    ("pt", ["model.safetensors"], False), ("pt", ["model.pt"], True), ("npcache", ["pytorch_model.bin"], True),
    ("safetensors", ["pytorch_model.bin"], False), ("mistral", ["model.safetensors"], False),
    ("mistral", ["consolidated.safetensors"], True), ("dummy", [], True), ("auto", [], False)])
def test_load_format_decides_which_weights_count(environ, runpod, load_format, names, whole):
    weights = {name: safetensors() if name.endswith(".safetensors") else b"w" for name in names}
    repository(runpod, "org/Name", {"config.json": b'{"a": 1}', **TOKENIZER, **weights})
    assert locate(environ, LOAD_FORMAT=load_format).offline is whole


# ------------------------------------------------------------------ tokenizer, draft, adapters
def test_tokenizer_of_its_own(environ, runpod):
    files = {name: content for name, content in MODEL.items() if name != "tokenizer.json"}
    repository(runpod, "org/Name", files)
    assert "it has no tokenizer" in lines(locate(environ), "warn")
    settings = locate(environ, TOKENIZER_PATH="org/Words")
    assert value(settings, "--model-path").startswith(str(runpod)) and not settings.offline
    assert "tokenizer: org/Words, from the hub; the server may ask the hub, for the tokenizer" in lines(
        settings, "info")
    folder = repository(runpod, "org/words", TOKENIZER)
    settings = locate(environ, TOKENIZER_PATH="org/Words")
    assert value(settings, "--tokenizer-path") == str(folder) and settings.offline


def test_without_a_tokenizer(environ, runpod):
    files = {name: content for name, content in MODEL.items() if name != "tokenizer.json"}
    repository(runpod, "org/Name", files)
    assert locate(environ, SKIP_TOKENIZER_INIT="true").offline


@pytest.mark.parametrize("more, commit", [
    ({}, COMMIT), ({"TOKENIZER_REVISION": "v2"}, OTHER), ({"TOKENIZER_REVISION": OTHER[:9]}, OTHER),
    ({"MODEL_REVISION": "v2"}, OTHER), ({"MODEL_REVISION": "v2", "TOKENIZER_REVISION": "main"}, COMMIT),
    ({"MODEL_REVISION": "e" * 40}, COMMIT),     # a commit of the model's repository
])
def test_revision_of_the_tokenizer(environ, runpod, more, commit):
    repository(runpod, "org/Name", MODEL, "e" * 40, refs=("main", "v2"))
    repository(runpod, "org/Words", TOKENIZER)
    repository(runpod, "org/Words", TOKENIZER, OTHER, refs=("v2",))
    settings = locate(environ, TOKENIZER_PATH="org/Words", **more)
    assert value(settings, "--tokenizer-path") == str(runpod / "models--org--Words/snapshots" / commit)
    assert settings.offline


def test_tokenizer_at_another_revision_of_the_model(environ, runpod):
    repository(runpod, "org/Name", MODEL)
    folder = repository(runpod, "org/Name", MODEL, OTHER, refs=("v2",))
    settings = locate(environ, TOKENIZER_REVISION="v2")
    assert value(settings, "--tokenizer-path") == str(folder)
    assert value(settings, "--model-path").endswith(COMMIT)


def test_tokenizer_revision_that_cannot_be_had(environ, runpod):
    repository(runpod, "org/Name", MODEL)
    settings = locate(environ, TOKENIZER_PATH="org/Words", TOKENIZER_REVISION="v2")
    assert value(settings, "--tokenizer-path") == "org/Words"
    assert "TOKENIZER_REVISION counts only for a tokenizer that is on this machine" in lines(settings, "warn")


def test_tokenizer_that_is_the_model(environ, runpod):
    folder = repository(runpod, "org/Name", MODEL)
    settings = locate(environ, TOKENIZER_PATH="org/Name")
    assert value(settings, "--tokenizer-path") == value(settings, "--model-path") == str(folder)


def test_draft_model(environ, runpod):
    repository(runpod, "org/Name", MODEL)
    draft = {"config.json": b'{"a": 1}', "pytorch_model.bin": b"weights"}
    first = repository(runpod, "org/draft", draft)
    second = repository(runpod, "org/draft", draft, OTHER, refs=("v2",))
    for revision, folder in ((None, first), ("v2", second)):
        settings = locate(environ, SPECULATIVE_DRAFT_MODEL_PATH="org/Draft", SPECULATIVE_DRAFT_MODEL_REVISION=revision)
        assert value(settings, "--speculative-draft-model-path") == str(folder) and settings.offline
    (first / "pytorch_model.bin").unlink()
    settings = locate(environ, SPECULATIVE_DRAFT_MODEL_PATH="org/Draft")
    assert value(settings, "--speculative-draft-model-path") == "org/Draft" and not settings.offline
    assert "the server may ask the hub, for the draft model" in lines(settings, "info")


def test_draft_that_is_the_model_stays_the_same_path(environ, runpod):
    repository(runpod, "org/Name", MODEL, OTHER, refs=("v2",))
    settings = locate(environ, MODEL_REVISION="v2", SPECULATIVE_DRAFT_MODEL_PATH="org/Name")
    assert value(settings, "--speculative-draft-model-path") == value(settings, "--model-path")
    assert settings.offline


def test_adapters_in_every_spelling(environ, runpod, tmp_path):
    repository(runpod, "org/Name", MODEL)
    folder = str(repository(runpod, "Org/Adapter", ADAPTER))
    _own(tmp_path / "own", ADAPTER)
    one = json.dumps({"lora_name": "c", "lora_path": "org/adapter", "pinned": True})
    settings = locate(environ, LORA_PATHS=f"a=org/adapter org/adapter b={tmp_path / 'own'} '{one}'")
    values = value(settings, "--lora-paths")
    assert values[:3] == [f"a={folder}", f"org/adapter={folder}", f"b={tmp_path / 'own'}"]
    assert json.loads(values[3]) == {"lora_name": "c", "lora_path": folder, "pinned": True}
    assert settings.offline
    listed = value(locate(environ, LORA_PATHS=f"[{one}, {one}]".replace('"c"', '"d"', 1)), "--lora-paths")
    assert [json.loads(text)["lora_path"] for text in listed] == [folder, folder]


@pytest.mark.parametrize("files", [{}, {"adapter_config.json": b'{"r": 8}'},
                                   {**ADAPTER, "adapter_model.safetensors": safetensors()[:-2]}])
def test_adapter_that_is_not_here(environ, runpod, files):
    repository(runpod, "org/Name", MODEL)
    repository(runpod, "org/adapter", files)
    settings = locate(environ, LORA_PATHS="a=org/adapter")
    assert value(settings, "--lora-paths") == "a=org/adapter" and not settings.offline
    assert "the server may ask the hub, for the adapter a" in lines(settings, "info")


def test_gguf_file_of_the_hub(environ, runpod):
    folder = repository(runpod, "org/gguf", {"a-Q4_K_M.gguf": b"GGUF", "a-Q8_0.gguf": b"GGUF"})
    for name in ("org/GGUF/a-Q8_0.gguf", "org/GGUF:Q8_0", "org/gguf:Q8_0"):
        settings = locate(environ, MODEL_NAME=name)
        assert value(settings, "--model-path") == str(folder / "a-Q8_0.gguf") and settings.offline
        assert settings.served_model_name == name.replace(":", "-") and settings.model_names[-1] == name
    settings = locate(environ, MODEL_NAME="org/gguf:Q5_0")
    assert not settings.offline and "it has 0 files Q5_0.gguf" in lines(settings, "warn")


# ------------------------------------------------------------------ whether the server may stay offline
@pytest.mark.parametrize("name", ["HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"])
@pytest.mark.parametrize("text", ["0", "1"])
def test_own_offline_switch_stays(environ, runpod, name, text):
    repository(runpod, "org/Name", MODEL)
    settings = locate(environ, **{name: text})
    assert not settings.offline and f"{name}={text} stays as it was set" in lines(settings, "info")
    assert config.engine_environ(settings, {name: text}).items() >= {name: text}.items()
    assert len([key for key in config.engine_environ(settings, {name: text}) if key.endswith("_OFFLINE")]) == 1


def test_offline_by_choice_without_the_model_is_a_warning(environ):
    assert "model: org/Name, from the hub; HF_HUB_OFFLINE=1" in lines(locate(environ, HF_HUB_OFFLINE="1"), "warn")


def test_engine_is_told(environ, runpod):
    repository(runpod, "org/Name", MODEL)
    told = config.engine_environ(locate(environ), environ)
    assert told["HF_HUB_OFFLINE"] == told["TRANSFORMERS_OFFLINE"] == "1"
    assert "RUNPOD_MODEL_CACHE" not in told
    assert "HF_HUB_OFFLINE" not in config.engine_environ(locate(environ, MODEL_NAME="org/other"), environ)


@pytest.mark.parametrize("more, reason", [
    ({"SPECULATIVE_TOKEN_MAP": "org/maps/map.pt"}, "--speculative-token-map"),
    ({"UNO_LORA_PATH": "org/uno"}, "--uno-lora-path"),
    ({"MODEL_CHECKSUM": "org/Name"}, "--model-checksum"),
    ({"MODEL_LOADER_EXTRA_CONFIG": '{"qlora_adapter_name_or_path": "a/b"}'}, "--model-loader-extra-config"),
    ({"ALLOWED_ROUTES": "/load_lora_adapter"}, "/load_lora_adapter"),
])
def test_what_else_the_hub_is_needed_for(environ, runpod, more, reason):
    repository(runpod, "org/Name", MODEL)
    settings = locate(environ, **more)
    assert value(settings, "--model-path").startswith(str(runpod)) and not settings.offline
    assert f"the server may ask the hub, for {reason}" in lines(settings, "info")


def test_checksums_keep_the_repository_that_has_them(environ, runpod):
    repository(runpod, "org/Name", MODEL)
    settings = locate(environ, SGLANG_EXTRA_ARGS="--model-checksum")
    assert value(settings, "--model-checksum") == "org/Name" and not settings.offline


@pytest.mark.parametrize("files, trust, reason", [
    ({"auto_map": {"AutoModel": "org/code--modeling.Own"}}, "true", "org/code (named in the model's files)"),
    ({"auto_map": {"AutoTokenizer": ["a/b--c.D", None]}}, "true", "a/b (named in the model's files)"),
    ({"auto_map": {"AutoModel": "org/code--modeling.Own"}}, None, None),
    ({"auto_map": {"AutoModel": "modeling.Own"}}, "true", None),
    ({"mm_vision_tower": "openai/clip"}, None, "openai/clip (named in the model's files)"),
])
def test_models_that_name_other_repositories(environ, runpod, files, trust, reason):
    repository(runpod, "org/Name", {**MODEL, "config.json": json.dumps(files).encode()})
    settings = locate(environ, TRUST_REMOTE_CODE=trust)
    assert settings.offline is (reason is None)
    assert reason is None or reason in lines(settings, "info")


def test_a_gguf_file_of_the_hub_that_is_a_pointer(environ, runpod):
    repository(runpod, "org/gguf", {"a-Q8_0.gguf": POINTER})
    settings = locate(environ, MODEL_NAME="org/gguf:Q8_0")
    assert value(settings, "--model-path") == "org/gguf:Q8_0" and not settings.offline
    assert f"but a-Q8_0.gguf {IS_POINTER}" in lines(settings, "warn")


def test_modelscope_has_caches_of_its_own(environ, runpod, tmp_path):
    repository(runpod, "org/Name", MODEL)
    settings = locate(environ, SGLANG_USE_MODELSCOPE="true")
    assert value(settings, "--model-path") == "org/Name" and not settings.offline
    assert "SGLANG_USE_MODELSCOPE is set, so Hugging Face's caches are not looked at" in lines(settings, "info")
    own = _own(tmp_path / "mine")
    settings = locate(environ, SGLANG_USE_MODELSCOPE="1", MODEL_NAME=own)
    assert value(settings, "--model-path") == own and not settings.offline


def test_configuration_file_is_left_alone(environ, runpod, tmp_path):
    repository(runpod, "org/Name", MODEL)
    (tmp_path / "server.yaml").touch()
    settings = locate(environ, SGLANG_CONFIG_FILE=str(tmp_path / "server.yaml"))
    assert value(settings, "--model-path") == "org/Name" and not settings.offline
    assert "SGLANG_CONFIG_FILE" in lines(settings, "info")


@pytest.mark.parametrize("name", ["s3://bucket/model", "redis://host:1/m", "not a name", "a/b/c", "a/b:**", ":"])
def test_names_of_other_kinds_are_passed_on(environ, name):
    settings = locate(environ, MODEL_NAME=name)
    assert value(settings, "--model-path") == name and not settings.offline


# ------------------------------------------------------------------ arguments
@pytest.mark.parametrize("before, after", [
    (["--model-path", "a", "--tp-size", "2"], ["--model-path", "/m", "--tp-size", "2"]),
    (["--model-path=a"], ["--model-path", "/m"]), (["--model", "a"], ["--model-path", "/m"]),
    (["--model-path", "a", "--model-p", "b"], ["--model-path", "a", "--model-path", "/m"]),
    (["--unknown=x", "y", "--model-path", "a", "--trust-remote-code"],
     ["--unknown=x", "y", "--model-path", "/m", "--trust-remote-code"]),
    (["--log-level=info"], ["--log-level=info", "--model-path", "/m"]),
    (["--random-seed", "-1", "--model-path", "a"], ["--random-seed", "-1", "--model-path", "/m"]),
])
def test_rewritten_arguments(before, after):
    assert flags.rewritten(before, {"--model-path": ["/m"]}, SNAPSHOT) == tuple(after)
    assert flags.rewritten(before, {}, SNAPSHOT) == tuple(before)


def test_extra_arguments_win_here_too(environ, runpod):
    folder = repository(runpod, "org/extra", MODEL)
    settings = locate(environ, SGLANG_EXTRA_ARGS="--model-path org/Extra")
    assert value(settings, "--model-path") == str(folder) and settings.model == "org/Extra"


def test_printed_configuration_shows_what_runs(environ, runpod):
    folder = repository(runpod, "org/Name", MODEL)
    text = config.describe(locate(environ))
    assert f"--model-path {folder}" in text and "--served-model-name org/Name" in text and "offline = True" in text


def test_caches_are_listed_once():
    listed = hub_cache.caches({"HOME": "/root", "HF_HOME": "/root/.cache/huggingface"})
    assert listed == ["/root/.cache/huggingface/hub", hub_cache.RUNPOD_CACHE]
    assert hub_cache.caches({"HOME": "/root", "HF_HUB_CACHE": "~/x"})[0] == os.path.expanduser("~/x")


def test_settings_are_not_changed_in_place(environ, runpod):
    repository(runpod, "org/Name", MODEL)
    before = config.load(environ, SNAPSHOT, None, sys.executable)
    copy = dataclasses.replace(before)
    model_source.locate(before, SNAPSHOT, environ)
    assert before == copy
