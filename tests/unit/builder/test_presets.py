"""Each preset: a worker takes its settings with the flags of both images, and its model is one that is known."""

import re

import pytest

from builder import curated, hub_manifest, presets
from builder.presets import Preset
from settings import config, flags
from tests.flag_samples import SNAPSHOTS, parser

PRESETS = presets.read()
CONFIGS = presets.configs()
FORM = curated.read()
NEWEST = max(SNAPSHOTS)
each = pytest.mark.parametrize("preset", PRESETS, ids=lambda preset: preset.title)


def text(value) -> str:
    """A form's value as the platform puts it into the environment."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def form(preset: Preset) -> dict[str, str]:
    """The environment of an endpoint deployed with this preset and nothing else changed."""
    fields = hub_manifest.manifest(FORM, PRESETS, SNAPSHOTS[NEWEST])["config"]["env"]
    values = {field["key"]: field["input"].get("default", "") for field in fields} | preset.settings
    return {key: text(value) for key, value in values.items()}


def environ(preset: Preset, version: str) -> dict[str, str]:
    """The same less what this SGLang does not know, as its endpoint's own form would be."""
    known = config.known_variables(SNAPSHOTS[version]) | set(FORM.platform)
    return {key: value for key, value in form(preset).items() if key in known}


@pytest.mark.parametrize("version", SNAPSHOTS)
@each
def test_its_settings_are_parsed_as_a_worker_parses_them(preset, version):
    snapshot = SNAPSHOTS[version]
    settings = config.load(environ(preset, version), snapshot, preset.gpus, "python3")
    assert [line for level, line in settings.notices if level != "info"] == []
    parsed = vars(parser(snapshot).parse_args(list(settings.server_args)))
    for key, value in preset.settings.items():
        flag = flags.variables(snapshot).get(key)
        if flag is not None:
            assert text(parsed[flag]) == text(value)
    assert settings.model == preset.model
    assert parsed.get("--tp-size") == (preset.gpus if preset.gpus > 1 else None)
    for name in ("--tool-call-parser", "--reasoning-parser"):
        assert parsed[name] in (None, *snapshot["flags"][name]["choices"])


@each
def test_a_large_model_gets_the_time_that_it_takes_to_load(preset):
    limit = int(preset.settings.get("RUNPOD_INIT_TIMEOUT", 420))
    assert limit >= 420 and preset.disk <= limit * 0.09, "some 90 MB/s from the hub is not much"
    assert int(preset.settings.get("SGLANG_STARTUP_TIMEOUT", 1200)) * 0.09 >= preset.disk or preset.disk <= 125


def test_there_is_one_of_each_kind_and_for_each_card():
    assert {preset.card for preset in PRESETS} == set(presets.CARDS)
    models = " ".join(preset.model for preset in PRESETS)
    for family in ("Qwen3-", "A3B", "Llama-3", "Mistral", "gemma", "R1-Distill", "gpt-oss", "GLM"):
        assert family in models
    assert sum("images" in preset.about for preset in PRESETS) >= 2
    assert sum(bool(preset.settings.get("IS_EMBEDDING")) for preset in PRESETS) == 2
    assert all(any(word in preset.about for preset in PRESETS) for word in ("rerank", "for tests"))
    assert all(preset.requests >= 4 for preset in PRESETS)


def test_what_is_wrong_with_a_preset_is_told():
    fields, models = {"MODEL_NAME", "CONTEXT_LENGTH"}, {"a/b"}
    good = Preset("N", 24, ("ADA_24",), 4, 9, "x", {"MODEL_NAME": "a/b", "CONTEXT_LENGTH": 9})
    bad = good._replace(pools=("ADA_48_PRO", "TITAN"), settings={**good.settings, "MODEL_NAME": "c/d", "DTYPES": "x"})
    assert presets.problems([good], fields, models) == []
    assert presets.problems([good, bad], fields, models) == [
        "N (24 GB) is there more than once", "N (24 GB): DTYPES is no field of the form",
        "N (24 GB): ADA_48_PRO is no pool of 24 GB", "N (24 GB): TITAN is no pool of 24 GB",
        "N (24 GB): c/d is not in configs.json"]


def test_the_hubs_presets_and_the_table_have_them_all():
    made = presets.hub(PRESETS)
    assert [preset["name"] for preset in made] == [preset.title for preset in PRESETS]
    table = presets.table(PRESETS, 100)
    assert all(f"**{preset.name}**" in table and f"`{preset.model}`" in table for preset in PRESETS)
    assert table.count(": more than the Hub gives") == sum(preset.disk > 100 for preset in PRESETS) > 0
    assert len(re.findall(r"^\| \*\*", table, re.MULTILINE)) == len(PRESETS)


def test_every_config_is_of_a_preset():
    assert set(CONFIGS) == {preset.model for preset in PRESETS}
