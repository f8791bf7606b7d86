"""What the warm-up asks of which model, and what a profile adds to the server's arguments."""

import json
from pathlib import Path

import pytest

from job import routes
from job.model import ModelFacts
from job.routes import Context
from settings import config
from settings.flags import Given, profiles
from start import warmup
from tests.flag_samples import SNAPSHOTS

SNAPSHOT = json.loads((Path(__file__).parents[3] / "builder" / "flags.json").read_text(encoding="utf-8"))


def load(**environ):
    return config.load(environ, SNAPSHOT, None, "python3")


def paths(settings, facts=None, chats=True):
    """{name: (path, streams)} of the requests that go to the server."""
    context = Context(settings.served_model_name, settings.model, settings.apply_chat_template, settings.lora_enabled,
                      settings.allowed_routes)
    planned = {name: routes.plan(job_input, context, "x")
               for name, job_input in warmup.requests(settings, facts or ModelFacts(), chats).items()}
    return {name: (request.path, request.streams) for name, request in planned.items()}


def test_a_generating_model_gets_a_prefill_and_a_streamed_chat():
    assert paths(load()) == {"prefill": ("/generate", False), "chat": ("/v1/chat/completions", True)}
    assert paths(load(), chats=False) == {"prefill": ("/generate", False)}


def test_an_embedding_model_never_generates():
    embeds = {"embeddings": ("/v1/embeddings", False)}
    assert paths(load(IS_EMBEDDING="true")) == paths(load(), ModelFacts(generates=False)) == embeds


def test_a_server_without_a_tokenizer_gets_token_ids():
    assert paths(load(SKIP_TOKENIZER_INIT="true")) == {"generate": ("/generate", False)}


def test_a_chat_template_is_not_put_around_the_long_prompt():
    wanted = warmup.requests(load(CHAT_TEMPLATE="chatml"), ModelFacts(), True)
    context = Context("x", "x", True, False, ())
    assert not routes.plan(wanted["prefill"], context, "x").template_texts


@pytest.mark.parametrize(("context", "most"), [(None, 400), (100, 25), (10**6, 400)])
def test_the_long_prompt_fits(context, most):
    prompt = warmup.requests(load(), ModelFacts(context=context), False)["prefill"]["text"]
    assert len(prompt.split()) == most


def test_settings_of_the_start():
    assert load().start == load(COMPILE_CACHE="auto", WARMUP="on", START_PROFILE="default").start
    assert (load().start.warmup_timeout, load().start.compile_cache_bytes) == (30, 2_048_000_000)
    off = load(COMPILE_CACHE="off", WARMUP="off", COMPILE_CACHE_DIR="/x", START_REPORT_SVG="/y.svg").start
    assert (off.warmup_timeout, off.compile_cache_bytes, off.compile_cache_dir, off.svg) == (0, 0, "/x", "/y.svg")
    with pytest.raises(config.ConfigError, match="START_PROFILE=quick"):
        load(START_PROFILE="quick")


# ------------------------------------------------------------------ profiles
def added(**environ):
    plain = load(**environ).server_args
    return [word for word in load(START_PROFILE="fast", **environ).server_args if word not in plain]


def test_every_flag_of_a_profile_exists():
    known = {flag for snapshot in SNAPSHOTS.values() for flag in snapshot["flags"]}
    for choice in profiles.FAST:
        assert choice.words[0] in SNAPSHOT["flags"]
        assert {*choice.unless} <= known


def test_the_default_profile_adds_nothing():
    assert profiles.arguments("default", Given([], SNAPSHOT), SNAPSHOT, False) == ([], [])


def test_fast_adds_its_flags_and_says_so():
    words = [word for choice in profiles.FAST for word in choice.words]
    assert added() == words
    settings = load(START_PROFILE="fast")
    assert ("info", f"START_PROFILE=fast: added {' '.join(words)}") in settings.notices
    assert "START_PROFILE=fast: added" in config.describe(settings)


@pytest.mark.parametrize("snapshot", SNAPSHOTS.values(), ids=SNAPSHOTS.keys())
@pytest.mark.parametrize("choice", profiles.FAST, ids=lambda choice: choice.words[0])
def test_what_the_user_decided_stays(choice, snapshot):
    for flag in {choice.words[0], *choice.unless} & {*snapshot["flags"]}:
        entry = snapshot["flags"][flag]
        value = [] if entry["kind"] == "switch" else ["{}" if entry.get("type") == "json" else "1"]
        argv, _ = profiles.arguments("fast", Given([flag, *value], snapshot), snapshot, False)
        assert choice.words[0] not in argv


def test_a_switch_that_is_set_is_not_repeated():
    assert load(START_PROFILE="fast", SKIP_SERVER_WARMUP="true").server_args.count("--skip-server-warmup") == 1


def test_an_older_sglang_gets_only_what_it_knows():
    older = {**SNAPSHOT, "flags": {k: v for k, v in SNAPSHOT["flags"].items() if k == "--skip-server-warmup"}}
    assert profiles.arguments("fast", Given([], older), older, False)[0] == ["--skip-server-warmup"]
    none = {**SNAPSHOT, "flags": {}}
    argv, [(_, line)] = profiles.arguments("fast", Given([], none), none, False)
    assert argv == [] and "nothing to add" in line


def test_a_configuration_file_decides():
    settings = load(START_PROFILE="fast", SGLANG_CONFIG_FILE="/x.yaml")
    assert "--skip-server-warmup" not in settings.server_args
    assert any("SGLANG_CONFIG_FILE" in line for level, line in settings.notices if level == "warn")
