"""Each preset: a worker takes its settings with the flags of both images, its model is one that is known, and by the
estimator it fits the GPUs that it names, with as many requests of its context as the table says."""

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


fit = pytest.importorskip("fit")


@pytest.mark.parametrize("model", CONFIGS)
def test_a_config_is_the_published_models(model):
    from fit.weights import parameters

    assert parameters(fit.Model(CONFIGS[model]["config"])) == pytest.approx(CONFIGS[model]["parameters"], rel=0.02)


def judged(preset: Preset, pool: str) -> "fit.Judgement":
    from fit.serving import from_words

    settings = config.load(form(preset), SNAPSHOTS[NEWEST], preset.gpus, "python3")
    return fit.judge(CONFIGS[preset.model]["config"], pool, preset.gpus, serving=from_words(settings.server_args))


@each
def test_it_fits_the_gpus_that_it_names_with_as_many_requests_as_it_says(preset):
    found = {pool: judged(preset, pool) for pool in preset.pools}
    assert all(one.fits and not one.tight and one.context == preset.context for one in found.values())
    least = min(one.requests for one in found.values())
    assert preset.requests <= least <= 1.25 * preset.requests + 1, "the table says neither too much nor far too little"


@each
def test_fp8_weights_are_for_gpus_that_have_it(preset):
    method = CONFIGS[preset.model]["config"].get("quantization_config", {})
    if method.get("quant_method") in ("fp8", "compressed-tensors"):
        assert all(fit.POOLS[pool].capability >= (8, 9) for pool in preset.pools)


@each
def test_its_weights_and_some_room_are_on_the_disk(preset):
    size = fit.judge(CONFIGS[preset.model]["config"], "BLACKWELL_180", 8, tp_size=1, context_length=2048).weight_bytes
    assert 1.05 * size / 1e9 + 1 <= preset.disk <= 1.25 * size / 1e9 + 5


def test_an_untouched_form_fits_every_gpu_that_the_hub_may_give_it():
    (default,) = (preset for preset in PRESETS if preset.model == next(
        field.default for field in FORM.fields if field.key == "MODEL_NAME"))
    for pool in FORM.hub["pools"]:
        assert judged(default, pool).requests >= 4
